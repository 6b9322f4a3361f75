"""U-Net on a pretrained encoder: with few labels, the largest single gain there is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genseg.compute.layers import resize
from genseg.segmenters.blocks import ConvNormAct
from genseg.segmenters.efficientnet_lite import EfficientNetLite, load_imagenet_weights

DECODER_WIDTHS = [16, 48, 64, 128]
"""Channels after each joint, finest (half of the image's size) first."""


class Joint(nn.Module):
    """One level up: project to the level's width, enlarge, join the skip, convolve so many times.

    Projected before it is enlarged, a feature map costs a quarter of what it would cost after.
    """

    def __init__(self, below: int, skip: int, width: int, convolutions: int) -> None:
        super().__init__()
        self.project = ConvNormAct(2, below, width, kernel=1)
        inputs = [width + skip, *[width] * (convolutions - 1)]
        self.convolve = nn.Sequential(*(ConvNormAct(2, each, width) for each in inputs))

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """`(batch, below, row, column)` and the finer `(batch, skip, *larger)` to `(batch, width, *larger)`."""
        joined: Tensor = self.convolve(torch.cat([resize(self.project(deep), skip.shape[2:]), skip], 1))
        return joined


class PretrainedUNet(nn.Module):
    """EfficientNet-lite0 encoder, U-Net decoder up to half the image's size, logits enlarged to the whole.

    The decoder takes no more arithmetic than the encoder: at the finest level, the dearest, it convolves once.
    Source: Ronneberger et al., U-Net, MICCAI 2015.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(channels)
        belows = [*DECODER_WIDTHS[1:], self.encoder.widths[-1]]
        self.joints = nn.ModuleList(
            Joint(below, skip, width, convolutions=1 if level == 0 else 2)
            for level, (below, skip, width) in enumerate(zip(belows, self.encoder.widths, DECODER_WIDTHS, strict=False))
        )
        self.head = nn.Conv2d(DECODER_WIDTHS[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, row, column)` in [-1, 1] to logits `(batch, class, row, column)`; any size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features, finest first."""
        features: list[Tensor] = self.encoder(image)
        deep = features[-1]
        for joint, skip in zip(reversed(self.joints), reversed(features[:-1]), strict=True):
            deep = joint(deep, skip)
        return resize(self.head(deep), image.shape[2:]), features


def build_pretrained_unet(rank: int, channels: int, classes: int) -> PretrainedUNet:  # noqa: ARG001
    """U-Net on ImageNet weights, 2D only; `rank` is there for the contract."""
    segmenter = PretrainedUNet(channels, classes)
    load_imagenet_weights(segmenter.encoder)
    return segmenter
