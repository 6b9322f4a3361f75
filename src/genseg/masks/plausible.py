"""What real masks are like, learned from them, and what a new mask has that no real one has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import IGNORE

Bounds = Mapping[str, tuple[float, float]]
"""Measure of a class -> lowest and highest value."""

MARGINS = {
    "area": (0.5, 0.0),
    "pieces": (0.25, 0.0),
    "raggedness": (0.25, 0.0),
    "centre": (0.0, 0.08),
    "border": (0.25, 0.08),
}
"""How far beyond the real masks' range a measure may be, by the first word of its name: a share of it, and a number."""


@dataclass(frozen=True)
class Plausibility:
    """The range of every measure over the real masks, widened a little, for each foreground class.

    A piece is a connected component of a class. Measured are: a class's area and each piece's, as a share of the image;
    the number of pieces; raggedness, faces of pixels along the border for the area (1 for a square or cube); each
    piece's centre along each axis, as a share of the size; and which share of the border touches each other class and
    the edge of the image. A class that a mask does not hold has an area, 0, and no other measure there.
    """

    bounds: tuple[Bounds, ...]

    @classmethod
    def learn(cls, masks: Sequence[NDArray[np.uint8]], classes: int) -> Plausibility:
        """Measure real masks, all of which are plausible then.

        masks: `(*spatial)` class indices or `IGNORE`, which counts as background. classes: background included.
        Raises DataError where there is no mask, or where masks hold values that are no class.
        """
        _check(masks, classes)
        measured = [_measure(mask, classes) for mask in masks]
        return cls(tuple(_bounds(list(of_class)) for of_class in zip(*measured, strict=True)))

    def objections(self, mask: NDArray[np.uint8]) -> list[str]:
        """Why a mask, `(*spatial)` class indices, is unlike the real ones, in words; none for a plausible mask."""
        measured = _measure(mask, len(self.bounds) + 1)
        return [
            objection
            for index, (measures, bounds) in enumerate(zip(measured, self.bounds, strict=True), start=1)
            for name, values in measures.items()
            for objection in _objections(f"class {index}, {name}", values, bounds.get(name))
        ]

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"bounds": [{name: list(bound) for name, bound in bounds.items()} for bounds in self.bounds]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plausibility:
        """The inverse of `to_json`."""
        return cls(tuple({name: (low, high) for name, (low, high) in bounds.items()} for bounds in data["bounds"]))


def _objections(what: str, values: Sequence[float], bound: tuple[float, float] | None) -> list[str]:
    if bound is None:
        return [f"{what}: no real mask has any"]
    low, high = bound
    # The first value speaks for all: a mask in fragments would fill pages.
    return [f"{what}: {v:.3g}; real masks have {low:.3g} to {high:.3g}" for v in values if not low <= v <= high][:1]


def _bounds(measured: Sequence[Mapping[str, list[float]]]) -> Bounds:
    bounds = {}
    for name in dict.fromkeys(name for measures in measured for name in measures):
        values = [value for measures in measured for value in measures.get(name, [])]
        share, added = MARGINS[name.split()[0]]
        bounds[name] = (min(values) / (1 + share) - added, max(values) * (1 + share) + added)
    return bounds


def _measure(mask: NDArray[np.uint8], classes: int) -> list[dict[str, list[float]]]:
    """Measures of each foreground class, by name; some have a value for each piece."""
    labels = np.where(mask == IGNORE, 0, mask).astype(np.int64)
    touched = _touched(labels, classes)
    return [_measure_class(labels == index, touched[index], index) for index in range(1, classes)]


def _measure_class(region: NDArray[np.bool_], touched: NDArray[np.int64], index: int) -> dict[str, list[float]]:
    numbered, count = ndimage.label(region)
    area = int(np.count_nonzero(region))
    measures = {"area": [area / region.size]}
    if not area:
        return measures
    faces, rank = int(touched.sum()), region.ndim
    # A region that fills the image has no faces but those on the image's edge, which count.
    measures["pieces"] = [float(count)]
    measures["raggedness"] = [faces / (2 * rank * area ** ((rank - 1) / rank))]
    measures |= _measure_pieces(numbered[region], np.nonzero(region), region.shape)
    for other in range(1, len(touched)):
        if other != index:
            name = "border with the image's edge" if other == len(touched) - 1 else f"border with class {other}"
            measures[name] = [float(touched[other] / faces)]
    return measures


def _measure_pieces(
    piece: NDArray[np.integer[Any]], places: Sequence[NDArray[np.int64]], shape: Sequence[int]
) -> dict[str, list[float]]:
    """piece: number, from 1, of the piece that each pixel belongs to. places: the pixels' positions along each axis."""
    sizes = np.bincount(piece)[1:]
    measures = {"area of a piece": (sizes / np.prod(shape)).tolist()}
    for axis, (place, size) in enumerate(zip(places, shape, strict=True)):
        means = np.bincount(piece, weights=place)[1:] / sizes
        measures[f"centre of a piece along axis {axis}"] = ((means + 0.5) / size).tolist()
    return measures


def _touched(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Faces of pixels of each class (row) that touch each other class or, in the last column, the edge of the image."""
    padded = np.pad(labels, 1, constant_values=classes)
    counts = np.zeros((classes + 1) ** 2, dtype=np.int64)
    for axis in range(labels.ndim):
        line = np.moveaxis(padded, axis, 0)
        counts += np.bincount((line[:-1] * (classes + 1) + line[1:]).ravel(), minlength=len(counts))
    table = counts.reshape(classes + 1, classes + 1)
    both: NDArray[np.int64] = table + table.T
    np.fill_diagonal(both, 0)
    return both


def _check(masks: Sequence[NDArray[np.uint8]], classes: int) -> None:
    if not masks:
        cure = "Give at least one labelled case."
        raise DataError([Fault(FaultCode.TOO_FEW_CASES, "masks", "no mask", "masks to learn from", cure)])
    strange = [sorted(set(np.unique(mask).tolist()) - {*range(classes), IGNORE}) for mask in masks]
    faults = [
        Fault(
            FaultCode.UNEXPECTED_LABEL,
            f"mask {number}",
            f"the values {values[:8]}",
            f"class indices 0 to {classes - 1}",
            "Correct the mask, or declare the class.",
        )
        for number, values in enumerate(strange)
        if values
    ]
    if faults:
        raise DataError(faults)
