"""U-Net from random weights, 2D and 3D. Source: Ronneberger et al., U-Net, MICCAI 2015."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from genseg.compute.layers import CONVOLUTION, resize
from genseg.segmenters.blocks import ConvNormAct, Decoder

SMALL = {2: [32, 64, 96, 128, 192], 3: [16, 32, 64, 128, 256]}
LARGE = {2: [32, 64, 128, 256, 512], 3: [32, 64, 128, 256, 512]}
"""Channels at each level, finest first, by spatial rank."""

STEM_STRIDE = {2: 2, 3: 1}
"""Pictures are halved at once: full-size levels cost most of the time and see too little of the picture to be worth it.
Volumes have few voxels across an organ and keep them."""


class UNet(nn.Module):
    """U-Net with strided convolutions on the way down and batch normalisation throughout.

    widths: channels at each level, finest first; each level halves the size.
    """

    def __init__(self, rank: int, channels: int, classes: int, widths: list[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvNormAct(rank, channels, widths[0], stride=STEM_STRIDE[rank]), ConvNormAct(rank, widths[0], widths[0])
        )
        self.levels = nn.ModuleList(
            nn.Sequential(ConvNormAct(rank, above, width, stride=2), ConvNormAct(rank, width, width))
            for above, width in pairwise(widths)
        )
        self.decoder = Decoder(rank, widths, widths[:-1])
        self.head = CONVOLUTION[rank](widths[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)`; any spatial size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features, finest first."""
        features = [self.stem(image)]
        for level in self.levels:
            features.append(level(features[-1]))
        return resize(self.head(self.decoder(features)), image.shape[2:]), features


def build_small_unet(rank: int, channels: int, classes: int) -> UNet:
    """U-Net of 2.0 M parameters in 2D and 5.9 M in 3D."""
    return UNet(rank, channels, classes, SMALL[rank])


def build_large_unet(rank: int, channels: int, classes: int) -> UNet:
    """U-Net of 7.8 M parameters in 2D and 23.5 M in 3D."""
    return UNet(rank, channels, classes, LARGE[rank])
