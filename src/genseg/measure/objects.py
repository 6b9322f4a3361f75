"""The connected objects of each class in a label map: what is counted, measured and outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

AXES: dict[int, tuple[str, ...]] = {2: ("row", "column"), 3: ("i", "j", "k")}
"""What the axes of pictures and of volumes are called in tables. Of a DICOM volume i, j, k are column, row and slice,
of a stack of TIFF pages row, column and page, and of the other formats the file's own voxel axes."""


@dataclass(frozen=True)
class ClassObjects:
    """Where a class lies, cut to the box around it, which is of size 0 where it is absent.

    origin: place of the box's first voxel in the label map.
    numbers: `(*spatial)` 0 outside of the class, else 1..count by object. Voxels that share a corner are of one object.
    """

    class_name: str
    origin: tuple[int, ...]
    numbers: NDArray[np.int32]
    count: int


def find_class_objects(mask: NDArray[np.uint8], class_names: Sequence[str]) -> list[ClassObjects]:
    """The objects of each foreground class.

    mask: `(*spatial)` class indices, two or three axes. class_names: by class index, background first.
    """
    from scipy.ndimage import find_objects

    found = []
    for index, box in enumerate(find_objects(mask, max_label=len(class_names) - 1), 1):
        box = box or (slice(0, 0),) * mask.ndim
        numbers, count = number_objects(mask[box] == index)
        found.append(ClassObjects(class_names[index], tuple(one.start for one in box), numbers, count))
    return found


def number_objects(region: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Numbers `(*spatial)` of the connected objects of a region, 0 outside of it, and how many there are.

    Voxels that share a corner are of one object.
    """
    from scipy.ndimage import generate_binary_structure, label

    numbers, count = label(region, generate_binary_structure(region.ndim, region.ndim))
    return numbers, int(count)
