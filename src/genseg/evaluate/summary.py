"""The scores of many cases drawn together: means with intervals, counts of special cases, JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genseg.base.files import atomic_write_bytes, atomic_write_csv
from genseg.evaluate.intervals import Estimate, bootstrap_interval
from genseg.evaluate.metrics import CaseScores, SurfaceTolerance

Measure = Literal["dice", "iou", "hd95", "surface_dice"]
MEASURES: tuple[Measure, ...] = ("dice", "iou", "hd95", "surface_dice")
SIZES = ("truth_voxels", "predicted_voxels")
OVERALL = "all classes"


@dataclass(frozen=True)
class ClassSummary:
    """One foreground class over all cases, or all classes together (`OVERALL`: each case by its mean over classes).

    hd95_undefined: cases left out of `hd95` because one of truth and prediction lacks the class.
    missed, invented, absent: cases with the class in the truth alone, in the prediction alone, in neither. For all
        classes together: with at least one class missed, with at least one invented, with no foreground in either.
    """

    name: str
    dice: Estimate
    iou: Estimate
    hd95: Estimate
    surface_dice: Estimate
    hd95_undefined: int
    missed: int
    invented: int
    absent: int


@dataclass(frozen=True)
class EvaluationSummary:
    """Scores of every case, with means and intervals. Made by `summarise`.

    class_names: foreground classes, in the order of the scores' tuples. provenance: model, data and settings behind the
    figures, as JSON values. warnings: what a reader of the figures must know, one sentence each. in_training: how each
    case was used in training: "trained on", "held out", "no" or "unknown"; empty if that was not examined.
    """

    cases: tuple[CaseScores, ...]
    class_names: tuple[str, ...]
    by_class: tuple[ClassSummary, ...]
    overall: ClassSummary
    tolerance: SurfaceTolerance
    provenance: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    in_training: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists, numbers and text; undefined values become None."""
        dice = self.overall.dice
        return {
            "count": len(self.cases),
            "dice": dice.mean,
            "dice_95": [dice.low, dice.high],
            "iou": self.overall.iou.mean,
            "dice_by_class": {summary.name: summary.dice.mean for summary in self.by_class},
            "dice_by_case": {case.name: case.mean_dice for case in self.cases},
            "overall": asdict(self.overall),
            "by_class": [asdict(summary) for summary in self.by_class],
            "surface_tolerance": asdict(self.tolerance),
            "cases": [dict(zip(self.columns, row, strict=True)) for row in self.rows()],
            "provenance": dict(self.provenance),
            "warnings": list(self.warnings),
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Column names of `rows`; the name of HD95 includes its unit."""
        hd95 = f"hd95_{self.tolerance.unit}"
        scores = ("case", "class", "dice", "iou", hd95, "surface_dice", "truth_voxels", "predicted_voxels")
        return (*scores, "in_training") if self.in_training else scores

    @property
    def marks(self) -> dict[str, str]:
        """Labels that a report puts beside cases seen in training; empty if training only held them out."""
        seen = {name: use for name, use in self.in_training.items() if use in ("trained on", "held out")}
        only_held_out = len(seen) == len(self.cases) and set(seen.values()) == {"held out"}
        return {} if only_held_out else seen

    def rows(self) -> list[tuple[str | float | None, ...]]:
        """One row per case and foreground class; an undefined HD95 is None."""
        return [
            (case.name, name, *(getattr(case, column)[index] for column in (*MEASURES, *SIZES)), *self._use(case.name))
            for case in self.cases
            for index, name in enumerate(self.class_names)
        ]

    def _use(self, name: str) -> tuple[str, ...]:
        return (self.in_training[name],) if self.in_training else ()

    def write_json(self, path: Path) -> None:
        """Write `to_json` to a file, atomically; in ASCII, so that no name can control a terminal."""
        text = json.dumps(self.to_json(), indent=1, allow_nan=False)
        atomic_write_bytes(path, f"{text}\n".encode())

    def write_csv(self, path: Path) -> None:
        """Write `rows` below their column names, atomically; an undefined HD95 is an empty cell."""
        atomic_write_csv(path, self.columns, self.rows())


def summarise(
    cases: Sequence[CaseScores],
    class_names: Sequence[str],
    provenance: Mapping[str, Any],
    warnings: Sequence[str] = (),
    in_training: Mapping[str, str] | None = None,
) -> EvaluationSummary:
    """Draw the scores of cases together.

    class_names: of all classes by class index, background first (`LabelMap.names`).
    Raises ValueError where there is no case, where a name comes twice, or where the cases do not agree on the
    classes or on the surface tolerance.
    """
    foreground = tuple(class_names[1:])
    _check(cases, foreground)
    return EvaluationSummary(
        cases=tuple(cases),
        class_names=foreground,
        by_class=tuple(_summarise_class(cases, name, (index,)) for index, name in enumerate(foreground)),
        overall=_summarise_class(cases, OVERALL, tuple(range(len(foreground)))),
        tolerance=cases[0].tolerance,
        provenance=dict(provenance),
        warnings=tuple(warnings),
        in_training=dict(in_training or {}),
    )


def _check(cases: Sequence[CaseScores], foreground: tuple[str, ...]) -> None:
    if not cases:
        raise ValueError("a summary needs at least one case")
    if len({case.name for case in cases}) < len(cases):
        raise ValueError("each case may be scored once; a name comes twice")
    if {len(case.dice) for case in cases} != {len(foreground)} or not foreground:
        raise ValueError(f"every case must be scored on the classes {foreground}")
    if len({case.tolerance for case in cases}) > 1:
        raise ValueError("all cases must be scored with the same surface tolerance")


def _summarise_class(cases: Sequence[CaseScores], name: str, classes: tuple[int, ...]) -> ClassSummary:
    estimates = {measure: bootstrap_interval(_values(cases, measure, classes)) for measure in MEASURES}
    presence = [[(case.truth_voxels[k] > 0, case.predicted_voxels[k] > 0) for k in classes] for case in cases]
    return ClassSummary(
        name=name,
        **estimates,
        hd95_undefined=len(cases) - estimates["hd95"].count,
        missed=sum((True, False) in pairs for pairs in presence),
        invented=sum((False, True) in pairs for pairs in presence),
        absent=sum(set(pairs) == {(False, False)} for pairs in presence),
    )


def _values(cases: Sequence[CaseScores], measure: Measure, classes: tuple[int, ...]) -> list[float]:
    """Each case's mean over `classes`; a case with an undefined value among them is left out."""
    per_case = [[getattr(case, measure)[index] for index in classes] for case in cases]
    return [float(np.mean(values)) for values in per_case if None not in values]
