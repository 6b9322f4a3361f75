"""Fields of codes: carried on to everywhere, laid out under a mask, moved with an object.

A field is `(style_size, *cells)` on a coarse grid over the image. A style has one for the surroundings, one for each
class of object, and the last for the rim, where surroundings are not yet what they are elsewhere: red, or in shadow.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from genseg.compute.layers import MEAN, resize

MARGIN = {2: 6, 3: 2}
"""Width of the rim around objects, in pixels by spatial rank; even. That of pictures is for a side of `SIDE`."""

SIDE = 128

MOST: dict[int, Callable[..., Tensor]] = {2: functional.max_pool2d, 3: functional.max_pool3d}


def extend(codes: Tensor, sureness: Tensor) -> Tensor:
    """Codes `(batch, style_size, *cells)` kept where they are sure and carried on to where they are not: push-pull.

    Source: Gortler et al., The Lumigraph, SIGGRAPH 1996.
    sureness: `(batch, 1, *cells)` in 0..1. What is nowhere known becomes 0, the prior's mean and log variance.
    """
    if max(codes.shape[2:]) == 1:
        return sureness * codes
    rank = codes.ndim - 2
    known = MEAN[rank](sureness, 2, ceil_mode=True)
    coarse = MEAN[rank](sureness * codes, 2, ceil_mode=True) / known.clamp(min=1e-6)
    carried_on = resize(extend(coarse, (known * 2**rank).clamp(max=1)), codes.shape[2:])
    return sureness * codes + (1 - sureness) * carried_on


def rim_width(spatial: Sequence[int]) -> int:
    """Width of the rim, in pixels, of an image of this size; even.

    In pictures it is a share of the side, the root of the number of pixels: the same image has the same rim at every
    size that it is trained on. Volumes are cut, not resized, and what a voxel measures does not depend on the patch.
    """
    rank = len(spatial)
    if rank != 2:
        return MARGIN[rank]
    return 2 * max(1, round(MARGIN[rank] * math.sqrt(math.prod(spatial)) / SIDE / 2))


def widened(region: Tensor) -> Tensor:
    """A region `(batch, 1, *spatial)` with its rim."""
    width = rim_width(region.shape[2:])
    return _pooled(MOST, region, 2 * width + 1, padding=width)


def shares_of(mask: Tensor) -> Tensor:
    """How much of each pixel belongs to each field, `(batch, field, *spatial)`: the rim blends into the surroundings.

    mask: `(batch, class, *spatial)`, soft; where it is 0 in all classes, nothing belongs to any field.
    """
    around, objects, rank = mask[:, :1], mask[:, 1:], mask.ndim - 2
    half = rim_width(mask.shape[2:]) // 2
    wide = functional.pad(widened(objects.sum(1, keepdim=True)), [half] * 2 * rank, mode="replicate")
    near = _pooled(MEAN, wide, 2 * half + 1)
    return torch.cat([around * (1 - near), objects, around * near], 1)


def _pooled(pool: Mapping[int, Callable[..., Tensor]], region: Tensor, size: int, padding: int = 0) -> Tensor:
    """`(batch, 1, *spatial)` pooled by blocks of `size` pixels an edge: one axis after the other, which is far cheaper.

    The images take the place of channels. A single channel in the layout of channels last takes several times as long.
    """
    rank, pooled = region.ndim - 2, region.flatten(0, 1).contiguous()
    for axis in range(rank):
        kernel = [size if other == axis else 1 for other in range(rank)]
        border = [padding if other == axis else 0 for other in range(rank)]
        pooled = pool[rank](pooled, kernel, stride=1, padding=border)
    return pooled.unsqueeze(1)


def lay_out(style: Tensor, mask: Tensor) -> Tensor:
    """A style `(batch, field, style_size, *cells)` as a mask `(batch, class, *spatial)` shows it.

    Returns `(batch, style_size, *spatial)`: at every pixel the codes of its fields, in their shares.
    """
    fields = resize(style.flatten(1, 2), mask.shape[2:]).unflatten(1, style.shape[1:3])
    laid_out: Tensor = (shares_of(mask.to(fields)).unsqueeze(2) * fields).sum(1)
    return laid_out


def centres_of(mask: Tensor) -> Tensor:
    """Where the middle of each class lies, `(batch, class, rank)` from -1 to 1 along each axis; 0 where it is absent.

    mask: `(batch, class, *spatial)`, soft. In the place of the background's middle stands that of the whole foreground.
    """
    mask = torch.cat([mask[:, 1:].sum(1, keepdim=True), mask[:, 1:]], 1)
    shares = mask / mask.flatten(2).sum(2).clamp(min=1e-3).view(*mask.shape[:2], *(1,) * (mask.ndim - 2))
    centres = []
    for axis in range(2, mask.ndim):
        along = shares.sum([other for other in range(2, mask.ndim) if other != axis])
        places = (2 * torch.arange(mask.shape[axis], device=mask.device) + 1) / mask.shape[axis] - 1
        centres.append(along @ places.to(along))
    return torch.stack(centres, 2)


def shift(style: Tensor, offset: Tensor) -> Tensor:
    """Move the fields of a style `(batch, field, style_size, *cells)` by `offset`.

    offset: `(batch, field, rank)`, from -1 to 1 along each axis. What comes in from outside is the field mirrored.
    """
    fields = style.flatten(0, 1)
    rank = fields.ndim - 2
    matrix = torch.eye(rank, rank + 1).to(fields).repeat(len(fields), 1, 1)
    matrix[:, :, -1] = -offset.flatten(0, 1).flip(1)  # affine_grid's axes run x, y, z
    grid = functional.affine_grid(matrix, list(fields.shape), align_corners=False)
    moved = functional.grid_sample(fields, grid, padding_mode="reflection", align_corners=False)
    return moved.view_as(style)
