"""How DICOM slices lie in the patient, and whether together they form one straight, even stack.

Coordinates are DICOM's: LPS+ mm, slices located by Image Position and Image Orientation (DICOM PS3.3, C.7.6.2.1.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.choices import Tilt
from genseg.errors import DataError, Fault, FaultCode
from genseg.read.geometry import Affine, bad_affine, bad_spacing, ras_affine, spacing_faults, spacing_of
from genseg.read.tilt import TILT_TOLERANCE, straight_affine, tilt_of

ORIENTATION_TOLERANCE = 1e-3
"""Direction cosines of one stack may differ by this much (0.06 degrees)."""

GAP_TOLERANCE = 0.05
"""Distances between neighbouring slices may differ from their median by this share of it, or by `ROUNDING_MM`."""

ROUNDING_MM = 0.02
"""Positions are often stored with two decimals."""

_SAME_PLACE_MM = 1e-3


@dataclass(frozen=True)
class Plane:
    """One slice in the patient.

    position: `(3,)` mm, centre of the first pixel.
    along_row, along_column: `(3,)` unit vectors, towards the next column and the next row.
    spacing: mm between rows, and between columns.
    """

    file: str
    position: NDArray[np.float64]
    along_row: NDArray[np.float64]
    along_column: NDArray[np.float64]
    spacing: tuple[float, float]

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector at right angles to the slice."""
        return np.cross(self.along_row, self.along_column)


def make_plane(file: str, position: Any, orientation: Any, spacing: Any) -> Plane:
    """A plane from Image Position, Image Orientation and Pixel Spacing as stored (None where absent).

    Raises:
        DataError: BAD_AFFINE or BAD_SPACING where one of them is absent or impossible.
    """
    place, directions, steps = _numbers(position, 3), _numbers(orientation, 6), _numbers(spacing, 2)
    faults = []
    if place is None or directions is None:
        faults.append(bad_affine(file, "a slice without position and orientation", "both, for a volume"))
    elif not _right_angled(directions):
        faults.append(bad_affine(file, "an orientation whose axes are not at right angles", "two unit vectors"))
    if steps is None:
        faults.append(bad_spacing(file, "no pixel spacing", "the distance between rows and columns in mm"))
    else:
        faults += spacing_faults(steps.tolist(), file)
    if faults or place is None or directions is None or steps is None:
        raise DataError(faults)
    return Plane(file, place, directions[:3], directions[3:], (float(steps[0]), float(steps[1])))


def stack_planes(planes: Sequence[Plane], name: str, tilt: Tilt = "stop") -> tuple[list[int], Affine]:
    """Order of at least two planes along their normal, and the affine of voxel axes (column, row, slice) to RAS+ mm.

    tilt: "stop" where the stack leans, or "straighten" to take it with an affine that leans too.

    Raises:
        DataError: SERIES_ORIENTATION, SERIES_DUPLICATE, SERIES_INCOMPLETE, SERIES_TILTED or SERIES_MIXED (spacing).
    """
    first = planes[0]
    faults = _difference_faults(planes, name)
    if faults:
        raise DataError(faults)
    heights = [float(plane.position @ first.normal) for plane in planes]
    order = sorted(range(len(planes)), key=lambda index: heights[index])
    ordered = [planes[index] for index in order]
    faults = _gap_faults(ordered, name) or (_tilt_faults(ordered, name) if tilt == "stop" else [])
    if faults:
        raise DataError(faults)
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    axes = np.stack([first.along_row * first.spacing[1], first.along_column * first.spacing[0], step], axis=1)
    return order, ras_affine(axes, ordered[0].position)


def stack_spacing(affine: Affine, spatial: tuple[int, ...], name: str) -> tuple[tuple[float, ...], tuple[Fault, ...]]:
    """mm between rows, columns and slices, these at right angles; and a warning where the stack leans."""
    tilt = tilt_of(affine, spatial)
    if tilt is None:
        return spacing_of(affine), ()
    found, cure = "a gantry-tilted series, which is straightened for the network", "Look at it in the contact sheet."
    warning = Fault(FaultCode.SERIES_TILTED, name, found, "slices stacked at right angles", cure, stops=False)
    return spacing_of(straight_affine(affine, tilt)), (warning,)


