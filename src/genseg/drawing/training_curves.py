"""The picture of how a training went: its loss, the Dice of the held-out cases, and what feedback has steered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genseg.drawing.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SMOOTHING_SHARE = 0.03


def draw_curves(events: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the training's events as one PNG, atomically: the loss on the left, validation Dice beside it.

    events: in the order in which they were logged; used are those with
        {"event": "step", "step": int, "loss": float},
        {"event": "validation", "step": int, "dice": float, "dice_by_class": {name: float}} and
        {"event": "feedback", "step": int, "share": float, "temperature": float, "range_...": float, ...};
        a third panel shows the last, where there are any. A step that was logged twice (training resumed from an
        earlier checkpoint) counts as logged last. A loss that is not a finite number above 0 leaves a gap. Without any
        step or validation its panel says so.
    """
    feedback = _by_step(events, "feedback")
    panels = 3 if feedback else 2
    figure = new_figure(5.5 * panels, 4.2)
    left, right, *further = figure.subplots(1, panels)
    _draw_loss(left, _by_step(events, "step"))
    _draw_dice(right, _by_step(events, "validation"))
    for axes in further:
        _draw_steering(axes, feedback)
    save_figure(figure, path)


def _by_step(events: Sequence[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    """The events of one kind in order of steps, the one logged last where a step comes twice."""
    last = {int(event["step"]): event for event in events if event["event"] == kind}
    return [last[step] for step in sorted(last)]


def _draw_loss(axes: Axes, events: list[Mapping[str, Any]]) -> None:
    axes.set(title="Training loss", xlabel="step", ylabel="loss (log scale)")
    if not events:
        _say_empty(axes, "no training step yet")
        return
    steps = [event["step"] for event in events]
    loss = np.array([event["loss"] for event in events], dtype=np.float64)
    loss[~(np.isfinite(loss) & (loss > 0))] = np.nan
    axes.plot(steps, loss, color="tab:blue", alpha=0.3, linewidth=0.8, label="each step logged")
    axes.plot(steps, _smooth(loss), color="tab:blue", linewidth=2, label="smoothed")
    axes.set_yscale("log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()


def _draw_dice(axes: Axes, events: list[Mapping[str, Any]]) -> None:
    axes.set(title="Dice of the held-out cases", xlabel="step", ylabel="Dice", ylim=(0, 1.02))
    if not events:
        _say_empty(axes, "no validation yet")
        return
    steps = [event["step"] for event in events]
    names = list(dict.fromkeys(name for event in events for name in event["dice_by_class"]))
    for name in names if len(names) > 1 else []:
        values = [event["dice_by_class"].get(name, np.nan) for event in events]
        axes.plot(steps, values, linewidth=1, marker=".", markersize=3, alpha=0.8, label=name)
    axes.plot(steps, [event["dice"] for event in events], color="black", linewidth=2, marker="o", markersize=3)
    axes.lines[-1].set_label("mean")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def _draw_steering(axes: Axes, events: list[Mapping[str, Any]]) -> None:
    axes.set(title="Steered parameters", xlabel="step", ylabel="relative to the initial value")
    steps = [event["step"] for event in events]
    ranges = [name for name in events[0] if name.startswith("range_")]
    for name in ["share", "temperature", *ranges]:
        values = np.array([event[name] for event in events], dtype=np.float64)
        label = "synthetic fraction" if name == "share" else name.replace("range_", "range of ")
        axes.plot(steps, values / values[0], linewidth=2 if name == "share" else 1, label=label)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))


def _say_empty(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color="grey")
    axes.set(xticks=[], yticks=[])


def _smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over a window around each value, a small share of the run wide; gaps do not count, and stay gaps."""
    half = max(1, round(len(values) * SMOOTHING_SHARE / 2))
    known = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    places = np.arange(len(values))
    first, last = np.maximum(places - half, 0), np.minimum(places + half + 1, len(values))
    smoothed = np.full(len(values), np.nan)
    window = counts[last] - counts[first]
    np.divide(totals[last] - totals[first], window, out=smoothed, where=known)
    return smoothed
