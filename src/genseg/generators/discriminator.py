"""The critic of stage I: does this patch of an image belong to this mask, and is it real?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from genseg.compute.layers import CONVOLUTION, GroupNorm, at_least_float32

WIDTHS = {2: (32, 64), 3: (32,)}
"""Channels of the halving layers. One logit sees 34 pixels of a picture, 16 of a volume: the same share of a picture of
128 pixels that pix2pix's 70 are of 256."""

GROUPS = 4
PLAIN_LAYERS = 2
"""Layers at the smallest size after the halving ones and before the logits."""


class PatchDiscriminator(nn.Module):
    """PatchGAN. Source: Isola et al., pix2pix, CVPR 2017.

    Group normalisation, not batch normalisation: a logit must not depend on the other images of its batch.
    """

    def __init__(self, rank: int, classes: int, channels: int, widths: Sequence[int] | None = None) -> None:
        super().__init__()
        widths = widths or WIDTHS[rank]
        layers: list[nn.Module] = []
        for above, width in pairwise([classes + channels, *widths]):
            layers += [CONVOLUTION[rank](above, width, 4, stride=2, padding=1), *_normalised(width, bool(layers))]
        for _ in range(PLAIN_LAYERS):
            layers += [CONVOLUTION[rank](widths[-1], widths[-1], 3, padding=1), *_normalised(widths[-1], True)]
        self.layers = nn.Sequential(*layers, CONVOLUTION[rank](widths[-1], 1, 3, padding=1))

    def forward(self, mask: Tensor, image: Tensor) -> Tensor:
        """Soft mask `(batch, class, *spatial)` and image `(batch, channel, *spatial)` to `(batch, 1, *patches)` logits.

        Large = real. At least 4 pixels an axis in 2D and 2 in 3D.
        """
        return at_least_float32(self.layers(torch.cat([mask, image], 1)))


def _normalised(width: int, normalise: bool) -> list[nn.Module]:
    """What follows a convolution; the first layer is not normalised, as in pix2pix."""
    norm: list[nn.Module] = [GroupNorm(math.gcd(GROUPS, width), width)] if normalise else []
    return [*norm, nn.LeakyReLU(0.2)]