def _numbers(value: Any, count: int) -> NDArray[np.float64] | None:
    """`count` finite numbers from a DICOM value, or None where it holds anything else."""
    try:
        numbers = np.array([float(number) for number in value])
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.isfinite(numbers).all() else None


def _right_angled(directions: NDArray[np.float64]) -> bool:
    axes = directions.reshape(2, 3)
    return bool(np.allclose(axes @ axes.T, np.eye(2), rtol=0, atol=10 * ORIENTATION_TOLERANCE))


def _difference_faults(planes: Sequence[Plane], name: str) -> list[Fault]:
    """Slices that cannot be of one stack: another orientation, another pixel spacing."""
    first = planes[0]
    turned = [plane.file for plane in planes if not _same_orientation(plane, first)]
    stretched = [plane.file for plane in planes if not np.allclose(plane.spacing, first.spacing, rtol=1e-3, atol=0)]
    faults = []
    if turned:
        found = f"{len(turned)} of {len(planes)} slices with another orientation, such as {turned[0]}"
        faults.append(_series_fault(FaultCode.SERIES_ORIENTATION, name, found, "one orientation"))
    if stretched:
        found = f"{len(stretched)} of {len(planes)} slices with another pixel spacing, such as {stretched[0]}"
        faults.append(_series_fault(FaultCode.SERIES_MIXED, name, found, "one pixel spacing"))
    return faults


def _same_orientation(plane: Plane, other: Plane) -> bool:
    differences = np.abs(np.concatenate([plane.along_row - other.along_row, plane.along_column - other.along_column]))
    return bool(differences.max() <= ORIENTATION_TOLERANCE)


def _gap_faults(ordered: Sequence[Plane], name: str) -> list[Fault]:
    """Two slices at one place, or uneven distances between them."""
    gaps = np.diff([plane.position @ ordered[0].normal for plane in ordered])
    same = np.flatnonzero(gaps <= _SAME_PLACE_MM)
    if same.size:
        pair = f"{ordered[same[0]].file} and {ordered[same[0] + 1].file}"
        found = f"{same.size + 1} or more slices at one place, such as {pair}"
        return [_series_fault(FaultCode.SERIES_DUPLICATE, name, found, "one slice at each place")]
    usual = float(np.median(gaps))
    wrong = np.flatnonzero(np.abs(gaps - usual) > max(GAP_TOLERANCE * usual, ROUNDING_MM))
    if not wrong.size:
        return []
    where = f"between {ordered[wrong[0]].file} and {ordered[wrong[0] + 1].file}"
    found = f"{wrong.size} uneven gaps, such as {gaps[wrong[0]]:.3f} mm {where}"
    return [_series_fault(FaultCode.SERIES_INCOMPLETE, name, found, f"a slice every {usual:.3f} mm")]


def _tilt_faults(ordered: Sequence[Plane], name: str) -> list[Fault]:
    """Slices that step sideways as well as forwards: a CT with its gantry tilted."""
    step = (ordered[-1].position - ordered[0].position) / (len(ordered) - 1)
    forwards = float(step @ ordered[0].normal)
    sideways = float(np.linalg.norm(step - forwards * ordered[0].normal))
    if sideways <= TILT_TOLERANCE * forwards:
        return []
    found = f"a gantry-tilted series: {sideways:.3f} mm sideways for every {forwards:.3f} mm"
    cure = "Have it straightened by --tilt straighten, or resample it to an orthogonal grid first."
    return [Fault(FaultCode.SERIES_TILTED, name, found, "slices stacked at right angles", cure)]


def _series_fault(code: FaultCode, name: str, found: str, expected: str) -> Fault:
    return Fault(code, name, found, expected, "Export the series again, alone and whole, into one folder.")
