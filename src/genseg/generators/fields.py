"""Fields of codes, one for each class of a mask: carried on to everywhere, laid out under a mask, moved with an object.

A field is `(style_size, *cells)` on a coarse grid over the image; a style has one for each class, background first.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from genseg.layers import resize

MEAN: dict[int, Callable[..., Tensor]] = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


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


def lay_out(style: Tensor, mask: Tensor) -> Tensor:
    """A style `(batch, class, style_size, *cells)` as a mask `(batch, class, *spatial)` shows it.

    Returns `(batch, style_size, *spatial)`: at every pixel the codes of its classes, in their shares.
    """
    fields = resize(style.flatten(1, 2), mask.shape[2:]).unflatten(1, style.shape[1:3])
    laid_out: Tensor = (mask.to(fields).unsqueeze(2) * fields).sum(1)
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
    """Move the fields of a style's objects by `offset`, `(batch, class, rank)` from -1 to 1; surroundings stay.

    style: `(batch, class, style_size, *cells)`. What comes in from outside repeats the border.
    """
    objects = style[:, 1:].flatten(0, 1)
    rank = objects.ndim - 2
    matrix = torch.eye(rank, rank + 1).to(objects).repeat(len(objects), 1, 1)
    matrix[:, :, -1] = -offset[:, 1:].flatten(0, 1).flip(1)  # affine_grid's axes run x, y, z
    grid = functional.affine_grid(matrix, list(objects.shape), align_corners=False)
    moved = functional.grid_sample(objects, grid, padding_mode="border", align_corners=False)
    return torch.cat([style[:, :1], moved.unflatten(0, (len(style), -1))], 1)
