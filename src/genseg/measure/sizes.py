"""How large the objects of a predicted label map are, and where they lie; one table for many cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from genseg.base.lengths import Unit, length_unit, steps_in
from genseg.measure.objects import AXES, ClassObjects, find_class_objects
from genseg.read.case import Case

Cell = str | int | float | None

_DIGITS = 10  # more than anything measured here is exact to, fewer than show how computers round
_BLOCK = 256  # points whose distances to all others are held at a time


@dataclass(frozen=True)
class Measurement:
    """One foreground class in one case.

    unit: of lengths; areas are in its square. "px" where the file does not state the size of a voxel.
    voxels: size in voxels, of a picture in pixels. objects: connected parts; what touches at a corner is connected.
    area: of a picture, else None. volume_ml: of a volume whose voxel size is known, millilitres, else None.
    longest_extent: largest distance between two points of the class's surface, through the middles of its voxels' outer
        faces: a row of n voxels of 1 mm is n mm long. Over all objects together.
    centroid: mean voxel index along each axis (`AXES`), counted from 0. first, last: the smallest and the largest one.

    longest_extent, centroid, first and last are None where the class is absent.
    """

    case: str
    class_name: str
    unit: Unit
    voxels: int
    objects: int
    area: float | None
    volume_ml: float | None
    longest_extent: float | None
    centroid: tuple[float, ...] | None
    first: tuple[int, ...] | None
    last: tuple[int, ...] | None


def measure(case: Case, mask: NDArray[np.uint8], class_names: Sequence[str]) -> list[Measurement]:
    """Measure each foreground class of a predicted label map.

    case: the image, for its name and geometry. mask: `(*spatial)` class indices in the image's own voxel axes.
    class_names: by class index, background first.

    Raises ValueError where the mask is of another size than the image.
    """
    if mask.shape != case.spatial:
        raise ValueError(f"a mask of shape {mask.shape} for an image of shape {case.spatial}")
    return [_measure_class(case, found) for found in find_class_objects(mask, class_names)]


def measurement_columns(rank: int) -> tuple[str, ...]:
    """Names of the columns of a table of measurements; rank: 2 where the cases are pictures, 3 for volumes."""
    size = ("pixels", "area") if rank == 2 else ("voxels", "volume_ml")
    places = [f"{what}_{axis}" for what in ("centroid", "first", "last") for axis in AXES[rank]]
    return ("case", "class", "unit", size[0], "objects", size[1], "longest_extent", *places)


def measurement_cells(row: Measurement, rank: int) -> tuple[Cell, ...]:
    """The row of a measurement under these columns; what is undefined is None."""
    absent = (None,) * rank
    size = row.area if rank == 2 else row.volume_ml
    places = [number for place in (row.centroid, row.first, row.last) for number in (place or absent)]
    cells = (row.case, row.class_name, row.unit, row.voxels, row.objects, size, row.longest_extent, *places)
    return tuple(float(f"{cell:.{_DIGITS}g}") if isinstance(cell, float) else cell for cell in cells)


def _measure_class(case: Case, found: ClassObjects) -> Measurement:
    unit = length_unit(case.spacing, case.spacing_unit)
    steps = _steps(case, unit)
    region = found.numbers > 0
    voxels = int(np.count_nonzero(region))
    picture = region.ndim == 2
    present = voxels > 0
    return Measurement(
        case=case.name,
        class_name=found.class_name,
        unit=unit,
        voxels=voxels,
        objects=found.count,
        area=voxels * abs(float(np.linalg.det(steps))) if picture else None,
        volume_ml=None if picture or unit == "px" else voxels * abs(float(np.linalg.det(_steps(case, "mm")))) / 1000,
        longest_extent=_longest_extent(region, steps) if present else None,
        centroid=_centroid(region, found.origin) if present else None,
        first=found.origin if present else None,
        last=tuple((np.add(found.origin, region.shape) - 1).tolist()) if present else None,
    )


def _steps(case: Case, unit: Unit) -> NDArray[np.float64]:
    """`(axis, axis)`: column `a` is the step, in `unit`, to the next voxel along axis `a`."""
    scale = np.divide(steps_in(unit, case.spacing), case.spacing)
    steps = np.diag(case.spacing) if case.affine is None else case.affine[:3, :3]
    return np.asarray(steps * scale)


def _centroid(region: NDArray[np.bool_], origin: tuple[int, ...]) -> tuple[float, ...]:
    from scipy.ndimage import center_of_mass

    return tuple(float(start + middle) for start, middle in zip(origin, center_of_mass(region), strict=True))


def _longest_extent(region: NDArray[np.bool_], steps: NDArray[np.float64]) -> float:
    """steps: column `a` is the step from one voxel to the next along voxel axis `a`.

    The two points farthest apart are corners of the convex hull, which the ends of each line of voxels span.
    """
    from scipy.spatial import ConvexHull
    from scipy.spatial.distance import cdist

    faces = np.concatenate([np.eye(region.ndim), -np.eye(region.ndim)]) / 2
    points = (_line_ends(region)[:, None] + faces).reshape(-1, region.ndim) @ steps.T
    hull = points[ConvexHull(points).vertices]
    blocks = np.array_split(hull, ceil(len(hull) / _BLOCK))
    return max(float(cdist(block, hull).max()) for block in blocks)


def _line_ends(region: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices `(point, axis)` of the first and the last voxel of a region on each line along its last axis."""
    hit = region.any(axis=-1)
    first = region.argmax(axis=-1)[hit]
    last = region.shape[-1] - 1 - region[..., ::-1].argmax(axis=-1)[hit]
    lines = np.argwhere(hit)
    return np.vstack([np.column_stack([lines, end]) for end in (first, last)])
