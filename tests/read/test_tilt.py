"""Volumes that lean are straightened and leant back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from genseg.read.tilt import Tilt, straight_affine, tilt_of

SPACING = (0.8, 1.2, 3.0)


def _affine(axis: int = 2, first: float = 0.0, second: float = 0.0, turned: float = 0.0) -> NDArray[np.float64]:
    """Axes of `SPACING` mm, the slices along `axis` moved sideways by so many pixels, all of it turned."""
    affine = np.diag([*SPACING, 1.0])
    across = [other for other in range(3) if other != axis]
    affine[:3, axis] += first * affine[:3, across[0]] + second * affine[:3, across[1]]
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]]
    return turn @ affine


@pytest.mark.parametrize("turned", [0.0, 0.4])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sideways", [(0.7, 0.0), (0.0, -1.3), (-0.6, 0.9)])
def test_a_tilt_is_read_from_the_affine(axis: int, sideways: tuple[float, float], turned: float) -> None:
    affine = _affine(axis, *sideways, turned)
    found = tilt_of(affine, (10, 11, 12))
    assert found is not None
    # In a plane with the slices' axis a lean along one axis is a lean along the other just as well.
    straight = straight_affine(affine, found)[:3, :3]
    lengths = np.linalg.norm(straight, axis=0)
    np.testing.assert_allclose(straight.T @ straight, np.diag(lengths**2), atol=1e-9)
    if all(sideways):
        assert (found.axis, found.sideways) == (axis, pytest.approx(sideways))
        np.testing.assert_allclose(lengths, SPACING)


@pytest.mark.parametrize("turned", [0.0, 0.4])
def test_what_is_straight_has_none(turned: float) -> None:
    assert tilt_of(_affine(turned=turned), (10, 11, 12)) is None
    assert tilt_of(_affine(first=0.001, turned=turned), (10, 11, 12)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("sideways", [(0.7, 0.0), (0.0, -1.3), (-0.6, 0.9), (2.0, 3.0)])
def test_leaning_back_is_the_inverse(axis: int, sideways: tuple[float, float]) -> None:
    mask = np.random.default_rng(0).integers(0, 4, (9, 10, 11)).astype(np.uint8)
    size = tuple(length for other, length in enumerate(mask.shape) if other != axis)
    tilt = Tilt(axis, sideways, (size[0], size[1]))
    straight = tilt.straighten(mask, 9, interpolate=False)
    assert straight.shape[axis] == mask.shape[axis]
    assert np.count_nonzero(straight != 9) == mask.size
    assert np.array_equal(tilt.lean(straight), mask)


def test_a_rod_that_stands_upright_is_upright_again() -> None:
    tilt = Tilt(2, (0.5, -0.25), (30, 30))
    rows, columns, slices = np.ogrid[:30, :30, :12]
    # Seen by slices that move along, a rod at a fixed place moves the other way.
    seen = np.exp(-((rows - (18 - 0.5 * slices)) ** 2 + (columns - (10 + 0.25 * slices)) ** 2) / 8).astype(np.float32)
    straight = tilt.straighten(seen, 0.0, interpolate=True)
    peaks = np.array([np.unravel_index(one.argmax(), one.shape) for one in np.moveaxis(straight, 2, 0)])
    assert np.ptp(peaks, axis=0).max() == 0
    assert np.ptp(straight[tuple(peaks[0])]) < 0.1
