"""Volumes whose slices lean, as those of a CT with its gantry tilted, brought to a straight grid and back.

Each slice is moved in its own plane by as much as it lies sideways of the first. Source: the geometry of DICOM PS3.3,
C.7.6.2.1.1; the correction is the one that dcm2niix makes for tilted gantries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TILT_TOLERANCE = 0.01
"""Sideways step from slice to slice, as a share of the distance between them (0.6 degrees)."""


@dataclass(frozen=True)
class Tilt:
    """How a volume leans.

    axis: the voxel axis along the slices. sideways: pixels that the next slice lies further along the two other axes,
    in their order. size: pixels of a slice along these.
    """

    axis: int
    sideways: tuple[float, float]
    size: tuple[int, int]

    def straighten(self, volume: NDArray[Any], fill: float, *, interpolate: bool) -> NDArray[Any]:
        """`(*spatial)` on the straight grid: larger, so that nothing is cut off; `fill` where there was nothing.

        interpolate: between pixels, else each takes the nearest one's value.
        """
        from scipy import ndimage

        slices = np.moveaxis(volume, self.axis, 0)
        canvas = np.full((len(slices), *self._canvas(len(slices))), fill, volume.dtype)
        for number, (one, target) in enumerate(zip(slices, canvas, strict=True)):
            place = self._place(number, len(slices))
            if interpolate:
                back = [-along for along in place]
                ndimage.affine_transform(one, np.ones(2), back, target.shape, target, 1, "constant", fill)
            else:
                target[self._window(place)] = one
        return np.moveaxis(canvas, 0, self.axis)

    def lean(self, volume: NDArray[Any]) -> NDArray[Any]:
        """The inverse, to the nearest pixel: the slices of the leaning volume cut out of the straight one."""
        slices = np.moveaxis(volume, self.axis, 0)
        cut = [one[self._window(self._place(number, len(slices)))] for number, one in enumerate(slices)]
        return np.moveaxis(np.stack(cut), 0, self.axis)

    def _place(self, number: int, count: int) -> list[float]:
        """Where the first pixel of a slice lies on the canvas."""
        return [step * number - min(0, math.floor(step * (count - 1))) for step in self.sideways]

    def _window(self, place: list[float]) -> tuple[slice, ...]:
        return tuple(slice(round(at), round(at) + side) for at, side in zip(place, self.size, strict=True))

    def _canvas(self, count: int) -> tuple[int, ...]:
        return tuple(
            side + math.ceil(abs(step) * (count - 1)) + 1 for side, step in zip(self.size, self.sideways, strict=True)
        )


def tilt_of(affine: NDArray[np.float64], spatial: tuple[int, ...]) -> Tilt | None:
    """How a volume `(*spatial)` leans; None where it is straight, or no two of its axes are at right angles."""
    axes = affine[:3, :3]
    for axis in (2, 1, 0):
        across = [other for other in range(3) if other != axis]
        plane = axes[:, across] / np.linalg.norm(axes[:, across], axis=0)
        sideways = plane.T @ axes[:, axis]
        forwards = math.sqrt(max(0.0, float(axes[:, axis] @ axes[:, axis] - sideways @ sideways)))
        if abs(plane[:, 0] @ plane[:, 1]) < TILT_TOLERANCE and np.linalg.norm(sideways) > TILT_TOLERANCE * forwards:
            steps = sideways / np.linalg.norm(axes[:, across], axis=0)
            first, second = across
            return Tilt(axis, (float(steps[0]), float(steps[1])), (spatial[first], spatial[second]))
    return None


def straight_affine(affine: NDArray[np.float64], tilt: Tilt) -> NDArray[np.float64]:
    """The affine with the step along the slices at right angles to them; where the first voxel lies is left open."""
    straight = affine.copy()
    for other, step in zip([other for other in range(3) if other != tilt.axis], tilt.sideways, strict=True):
        straight[:3, tilt.axis] -= step * affine[:3, other]
    return straight
