"""Masks that a lossy format or a resizing has blurred, read as they were drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from genseg.errors import DataError, Fault, FaultCode
from genseg.labels.label_map import (
    LabelMap,
    MaskValue,
    codes_of,
    count_labels,
    nearest_classes,
    value_list,
    value_of,
    voxel_list,
)
from genseg.labels.regions import solid_voxels
from genseg.labels.stray import erased_values
from genseg.read.case import Scan


def repair_mask(mask: Scan, labels: LabelMap, file: str) -> NDArray[np.uint8]:
    """Class indices `(*spatial)` of a mask, each voxel taken for the nearest value of the map (`nearest_classes`).

    file: how the mask is called in a fault.
    Raises DataError(UNEXPECTED_LABEL) where a value that is not in the map looks like a class and would be erased.
    """
    codes, places = np.unique(codes_of(mask.pixels), return_inverse=True)
    values = [value_of(int(code), colour=len(mask.pixels) == 3) for code in codes]
    _stop_erasure(mask, labels, file)
    found: NDArray[np.uint8] = nearest_classes(values, labels)[places]
    return found.reshape(mask.spatial)


def erasure(file: str, values: Mapping[MaskValue, int], kept: Collection[MaskValue]) -> Fault:
    """The fault of a mask that repair would take values from which look like classes. values: those, with voxels."""
    return Fault(
        FaultCode.UNEXPECTED_LABEL,
        file,
        f"solid areas of values that repair would erase: {voxel_list(values)}",
        f"only {value_list(sorted(kept))} and blurred edges between them",
        "If they are classes, declare all of them in dataset.json; if not, correct the mask.",
    )


def _stop_erasure(mask: Scan, labels: LabelMap, file: str) -> None:
    counts, kept = count_labels(mask), labels.stored_values()
    if labels.rule == "merged" or counts.keys() <= set(kept):
        return
    solid, plain = solid_voxels(mask)
    colour = len(mask.pixels) == 3
    shapes = {value_of(code, colour): (solid.get(code, 0), count) for code, count in plain.items()}
    erased = erased_values(counts, shapes, kept)
    if erased:
        raise DataError([erasure(file, {value: counts[value] for value in erased}, kept)])
