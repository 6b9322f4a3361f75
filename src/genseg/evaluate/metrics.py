"""Overlap and surface measures of one case, for each foreground class.

With T the voxels of a class in the expert's mask (truth), P those in the prediction, and dT, dP their edge voxels
(the voxels of a region with a face neighbour outside it; beyond the image's border counts as outside):

- Dice = 2 |T and P| / (|T| + |P|), 0..1.
- IoU = |T and P| / |T or P|, 0..1.
- HD95: the 95th percentile of the distances from dP to dT and that from dT to dP, the larger of the two. In mm
  for volumes, or micrometres where voxels are that small; in pixels for pictures and for volumes without a voxel size.
- Surface Dice: the share of the edge voxels of both, together, that lie within a stated tolerance of the other
  edge, 0..1 (Nikolov et al., arXiv:1809.04430; edges counted by voxels as in Seidlitz et al., arXiv:2111.05408).

Empty masks, class by class:

============================  ====  ===  ============  =========
class is present in           Dice  IoU  surface Dice  HD95
============================  ====  ===  ============  =========
truth and prediction          as above
neither                       1     1    1             0
only one of the two           0     0    0             undefined
============================  ====  ===  ============  =========

An undefined HD95 is None: it is counted and shown, and never takes part in a mean unnoticed.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.base.lengths import Unit, steps_in
from genseg.errors import DataError, Fault, FaultCode


@dataclass(frozen=True)
class SurfaceTolerance:
    """How far two surfaces may lie apart and still agree, and the unit in which surface distances are measured.

    With units "mm" and "um" a case's spacing is used; with "px" every pixel counts as 1 along each axis.
    """

    value: float
    unit: Unit

    def __post_init__(self) -> None:
        if not (np.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"a surface tolerance must be finite and at least 0, got {self.value}")

    def __str__(self) -> str:
        return f"{self.value:g} {self.unit}"


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case; each tuple holds one entry per foreground class (class index 1, 2, ...).

    hd95: in `tolerance.unit`; None where undefined (see the module's docstring).
    truth_voxels, predicted_voxels: size of the class in the expert's mask and in the prediction.
    """

    name: str
    dice: tuple[float, ...]
    iou: tuple[float, ...]
    hd95: tuple[float | None, ...]
    surface_dice: tuple[float, ...]
    truth_voxels: tuple[int, ...]
    predicted_voxels: tuple[int, ...]
    tolerance: SurfaceTolerance

    @property
    def mean_dice(self) -> float:
        """Mean Dice over the foreground classes, by which cases are ranked."""
        return float(np.mean(self.dice))


def default_tolerance(dimensions: int, unit: Unit = "mm") -> SurfaceTolerance:
    """2 pixels for pictures, which seldom know their spacing; for volumes 1 mm, 1 micrometre or, where the size of
    their voxels is unknown, 2 voxels.

    unit: of the volumes' lengths.
    """
    return SurfaceTolerance(2.0, "px") if dimensions == 2 or unit == "px" else SurfaceTolerance(1.0, unit)


def score_case(
    name: str,
    truth: NDArray[Any],
    prediction: NDArray[Any],
    classes: int,
    spacing: Sequence[float],
    tolerance: SurfaceTolerance | None = None,
) -> CaseScores:
    """Score a predicted label map against the expert's.

    truth, prediction: `(*spatial)` of 2 or 3 axes, integer class indices 0..classes-1 (0 is background).
    classes: how many classes there are, background included.
    spacing: mm along each spatial axis (unused where the tolerance is in pixels).
    tolerance: of the surface Dice; None takes `default_tolerance` of volumes in mm, or of pictures.

    Raises DataError, with every fault found, where sizes differ, a map is not of integers or holds a value that
    is no class, or the spacing does not fit.
    """
    faults = _faults(name, truth, prediction, classes, spacing)
    if faults:
        raise DataError(faults)
    tolerance = tolerance or default_tolerance(truth.ndim)
    scale = steps_in(tolerance.unit, spacing)
    scores = [_score_class(truth == label, prediction == label, scale, tolerance.value) for label in range(1, classes)]
    return CaseScores(
        name=name,
        dice=tuple(score.dice for score in scores),
        iou=tuple(score.iou for score in scores),
        hd95=tuple(score.hd95 for score in scores),
        surface_dice=tuple(score.surface_dice for score in scores),
        truth_voxels=tuple(score.truth_voxels for score in scores),
        predicted_voxels=tuple(score.predicted_voxels for score in scores),
        tolerance=tolerance,
    )


