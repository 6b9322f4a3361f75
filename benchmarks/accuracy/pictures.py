"""Learning curves of a suite as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.accuracy.records import Cell, by_task, dice_interval
from genseg.drawing.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_label_curves(cells: Sequence[Cell], ways: Sequence[str], path: Path) -> Path | None:
    """Test Dice by the number of labels: a panel for each task, a line with its band for each way of training.

    cells: of one segmenter. Returns `path`, or None where no task was run with several numbers of labels.
    """
    curves = [of_task for of_task in by_task(cells) if len(of_task) > 1]
    if not curves:
        return None
    figure = new_figure(3.4 * len(curves), 3.4)
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, of_task in zip(panels, curves, strict=True):
        _draw(axes, of_task, ways)
        axes.set_title(of_task[0].task, fontsize="medium")
    panels[0].set_ylabel("test Dice")
    panels[0].legend(fontsize="small")
    save_figure(figure, path)
    return path


def _draw(axes: Axes, cells: Sequence[Cell], ways: Sequence[str]) -> None:
    for place, way in enumerate(ways):
        found = [(cell.labels, dice_interval(cell, way)) for cell in cells if cell.records(way)]
        known = [(labels, one.mean, one.low, one.high) for labels, one in found if one.low is not None]
        if known:
            labels, means, low, high = zip(*known, strict=True)
            colour = f"C{place}"  # of the way, so that panels with other ways are alike
            axes.plot(labels, means, marker="o", color=colour, label=way)
            axes.fill_between(labels, low, high, color=colour, alpha=0.12, linewidth=0)
    axes.set(xlabel="labelled cases", xscale="log")
    axes.set_xticks([cell.labels for cell in cells], [str(cell.labels) for cell in cells])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
