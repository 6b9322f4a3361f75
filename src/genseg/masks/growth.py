"""Masks as level sets, and their growth and shrinkage.

Each class is the set where its signed distance is greatest. Growth adds to the distances of an object's class, so that
the amount has a gradient; moving a mask moves its distances, so that its edges stay crisp however far it is stretched.
Source of the form: Osher & Sethian, J. Comput. Phys. 1988.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from genseg.masks.memo import Memo
from genseg.masks.splines import smooth_field
from genseg.read.case import IGNORE

SHARPNESS = 4.0
"""Logit per pixel of distance: a class has a share of 0.02 on the first pixel beyond its edge and 1e-5 on the next."""

OBJECT_NUMBERS = 16
"""Objects of a mask beyond these share their numbers."""

CONTOUR_POINTS = {2: 13, 3: 8}
"""Control points along each axis, by spatial rank: about a tenth (2D) or a fifth (3D) of the size apart."""

MEMO_BYTES = 512 * 2**20


@dataclass(frozen=True)
class LevelSets:
    """What depends on a real mask alone. An object is a connected component of one class.

    distances: `(class, *spatial)` float32, pixels (of the finest axis) to the edge of each class, positive inside.
    nearest: `(class - 1, *spatial)` int32, which object of each foreground class is nearest: an index into `radii`.
    radii: `(object,)` float32, pixels: the inner radius of each object; 0 stands for a class without one.
    centre: of the foreground, in pixels of the finest axis from the middle of the image.
    """

    distances: Tensor
    nearest: Tensor
    radii: Tensor
    centre: tuple[float, ...]

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.distances.nbytes + self.nearest.nbytes + self.radii.nbytes


@dataclass(frozen=True)
class GrowthDraw:
    """Numbers in [-1, 1]. objects: one each. contour: control points of a smooth field, last axis fastest."""

    objects: tuple[float, ...]
    contour: tuple[float, ...]


_memo: Memo[LevelSets] = Memo(MEMO_BYTES, lambda result: result.nbytes)


def draw_growth(rank: int, generator: Generator) -> GrowthDraw:
    """Every number drawn evenly."""
    numbers = torch.rand(OBJECT_NUMBERS + CONTOUR_POINTS[rank] ** rank, generator=generator) * 2 - 1
    return GrowthDraw(tuple(numbers[:OBJECT_NUMBERS].tolist()), tuple(numbers[OBJECT_NUMBERS:].tolist()))


def no_growth(rank: int) -> GrowthDraw:
    """The draw that changes nothing."""
    return GrowthDraw((0.0,) * OBJECT_NUMBERS, (0.0,) * CONTOUR_POINTS[rank] ** rank)


def level_sets(mask: NDArray[np.uint8], classes: int, step: Sequence[float]) -> LevelSets:
    """Signed distances of a mask, kept for the next time that the same mask is asked for.

    mask: `(*spatial)` class indices; `IGNORE` is background. step: size of a pixel in those of the finest axis.
    """
    digest = hashlib.blake2b(np.ascontiguousarray(mask).tobytes(), digest_size=16).digest()
    return _memo.get((digest, mask.shape, classes, tuple(step)), lambda: _level_sets(mask, classes, step))


def grow(sets: LevelSets, draw: GrowthDraw, values: Mapping[str, Tensor]) -> Tensor:
    """Distances `(class, *spatial)` after growth of each object by its own amount, uneven along its contour.

    values: of `MaskRanges`; the result is differentiable in "growth" and "contour", and has their type and device.
    """
    growth, contour = values["growth"], values["contour"]
    distances, radii, nearest = sets.distances.to(growth), sets.radii.to(growth), sets.nearest.to(growth.device)
    spatial = distances.shape[1:]
    numbers = growth.new_tensor(draw.objects).repeat(len(radii) // OBJECT_NUMBERS + 1)[: len(radii)]
    points = growth.new_tensor(draw.contour).view(1, *[CONTOUR_POINTS[len(spatial)]] * len(spatial))
    uneven = contour * smooth_field(points, spatial)
    shift = (growth * numbers * radii)[nearest] + uneven * radii[nearest]
    # Where an object meets the background, its own distance and the background's are opposite: twice the shift on one
    # side moves the edge by the shift. Where two objects meet, the edge moves by the difference of theirs.
    return torch.cat([distances[:1], distances[1:] + 2 * shift])


def soft_mask(distances: Tensor) -> Tensor:
    """Distances `(class, *spatial)` to shares of the classes, which sum to 1 and are soft only within about a pixel."""
    return torch.softmax(SHARPNESS * distances, dim=0)


def _level_sets(mask: NDArray[np.uint8], classes: int, step: Sequence[float]) -> LevelSets:
    labels = np.where(mask == IGNORE, 0, mask)
    far = float(np.linalg.norm(np.array(mask.shape) * step))
    parts = [_class_distances(labels == index, step, far) for index in range(1, classes)]
    # The background of a single class is its complement, whose distances are already known.
    background = -parts[0][0] if classes == 2 else _class_distances(labels == 0, step, far)[0]
    offsets = np.cumsum([0] + [len(radii) for _, _, radii in parts[:-1]])
    nearest = np.stack([number + offset for (_, number, _), offset in zip(parts, offsets, strict=True)])
    return LevelSets(
        torch.from_numpy(np.stack([background, *(distance for distance, _, _ in parts)]).astype(np.float32)),
        torch.from_numpy(nearest.astype(np.int32)),
        torch.from_numpy(np.concatenate([radii for _, _, radii in parts]).astype(np.float32)),
        _centre(labels > 0, step),
    )


def _class_distances(
    region: NDArray[np.bool_], step: Sequence[float], far: float
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Signed distance, index of the nearest object, and radius of each object, of one class."""
    nowhere = np.zeros(region.shape, dtype=np.int64)
    if not region.any():
        return np.full(region.shape, -far), nowhere, np.zeros(1)
    if region.all():
        return np.full(region.shape, far), nowhere, np.array([far])
    inside = ndimage.distance_transform_edt(region, sampling=step)
    outside, places = ndimage.distance_transform_edt(~region, sampling=step, return_indices=True)
    # Distances are from centre to centre: the edge lies half a pixel before the first pixel on its other side.
    signed = np.where(region, inside - 0.5, 0.5 - outside)
    numbered, count = ndimage.label(region)
    radii = np.atleast_1d(ndimage.maximum(signed, numbered, np.arange(1, count + 1)))
    return signed, numbered[tuple(places)].astype(np.int64) - 1, radii


def _centre(foreground: NDArray[np.bool_], step: Sequence[float]) -> tuple[float, ...]:
    if not foreground.any():
        return (0.0,) * foreground.ndim
    means = [float(places.mean()) for places in np.nonzero(foreground)]
    return tuple((m - (n - 1) / 2) * s for m, n, s in zip(means, foreground.shape, step, strict=True))
