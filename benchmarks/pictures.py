"""Learning curves of a suite as pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from genseg.evaluate import Estimate
from genseg.figures import new_figure, save_figure
from records import Cell


def draw_label_curves(
    cells: Sequence[Cell], ways: Sequence[str], interval: Callable[[Cell, str], Estimate], folder: Path
) -> list[Path]:
    """For each task and segmenter with several numbers of labels: Dice by their number, a line and band for each way.

    interval: gives mean and interval of a way in a cell.
    """
    pictures = []
    for task, segmenter in dict.fromkeys((cell.task, cell.segmenter) for cell in cells):
        chosen = sorted((c for c in cells if (c.task, c.segmenter) == (task, segmenter)), key=lambda c: c.labels)
        if len(chosen) > 1:
            path = folder / f"labels-{task}-{segmenter}.png"
            _draw(chosen, ways, interval, f"{task}, {segmenter}", path)
            pictures.append(path)
    return pictures


def _draw(
    cells: Sequence[Cell], ways: Sequence[str], interval: Callable[[Cell, str], Estimate], title: str, path: Path
) -> None:
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    for way in ways:
        found = [(cell.labels, interval(cell, way)) for cell in cells if cell.records(way)]
        known = [(labels, one.mean, one.low, one.high) for labels, one in found if one.low is not None]
        if known:
            labels, means, low, high = zip(*known, strict=True)
            (line,) = axes.plot(labels, means, marker="o", label=way)
            axes.fill_between(labels, low, high, color=line.get_color(), alpha=0.12, linewidth=0)
    axes.set(title=title, xlabel="labelled cases", ylabel="test Dice", xscale="log")
    axes.set_xticks([cell.labels for cell in cells], [str(cell.labels) for cell in cells])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, path)
