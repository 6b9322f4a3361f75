"""Rotation, scale, shear, translation and elastic deformation of a mask's level sets, in one resampling.

2D and 3D by one code path. Positions are in pixels of the finest axis, from the middle of the image, in the order of
the spatial axes; so rotation is rigid whatever the spacing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

from genseg.masks.splines import smooth_field

ELASTIC_POINTS = {2: 8, 3: 7}
"""Control points along each axis, by spatial rank: 0.4 (2D) or 0.5 (3D) half sizes apart.

A cubic B-spline deformation cannot fold while displacements stay below 0.48 (2D) or 0.40 (3D) of that: 0.19 half sizes.
Source: Choi & Lee, Injectivity conditions of 2D and 3D uniform cubic B-spline functions, Graphical Models 2000.
"""


@dataclass(frozen=True)
class SpatialDraw:
    """Numbers in [-1, 1].

    rotation: one in 2D, one about each axis in 3D. scale: one. shear: one for each pair of axes. translation: one for
    each axis. elastic: control points for each axis, last axis fastest.
    """

    rotation: tuple[float, ...]
    scale: tuple[float, ...]
    shear: tuple[float, ...]
    translation: tuple[float, ...]
    elastic: tuple[float, ...]


def draw_spatial(rank: int, generator: Generator) -> SpatialDraw:
    """Every number drawn evenly."""
    counts = _counts(rank)
    numbers = torch.rand(sum(counts), generator=generator) * 2 - 1
    return SpatialDraw(*(tuple(part.tolist()) for part in numbers.split(counts)))


def no_movement(rank: int) -> SpatialDraw:
    """The draw that changes nothing."""
    return SpatialDraw(*((0.0,) * count for count in _counts(rank)))


def move(
    distances: Tensor,
    draw: SpatialDraw,
    values: Mapping[str, Tensor],
    centre: Sequence[float],
    step: Sequence[float],
) -> Tensor:
    """Level sets `(class, *spatial)`, pixels of the finest axis, resampled linearly; the result is in pixels too.

    values: of `MaskRanges`; differentiable in its spatial ones. centre: what the objects turn and grow about.
    step: size of a pixel in those of the finest axis.

    Outside of the old image is background, but for objects that its border cuts: these are rounded off there, by
    as much as they are deep at the border, so that no straight cut comes into view.
    """
    spatial = distances.shape[1:]
    factor = (values["scale"] * draw.scale[0]).exp()
    source = _sources(draw, values, centre, step, spatial)
    half = _column(distances, [size * unit / 2 for size, unit in zip(spatial, step, strict=True)])
    # Centres of the outermost pixels: beyond them nothing is known.
    border = half - _column(distances, step) / 2
    inner = source.clamp(-border, border)
    # A root has no derivative at 0, where most pixels are. Eight times as fast on CPU as torch.linalg.vector_norm.
    beyond = ((source - inner).square().sum(0) + 1e-12).sqrt()
    # grid_sample's axes run last spatial axis first, from -1 to 1.
    sampled = functional.grid_sample(
        distances[None], (inner / half).flip(0).movedim(0, -1)[None], padding_mode="border", align_corners=False
    )[0]
    # Distances measured in the old image become distances in the new one.
    return torch.cat([sampled[:1] + beyond, sampled[1:] - beyond]) * factor


def _sources(
    draw: SpatialDraw,
    values: Mapping[str, Tensor],
    centre: Sequence[float],
    step: Sequence[float],
    spatial: Sequence[int],
) -> Tensor:
    """Where in the old mask each pixel of the new one comes from, `(rank, *spatial)`."""
    rank = len(spatial)
    like = values["elastic"]
    extent = _column(like, [size * unit for size, unit in zip(spatial, step, strict=True)])
    points = like.new_tensor(draw.elastic).view(rank, *[ELASTIC_POINTS[rank]] * rank)
    bend = smooth_field(points, spatial) * (like * extent / 2)
    shift = values["translation"] * _column(like, draw.translation) * extent
    pivot = _column(like, centre)
    offset = _positions(tuple(spatial), tuple(step)).to(like) + bend - (pivot + shift)
    turned: Tensor = torch.tensordot(_linear(draw, values, rank), offset, dims=1)
    return turned + pivot


def _linear(draw: SpatialDraw, values: Mapping[str, Tensor], rank: int) -> Tensor:
    """Rotation, scale and shear from new positions to old ones, `(rank, rank)`."""
    like = values["rotation"]
    matrix = torch.eye(rank).to(like)
    first, second = torch.triu_indices(rank, rank, 1, device=like.device)
    matrix = matrix.index_put((first, second), values["shear"] * like.new_tensor(draw.shear))
    for number, one, other in zip(draw.rotation, first.tolist(), second.tolist(), strict=True):
        matrix = _turn(like * number, one, other, rank) @ matrix
    return matrix * (-values["scale"] * draw.scale[0]).exp()


def _turn(angle: Tensor, one: int, other: int, rank: int) -> Tensor:
    """Rotation in the plane of two axes, `(rank, rank)`."""
    turn = torch.eye(rank).to(angle)
    turn[one, one] = turn[other, other] = angle.cos()
    turn[other, one] = angle.sin()
    turn[one, other] = -angle.sin()
    return turn


@functools.lru_cache(maxsize=8)
def _positions(spatial: tuple[int, ...], step: tuple[float, ...]) -> Tensor:
    """Centre of each pixel, `(rank, *spatial)` float64."""
    axes = [
        (torch.arange(size, dtype=torch.float64) - (size - 1) / 2) * unit
        for size, unit in zip(spatial, step, strict=True)
    ]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def _column(like: Tensor, numbers: Sequence[float]) -> Tensor:
    """One number for each axis, shaped to go with `(rank, *spatial)`."""
    return like.new_tensor(tuple(numbers)).view(-1, *[1] * len(numbers))


def _counts(rank: int) -> list[int]:
    """How many numbers each change takes, in the order of the fields of `SpatialDraw`."""
    pairs = rank * (rank - 1) // 2
    return [pairs, 1, pairs, rank, rank * ELASTIC_POINTS[rank] ** rank]
