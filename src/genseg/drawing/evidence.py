"""The pictures of the evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genseg.drawing.figure import new_figure, save_figure


class CurvePoint(Protocol):
    """Mean Dice of trainings on so many labels, and its 95 % interval."""

    @property
    def labels(self) -> int: ...
    @property
    def dice(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


class Curve(Protocol):
    """A learning curve as it is drawn; `genseg.evidence.learning_curve.LearningCurve` says what its parts mean."""

    @property
    def points(self) -> Sequence[CurvePoint]: ...
    @property
    def labels(self) -> int: ...
    @property
    def gain(self) -> float: ...
    @property
    def needed(self) -> float: ...
    @property
    def band(self) -> NDArray[np.float64]: ...
    @property
    def verdict(self) -> str: ...
    @property
    def fitted(self) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]: ...


def draw_comparison(without: Sequence[float], with_it: Sequence[float], what: str, verdict: str, path: Path) -> None:
    """Draw every held-out case as a dot, Dice without `what` to the right and with it upwards, as PNG."""
    figure = new_figure(6, 6.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter(without, with_it, s=18, alpha=0.7)
    axes.set(xlabel=f"Dice without {what}", ylabel=f"Dice with {what}", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.text(0.03, 0.95, f"better with {what}", color="grey")
    axes.text(0.97, 0.03, "better without", color="grey", ha="right")
    axes.set_title(textwrap.fill(verdict, 68), fontsize=10, loc="left")
    save_figure(figure, path)


def draw_learning_curve(curve: Curve, path: Path) -> None:
    """Draw what was measured with its intervals, the curve through it and its band, and where the gain is reached."""
    figure = new_figure(8, 5)
    axes = figure.subplots()
    places, low, high = curve.band
    axes.fill_between(places, low, high, color="tab:blue", alpha=0.15, linewidth=0, label="95 % interval of the curve")
    axes.plot(places, curve.fitted(places), color="tab:blue", label="fitted curve")
    axes.errorbar(
        [point.labels for point in curve.points],
        [point.dice for point in curve.points],
        # An interval of drawn means may lie wholly to one side of the mean itself.
        [[max(0.0, p.dice - p.low) for p in curve.points], [max(0.0, p.high - p.dice) for p in curve.points]],
        fmt="o",
        color="black",
        capsize=3,
        label="measured on held-out cases",
    )
    axes.axvline(curve.labels, color="grey", linestyle=":", label=f"the {curve.labels} labels there are")
    if curve.needed <= places[-1]:
        axes.axvline(curve.needed, color="tab:orange", linestyle="--", label=f"{100 * curve.gain:g} points more")
    axes.set(xlabel="labelled cases to train on", ylabel="Dice", xscale="log")
    axes.set_xticks([point.labels for point in curve.points] + [curve.labels, 2 * curve.labels, 4 * curve.labels])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=9)
    axes.set_title(textwrap.fill(curve.verdict, 95), fontsize=10, loc="left")
    save_figure(figure, path)
