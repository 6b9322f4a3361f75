"""Where the dots of a strip plot lie: one strip a class, one dot a case, Dice from left (0) to right (1).

Only coordinates are made here, in the units of an SVG view box; the report's template draws them.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from genseg.evaluate.intervals import Estimate
from genseg.evaluate.summary import OVERALL, EvaluationSummary

LEFT, RIGHT, TOP = 150.0, 690.0, 10.0
STRIP_HEIGHT = 54.0
DOT_SPACING = 7.0


@dataclass(frozen=True)
class Dot:
    """One case: its place and the text shown when it is pointed at."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Strip:
    """One class: its dots, and the mean with its interval (`low` and `high` None where not estimable)."""

    name: str
    y: float
    dots: tuple[Dot, ...]
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class StripPlot:
    """All strips, the ticks of the Dice axis as (x, text), and the size of the view box."""

    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str], ...]
    width: float
    height: float


def strip_plot(summary: EvaluationSummary) -> StripPlot:
    """Lay out the Dice of each case: a strip per class and, for several classes, one of each case's mean."""
    rows = [
        (entry.name, entry.dice, [case.dice[index] for case in summary.cases])
        for index, entry in enumerate(summary.by_class)
    ]
    if len(rows) > 1:
        rows.append((OVERALL, summary.overall.dice, [case.mean_dice for case in summary.cases]))
    names = [case.name for case in summary.cases]
    strips = [
        _strip(name, TOP + STRIP_HEIGHT * (row + 0.5), estimate, list(zip(values, names, strict=True)))
        for row, (name, estimate, values) in enumerate(rows)
    ]
    ticks = tuple((_place(step / 5), f"{step / 5:.1f}") for step in range(6))
    return StripPlot(tuple(strips), ticks, RIGHT + 30, TOP + STRIP_HEIGHT * len(rows) + 30)


def _strip(name: str, y: float, estimate: Estimate, cases: list[tuple[float, str]]) -> Strip:
    marks = (estimate.mean, estimate.low, estimate.high)
    mean, low, high = (None if mark is None else _place(mark) for mark in marks)
    return Strip(name, y, tuple(_dots(y, cases)), mean, low, high)


def _dots(y: float, cases: list[tuple[float, str]]) -> list[Dot]:
    """Dots that would cover each other are stacked around the strip's middle, closer where there are many."""
    columns = [round(_place(value) / DOT_SPACING) for value, _ in cases]
    heights = Counter(columns)
    placed: Counter[int] = Counter()
    dots = []
    for column, (value, name) in zip(columns, cases, strict=True):
        step = min(DOT_SPACING, (STRIP_HEIGHT - 10) / heights[column])
        offset = (placed[column] - (heights[column] - 1) / 2) * step
        placed[column] += 1
        dots.append(Dot(_place(value), y + offset, f"{name}: {value:.3f}"))
    return dots


def _place(dice: float) -> float:
    return LEFT + (RIGHT - LEFT) * dice
