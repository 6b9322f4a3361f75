"""What labels with generated pairs are worth in labels without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from benchmarks.accuracy.records import Cell, Record, Repeat, by_task, difference_across
from benchmarks.accuracy.tables import Table, show_difference

BASELINE = "strong-augmentation"


def worth_table(cells: Sequence[Cell], way: str) -> Table | None:
    """For each task and number of labels: `way` beside the baseline with as many and with more.

    cells: of one segmenter. All columns are of the draws and seeds that all of a row's runs have. The last is read off
    the baseline's means, linear in the logarithm of the number of labels, and has no interval. None where nothing was
    run that can be compared.
    """
    found = [_row(cell, of_task, way) for of_task in by_task(cells) for cell in of_task]
    rows = tuple(row for row in found if row is not None)
    most = f"{way} - {BASELINE} with most labels"
    columns = ("task", "labels", way, f"{BASELINE} (labels)", most, f"{BASELINE} comes as far with")
    return Table(f"What labels with {way} are worth", columns, rows) if rows else None


def labels_for(dice: float, labels: Sequence[int], curve: Sequence[float]) -> str:
    """With how many labels a curve of mean Dice reaches this one, in words.

    labels: rising. Where the curve falls, it counts as flat.
    """
    rising = np.maximum.accumulate(curve)
    if dice > rising[-1]:
        return f"more than {labels[-1]} labels"
    if dice < rising[0]:
        return f"fewer than {labels[0]} labels"
    reached = max(1, int(np.searchsorted(rising, dice)))  # from a plateau, its first number of labels
    steps = slice(reached - 1, reached + 1)
    return f"{np.exp(np.interp(dice, rising[steps], np.log(labels[steps]))):.0f} labels"


def _row(cell: Cell, of_task: Sequence[Cell], way: str) -> tuple[str, ...] | None:
    others = [other for other in of_task if other.records(BASELINE)]
    shared = set(cell.by_way[way]).intersection(*(other.by_way[BASELINE] for other in others))
    if not shared or len(others) < 2:
        return None
    own = _mean(cell.by_way[way], shared)
    labels, curve = [other.labels for other in others], [_mean(other.by_way[BASELINE], shared) for other in others]
    return (
        cell.task,
        str(cell.labels),
        f"{own:.3f}",
        ", ".join(f"{dice:.3f} ({count})" for dice, count in zip(curve, labels, strict=True)),
        show_difference(difference_across(cell, way, others[-1], BASELINE)),
        labels_for(own, labels, curve),
    )


def _mean(records: Mapping[Repeat, Record], repeats: Collection[Repeat]) -> float:
    return float(np.mean([records[repeat]["dice"] for repeat in repeats]))