def dice_scores(truth: NDArray[Any], prediction: NDArray[Any], classes: int) -> list[float]:
    """Dice of each foreground class, by the empty-mask policy above; for watching a training run.

    truth, prediction: `(*spatial)` class indices of the same size. classes: background included.
    """
    scores = []
    for label in range(1, classes):
        one, other = truth == label, prediction == label
        total = np.count_nonzero(one) + np.count_nonzero(other)
        scores.append(2 * np.count_nonzero(one & other) / total if total else 1.0)
    return scores


@dataclass(frozen=True)
class _ClassScores:
    dice: float
    iou: float
    hd95: float | None
    surface_dice: float
    truth_voxels: int
    predicted_voxels: int


def _score_class(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], scale: tuple[float, ...], tolerance: float
) -> _ClassScores:
    sizes = int(np.count_nonzero(truth)), int(np.count_nonzero(prediction))
    total = sum(sizes)
    if total == 0:
        return _ClassScores(1.0, 1.0, 0.0, 1.0, *sizes)
    if 0 in sizes:
        return _ClassScores(0.0, 0.0, None, 0.0, *sizes)
    shared = int(np.count_nonzero(truth & prediction))
    hd95, surface_dice = _surface_scores(truth, prediction, scale, tolerance)
    return _ClassScores(2 * shared / total, shared / (total - shared), hd95, surface_dice, *sizes)


def _surface_scores(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], scale: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    """HD95 and surface Dice of two regions, neither of them empty."""
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.surface_dice import compute_surface_dice

    # MONAI makes float copies of the whole image: the box around both regions holds every edge voxel.
    box = _bounding_box(truth | prediction)
    one, other = (torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (prediction, truth))
    with warnings.catch_warnings():
        # MONAI 1.5 and 1.6 call their own get_mask_edges with an argument that they have deprecated.
        warnings.filterwarnings("ignore", message=".*always_return_as_numpy", category=FutureWarning)
        hd95 = compute_hausdorff_distance(one, other, include_background=True, percentile=95, spacing=scale)
        surface_dice = compute_surface_dice(one, other, [tolerance], include_background=True, spacing=scale)
    return float(hd95), float(surface_dice)


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    profiles = [mask.any(axis=tuple(other for other in axes if other != axis)) for axis in axes]
    ends = [np.flatnonzero(profile)[[0, -1]] for profile in profiles]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def _faults(
    name: str, truth: NDArray[Any], prediction: NDArray[Any], classes: int, spacing: Sequence[float]
) -> list[Fault]:
    faults = [
        fault
        for role, labels in (("the expert's mask", truth), ("the prediction", prediction))
        for fault in _label_faults(name, role, labels, classes)
    ]
    if truth.shape != prediction.shape:
        faults.append(
            Fault(
                FaultCode.SIZE_MISMATCH,
                name,
                f"a prediction of size {prediction.shape}",
                f"the size of the expert's mask, {truth.shape}",
                "Bring the prediction back to the size of the image that it was made from.",
            )
        )
    if len(spacing) != truth.ndim or not all(np.isfinite(step) and step > 0 for step in spacing):
        faults.append(
            Fault(
                FaultCode.BAD_SPACING,
                name,
                f"spacing {tuple(spacing)}",
                f"{truth.ndim} positive numbers (mm), one per axis",
                "Give the spacing of the expert's mask.",
            )
        )
    return faults


def _label_faults(name: str, role: str, labels: NDArray[Any], classes: int) -> list[Fault]:
    cure = f"Give class indices 0 to {classes - 1} as integers."
    if labels.ndim not in (2, 3):
        return [Fault(FaultCode.SIZE_MISMATCH, name, f"{role} has {labels.ndim} axes", "2 or 3 axes", cure)]
    if labels.dtype.kind not in "biu":
        return [Fault(FaultCode.MASK_NOT_INTEGER, name, f"{role} is of type {labels.dtype}", "integers", cure)]
    strange = np.unique(labels[(labels < 0) | (labels >= classes)]).tolist()
    if strange:
        expected = f"values 0 to {classes - 1}"
        return [Fault(FaultCode.UNEXPECTED_LABEL, name, f"{role} holds {strange[:8]}", expected, cure)]
    return []
