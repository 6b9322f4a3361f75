"""Where voxels lie in the patient: affines, spacings, and what cannot be true of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genseg.errors import Fault, FaultCode

Affine = NDArray[np.float64]

_LEAST_VOLUME = 1e-3  # of a unit cell of unit edges: axes nearer to one plane than this make a singular affine
_SMALLEST_EXTENT, _LARGEST_EXTENT = 1.0, 3000.0  # mm, longest edge of a scan of anything from a fish to a man
_MICROMETRE = 1e-3
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


def ras_affine(axes: NDArray[np.float64], origin: NDArray[np.float64]) -> Affine:
    """The RAS+ affine of a grid given in DICOM's and ITK's LPS+ coordinates.

    axes: `(3, 3)`, column `a` is the step in mm from one voxel to the next along voxel axis `a`.
    origin: `(3,)` mm, centre of voxel 0, 0, 0.

    Rounded to float32 values, which is what a NIfTI header holds, so that a mask written there has equal geometry.
    """
    affine = np.eye(4)
    affine[:3, :3] = _LPS_TO_RAS @ axes
    affine[:3, 3] = _LPS_TO_RAS @ origin
    return affine.astype(np.float32).astype(np.float64)


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Length in mm of each voxel axis' step."""
    return tuple(float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))


def affine_faults(affine: Affine, name: str) -> list[Fault]:
    """BAD_AFFINE where the affine is not finite, or maps the volume onto a plane or a line."""
    if not np.isfinite(affine).all():
        return [bad_affine(name, "an affine with NaN or infinity", "finite numbers")]
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    if not steps.all() or abs(np.linalg.det(affine[:3, :3] / steps)) < _LEAST_VOLUME:
        return [bad_affine(name, "a singular affine: the voxel axes lie in one plane", "three independent axes")]
    return []


def bad_affine(name: str, found: str, expected: str) -> Fault:
    """The fault of a geometry that contradicts itself."""
    return Fault(
        FaultCode.BAD_AFFINE, name, found, expected, "Export the scan again from its source, or correct its header."
    )


def spacing_faults(spacing: Sequence[float], name: str) -> list[Fault]:
    """BAD_SPACING where a distance between voxels is zero, negative, NaN or infinite."""
    if all(np.isfinite(distance) and distance > 0 for distance in spacing):
        return []
    return [bad_spacing(name, f"spacing {_times(spacing)} mm", "positive distances")]


def bad_spacing(name: str, found: str, expected: str) -> Fault:
    """The fault of a distance between voxels that is missing or impossible."""
    return Fault(
        FaultCode.BAD_SPACING, name, found, expected, "Export the scan again, or write the true spacing into it."
    )


def extent_warnings(
    spatial: Sequence[int], spacing: Sequence[float], name: str, mm_per_unit: float = 1.0
) -> tuple[Fault, ...]:
    """A warning where the scan is too small or too large to be of a body: metres or micrometres taken for mm.

    mm_per_unit: of the unit that the file states. Where that is a micrometre or less, the scan may be of a cell.
    """
    extent = [length * distance for length, distance in zip(spatial, spacing, strict=True)]
    least = 0.0 if mm_per_unit <= _MICROMETRE else _SMALLEST_EXTENT
    if least <= max(extent) <= _LARGEST_EXTENT:
        return ()
    return (
        Fault(
            FaultCode.BAD_SPACING,
            name,
            f"a volume of {_times(extent)} mm",
            f"a longest edge of {_SMALLEST_EXTENT:g} to {_LARGEST_EXTENT:g} mm",
            "Check the unit of its spacing.",
            stops=False,
        ),
    )


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:.4g}" for number in numbers)
