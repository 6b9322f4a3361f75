"""The mask-to-image generator: a U-Net of searchable cells, coloured by a style.

Sources: Isola et al., pix2pix, CVPR 2017 (the shape, the skips); Perez et al., FiLM, AAAI 2018 (the style's way in);
Wu and He, Group Normalization, ECCV 2018 (an image must not depend on the others of its batch).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genseg.compute.layers import ADAPTIVE_MEAN, CONVOLUTION, GroupNorm, at_least_float32, crop
from genseg.generators.cells import STRIDE, MixedConvolution
from genseg.generators.fields import lay_out
from genseg.generators.generator import ImageGenerator

SLOPE = 0.2
GROUPS = 4


class Modulation(nn.Module):
    """Normalise, then scale and shift every channel by what the style says there: FiLM, equation 2, place by place."""

    def __init__(self, rank: int, width: int, style_size: int) -> None:
        super().__init__()
        self.reduce = ADAPTIVE_MEAN[rank]
        self.norm = GroupNorm(math.gcd(GROUPS, width), width, affine=False)
        self.from_style = CONVOLUTION[rank](style_size, 2 * width, 1)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """`(batch, width, *spatial)` and `(batch, style_size, *whole)` to `(batch, width, *spatial)`."""
        size = features.shape[2:]
        reduced = style if style.shape[2:] == size else self.reduce(style, size)
        scale, shift = self.from_style(reduced).chunk(2, 1)
        modulated: Tensor = self.norm(features) * (1 + scale) + shift
        return modulated


class Halve(nn.Sequential):
    """Encoder level: searchable cell, group normalisation, leaky ReLU.

    The first level is not normalised, as in pix2pix: a mask of one class would have no variance to divide by.
    """

    def __init__(self, rank: int, inputs: int, outputs: int, *, first: bool) -> None:
        norm = nn.Identity() if first else GroupNorm(math.gcd(GROUPS, outputs), outputs)
        super().__init__(MixedConvolution(rank, inputs, outputs), norm, nn.LeakyReLU(SLOPE))


class Double(nn.Module):
    """Decoder level: searchable transposed cell, style modulation, leaky ReLU."""

    def __init__(self, rank: int, inputs: int, outputs: int, style_size: int) -> None:
        super().__init__()
        self.cell = MixedConvolution(rank, inputs, outputs, transposed=True)
        self.modulation = Modulation(rank, outputs, style_size)

    def forward(self, features: Tensor, style: Tensor) -> Tensor:
        """`(batch, inputs, *spatial)` and `(batch, style_size, *whole)` to `(batch, outputs, *doubled)`."""
        return functional.leaky_relu(self.modulation(self.cell(features), style), SLOPE)


class MaskToImage(ImageGenerator):
    """U-Net from a soft mask and a style to an image.

    widths: channels of the encoder's levels, finest (half the size) first; each level halves the size. The decoder
    mirrors them and ends at full size with half of `widths[0]`. Mask and style also go straight into the last
    convolution, which keeps the edges of objects where the mask has them.
    """

    def __init__(
        self,
        rank: int,
        classes: int,
        channels: int,
        widths: Sequence[int],
        *,
        style_size: int,
        bounded: bool | Sequence[bool],
    ) -> None:
        super().__init__(rank, classes, channels, bounded)
        self.widths, self.style_size = list(widths), style_size
        self.encoder = nn.ModuleList(
            Halve(rank, above, width, first=level == 0)
            for level, (above, width) in enumerate(pairwise([classes, *widths]))
        )
        finest = max(widths[0] // 2, 1)
        deeper = [widths[-1], *(2 * width for width in reversed(widths[:-1]))]
        self.decoder = nn.ModuleList(
            Double(rank, below, width, style_size)
            for below, width in zip(deeper, [*reversed(widths[:-1]), finest], strict=True)
        )
        self.head = CONVOLUTION[rank](finest + classes + style_size, channels, 3, padding=1)

    def forward(self, mask: Tensor, style: Tensor) -> Tensor:
        """Soft mask `(batch, class, *spatial)` and style `(batch, field, style_size, *cells)` to an image.

        The image is `(batch, channel, *spatial)`, any spatial size, float32 (float64 from float64) under autocast too.
        """
        padded = _pad_to_multiple(mask, STRIDE ** len(self.widths))
        skips = [padded]
        for halve in self.encoder:
            skips.append(halve(skips[-1]))
        deep, laid_out = skips.pop(), lay_out(style, padded)
        for double in self.decoder:
            deep = torch.cat([double(deep, laid_out), skips.pop()], 1)
        with torch.autocast(mask.device.type, enabled=False):
            # Eight bits of mantissa would put steps into the image.
            image = self.head(at_least_float32(torch.cat([deep, laid_out], 1)))
        return crop(self.within_bounds(image), mask.shape[2:])

    def describe(self) -> dict[str, Any]:
        """As of every generator, with what the levels are built from."""
        return {**super().describe(), "widths": self.widths, "style_size": self.style_size}


def _pad_to_multiple(mask: Tensor, divisor: int) -> Tensor:
    """Repeat the last pixels of `(batch, class, *spatial)` up to a multiple of `divisor` on every axis."""
    missing = [-size % divisor for size in mask.shape[2:]]
    padding = [side for extra in reversed(missing) for side in (0, extra)]
    return functional.pad(mask, padding, mode="replicate") if any(missing) else mask
