"""The kept records of runs, and what they say of one way of training against another.

Dice is the mean over test cases, seeds and draws of the labelled cases. Differences are paired case by case and
averaged over the draws and seeds that both ways have; their intervals are bootstrap intervals over cases and, where
there are several, over these trainings. Over several tasks each task counts alike.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy.suite import Run, Suite
from genseg.evaluate import Estimate, PairedDifference, bootstrap_interval, paired_bootstrap_over_strata

Record = dict[str, Any]

Repeat = tuple[int, int]
"""A draw of the labelled cases, and a seed."""


@dataclass(frozen=True)
class Cell:
    """What was run of one task with one segmenter and number of labels: records by way of training, draw and seed.

    labels: as many as there were to be had, at most those asked for.
    """

    task: str
    segmenter: str
    asked: int
    by_way: Mapping[str, dict[Repeat, Record]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def labels(self) -> int:
        """How many labels there were."""
        return int(next(record for records in self.by_way.values() for record in records.values())["labels"])

    def records(self, way: str) -> list[Record]:
        """Those of a way, draw by draw and seed by seed."""
        return [self.by_way[way][repeat] for repeat in sorted(self.by_way.get(way, {}))]

    def elsewhere(self, place: str) -> Cell:
        """The same runs, scored on another data set; those that were not scored on it are left out."""
        return self._scored(f"{self.task} on {place}", lambda record: _others(record).get(place))

    def on_development_cases(self) -> Cell:
        """The same runs on the labelled cases that were left over, by which choices may be made.

        Of these cases those that all runs share, so that draws can be averaged; runs that had none are left out, and
        all where they share none.
        """
        left = [one["development"] for way in self.by_way for one in self.records(way) if one.get("development")]
        shared = sorted(set.intersection(*(set(one["dice_by_case"]) for one in left))) if left else []
        return self._scored(self.task, lambda record: _on_development_cases(record, shared))

    def _scored(self, task: str, score: Callable[[Record], Record | None]) -> Cell:
        """The same runs by other scores; those that have none are left out."""
        by_way = {
            way: {repeat: found for repeat, one in records.items() if (found := score(one)) is not None}
            for way, records in self.by_way.items()
        }
        return Cell(task, self.segmenter, self.asked, by_way)


def read_cells(suite: Suite) -> list[Cell]:
    """The cells of a suite of which anything was run, in the suite's order."""
    cells: dict[tuple[str, str, int], Cell] = {}
    for run in suite.runs():
        record = _read(run)
        if record is not None:
            key = (run.task, run.segmenter, run.labels)
            cells.setdefault(key, Cell(*key)).by_way[run.way][run.draw, run.seed] = record
    order = dict.fromkeys((run.task, run.segmenter, run.labels) for run in suite.runs())
    return [cells[key] for key in order if key in cells]


def of_segmenter(cells: Sequence[Cell], segmenter: str) -> list[Cell]:
    """Those of one segmenter."""
    return [cell for cell in cells if cell.segmenter == segmenter]


def by_task(cells: Sequence[Cell]) -> list[list[Cell]]:
    """The cells of each task, from few labels to many; tasks in the order in which they come."""
    tasks = dict.fromkeys(cell.task for cell in cells)
    return [sorted((cell for cell in cells if cell.task == task), key=lambda cell: cell.labels) for task in tasks]


def mean_dice(cells: Sequence[Cell], way: str) -> float | None:
    """Mean Dice of a way over its repeats, then over cells; None where one was not run."""
    found = [[record["dice"] for record in cell.records(way)] for cell in cells]
    return float(np.mean([np.mean(one) for one in found])) if all(found) else None


def dice_interval(cell: Cell, way: str) -> Estimate:
    """Mean Dice of a way over cases, each averaged over repeats, with its interval."""
    return bootstrap_interval(list(_average_by_case(cell.records(way)).values()))


def difference(cells: Sequence[Cell], first: str, second: str) -> PairedDifference | None:
    """What the first way brings over the second on the mean of the cells; None where they share no repeat in one."""
    found = [_differences(cell, first, second) for cell in cells]
    return paired_bootstrap_over_strata(found) if found and all(one.size for one in found) else None


def difference_across(first: Cell, first_way: str, second: Cell, second_way: str) -> PairedDifference | None:
    """What a way in one cell brings over a way in another of the same task; None where they share no repeat."""
    by_way = {"first": first.by_way[first_way], "second": second.by_way[second_way]}
    return difference([Cell(first.task, first.segmenter, first.asked, by_way)], "first", "second")


def shared_repeats(cell: Cell, first: str, second: str) -> list[Repeat]:
    """Draws and seeds that both ways were run with."""
    return sorted(set(cell.by_way.get(first, {})) & set(cell.by_way.get(second, {})))


def _differences(cell: Cell, first: str, second: str) -> NDArray[np.float64]:
    """First minus second, `(repeat, case)`."""
    pairs = [(cell.by_way[first][one], cell.by_way[second][one]) for one in shared_repeats(cell, first, second)]
    return np.array([_paired(one["dice_by_case"], other["dice_by_case"]) for one, other in pairs])


def _paired(one: Mapping[str, float], other: Mapping[str, float]) -> list[float]:
    return [one[name] - other[name] for name in sorted(one)]


def _average_by_case(records: Iterable[Record]) -> dict[str, float]:
    scores: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for name, dice in record["dice_by_case"].items():
            scores[name].append(dice)
    return {name: float(np.mean(one)) for name, one in scores.items()}


def _others(record: Record) -> Mapping[str, Any]:
    others: Mapping[str, Any] = record.get("elsewhere", {})
    return others


def _on_development_cases(record: Record, names: Sequence[str]) -> Record | None:
    """What a record says of these development cases; None where there are none, or it had none."""
    if not names or not record.get("development"):
        return None
    by_case = {name: record["development"]["dice_by_case"][name] for name in names}
    return {"labels": record["labels"], "dice": float(np.mean(list(by_case.values()))), "dice_by_case": by_case}


def _read(run: Run) -> Record | None:
    path = run.record()
    if not path.exists():
        return None
    record: Record = json.loads(path.read_text(encoding="utf-8"))
    return record
