"""Smooth fields from few numbers: uniform cubic B-splines on a coarse grid. 2D and 3D by one code path."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

DEGREE = 3
"""Control points beyond the number of intervals that they span."""


def smooth_field(control: Tensor, spatial: Sequence[int]) -> Tensor:
    """Control points `(field, *points)` to fields `(field, *spatial)`, linear in the points.

    The weights of a pixel are positive and sum to 1: a field never exceeds its largest control point.
    Source of the form: Rueckert et al., Nonrigid registration using free-form deformations, IEEE TMI 1999.
    """
    field = control
    for size in spatial:
        # Contracts the next axis of points and appends its pixels last, so that the order of axes ends up as it was.
        field = torch.tensordot(field, _basis(size, field.shape[1]).to(field), dims=([1], [1]))
    return field


@functools.lru_cache(maxsize=32)
def _basis(size: int, points: int) -> Tensor:
    """Weight of each control point at the centre of each pixel, `(size, points)` float64."""
    intervals = points - DEGREE
    position = (torch.arange(size, dtype=torch.float64) + 0.5) / size * intervals
    first = position.floor().clamp(max=intervals - 1)
    t = position - first
    weights = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], dim=1) / 6
    columns = first.long()[:, None] + torch.arange(DEGREE + 1)
    return torch.zeros(size, points, dtype=torch.float64).scatter_(1, columns, weights)
