"""Smooth fields: the weights are those of a cubic B-spline, and the axes keep their order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline

from genseg.masks.splines import smooth_field


def test_agrees_with_scipy() -> None:
    points = np.random.default_rng(0).normal(size=9)
    # Uniform knots, with three more on either side of the interval [0, 6].
    reference = BSpline(np.arange(-3.0, 10.0), points, 3)((np.arange(25) + 0.5) / 25 * 6)
    field = smooth_field(torch.from_numpy(points)[None], [25])
    np.testing.assert_allclose(field[0].numpy(), reference, atol=1e-12)


@pytest.mark.parametrize("spatial", [(12, 20), (6, 8, 10)])
def test_a_slope_stays_a_slope_along_its_own_axis(spatial: tuple[int, ...]) -> None:
    rank = len(spatial)
    for axis, size in enumerate(spatial):
        slope = (torch.arange(7, dtype=torch.float64) - 1) / 4
        points = slope.view([-1 if other == axis else 1 for other in range(rank)]).expand([7] * rank)
        expected = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        field = smooth_field(points[None], spatial)[0].movedim(axis, -1)
        torch.testing.assert_close(field, expected.expand(field.shape))


def test_stays_within_its_control_points() -> None:
    points = torch.rand(3, 6, 6, generator=torch.Generator().manual_seed(0)).round() * 2 - 1
    assert smooth_field(points, (40, 40)).abs().max() <= 1 + 1e-6
