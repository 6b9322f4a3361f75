"""Outlines of the objects in a predicted label map, as closed rings of points; one table for many cases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genseg.measure.objects import AXES, ClassObjects, find_class_objects
from genseg.read.case import Case

_DIGITS = 7  # of a position in mm, which an affine of 32-bit numbers gives


@dataclass(frozen=True)
class Contour:
    """One closed outline of one object, of a volume in one slice.

    object_number: of the object within case and class, from 1; in a volume an object goes through slices.
    contour_number: of the outline within its object, from 1. An object has several where it has holes, or where a slice
        cuts it into parts. hole: whether it surrounds a hole: the object lies outside of it.
    points: `(point, axis)` voxel indices, whole at the middle of a voxel: row and column of a picture, i, j and k of a
        volume (see `AXES`), with k that of the slice. The outline runs halfway between the middles of voxels inside and
        outside, half a voxel beyond the image where the object touches its border. The last point is the first again.
    positions: `(point, 3)` mm, RAS+, of a volume; None of a picture, and where the size of the voxels is unknown.
    """

    case: str
    class_name: str
    object_number: int
    contour_number: int
    hole: bool
    points: NDArray[np.float64]
    positions: NDArray[np.float64] | None


def trace_contours(case: Case, mask: NDArray[np.uint8], class_names: Sequence[str]) -> list[Contour]:
    """Outline the objects of each foreground class, of a volume in each slice along its last axis.

    Marching squares at 0.5 (Lorensen and Cline, SIGGRAPH 1987, in two dimensions); pixels that touch at a corner are
    inside one outline, as they are of one object.

    case: the image, for its name and geometry. mask: `(*spatial)` class indices in the image's own voxel axes.
    class_names: by class index, background first.

    Raises ValueError where the mask is of another size than the image.
    """
    if mask.shape != case.spatial:
        raise ValueError(f"a mask of shape {mask.shape} for an image of shape {case.spatial}")
    return [contour for found in find_class_objects(mask, class_names) for contour in _class_contours(case, found)]


def contour_columns(rank: int) -> tuple[str, ...]:
    """Names of the columns of a table of contours; rank: 2 for pictures, 3 for volumes, which have x, y and z too."""
    positions = () if rank == 2 else ("x_mm", "y_mm", "z_mm")
    return ("case", "class", "object", "contour", "hole", *AXES[rank], *positions)


def contour_rows(contours: Iterable[Contour]) -> Iterator[tuple[object, ...]]:
    """The rows under these columns, one a point; contours may be made one by one."""
    return (row for contour in contours for row in _rows(contour))


def _rows(contour: Contour) -> Iterator[tuple[object, ...]]:
    """A row for each point; the cells of its position in space are empty where that is unknown."""
    coordinates = 0 if contour.points.shape[1] == 2 else 3
    hole = "yes" if contour.hole else "no"
    positions = [None] * len(contour.points) if contour.positions is None else contour.positions.tolist()
    for point, position in zip(contour.points.tolist(), positions, strict=True):
        known = [float(f"{number:.{_DIGITS}g}") for number in position or ()]
        place: list[float] | list[None] = known or [None] * coordinates
        yield contour.case, contour.class_name, contour.object_number, contour.contour_number, hole, *point, *place


def _class_contours(case: Case, found: ClassObjects) -> Iterator[Contour]:
    from scipy.ndimage import find_objects

    boxes = find_objects(found.numbers) if found.count else ()
    affine = case.affine if case.spacing_unit == "mm" else None
    for number, box in enumerate(boxes, 1):
        start = np.add(found.origin, [one.start for one in box])
        for count, ring in enumerate(_rings(found.numbers[box] == number), 1):
            points = ring + start
            positions = None if affine is None else points @ affine[:3, :3].T + affine[:3, 3]
            yield Contour(case.name, found.class_name, number, count, _is_hole(ring), points, positions)


def _rings(region: NDArray[np.bool_]) -> Iterator[NDArray[np.float64]]:
    """Outlines `(point, axis)` of a region, slice by slice where it has three axes."""
    if region.ndim == 3:
        for index in range(region.shape[-1]):
            yield from (np.insert(ring, 2, index, axis=1) for ring in _rings(region[..., index]))
        return
    from skimage.measure import find_contours

    border = 1  # so that what touches the border is closed too
    for ring in find_contours(np.pad(region, border).astype(np.float64), 0.5, fully_connected="high"):
        yield ring - border


def _is_hole(ring: NDArray[np.float64]) -> bool:
    """Whether what a ring surrounds is outside of the object: scikit-image turns around that the other way."""
    row, column = ring[:, 0], ring[:, 1]
    return float(np.sum(row[:-1] * column[1:] - row[1:] * column[:-1])) > 0
