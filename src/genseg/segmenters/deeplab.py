"""DeepLabV3+, 2D and 3D. Source: Chen et al., Encoder-Decoder with Atrous Separable Convolution, ECCV 2018."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from genseg.compute.layers import CONVOLUTION, resize
from genseg.segmenters.blocks import ConvNormAct
from genseg.segmenters.efficientnet_lite import EfficientNetLite, load_imagenet_weights

RESIDUAL_WIDTHS = [32, 48, 96, 192]
LITE_STAGES = 5
"""Stages of the pretrained encoder that are used: those up to 1/16 of the size."""

DILATIONS = (1, 2, 4)
"""Smaller than the paper's 6, 12, 18, which suit features of 33 px and more; here they are 8 to 32 px."""


class Residual(nn.Module):
    """Two convolutions with a skip, the first of stride 2."""

    def __init__(self, rank: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.change = nn.Sequential(ConvNormAct(rank, inputs, outputs, stride=2), ConvNormAct(rank, outputs, outputs))
        self.skip = CONVOLUTION[rank](inputs, outputs, 1, stride=2)

    def forward(self, features: Tensor) -> Tensor:
        """Halve the spatial size."""
        changed: Tensor = self.change(features) + self.skip(features)
        return changed


class ResidualEncoder(nn.Module):
    """Plain residual encoder for volumes: features at 1/2, 1/4, 1/8 of the size after a stem at full size."""

    def __init__(self, rank: int, channels: int) -> None:
        super().__init__()
        self.stem = ConvNormAct(rank, channels, RESIDUAL_WIDTHS[0])
        self.levels = nn.ModuleList(Residual(rank, above, width) for above, width in pairwise(RESIDUAL_WIDTHS))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps, finest first."""
        features, deep = [], self.stem(image)
        for level in self.levels:
            deep = level(deep)
            features.append(deep)
        return features


class AtrousPyramid(nn.Module):
    """Parallel dilated convolutions and the image's mean, joined by 1x1 (the paper's ASPP)."""

    def __init__(self, rank: int, inputs: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(ConvNormAct(rank, inputs, width, dilation=dilation) for dilation in DILATIONS)
        self.mean = CONVOLUTION[rank](inputs, width, 1)
        self.join = ConvNormAct(rank, width * (len(DILATIONS) + 1), width, kernel=1)

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, inputs, *spatial)` to `(batch, width, *spatial)`."""
        axes = tuple(range(2, features.ndim))
        mean = self.mean(features.mean(axes, keepdim=True)).expand(-1, -1, *features.shape[2:])
        joined: Tensor = self.join(torch.cat([*(branch(features) for branch in self.branches), mean], dim=1))
        return joined


class DeepLab(nn.Module):
    """Encoder, atrous pyramid on its deepest features, fine features joined before the head.

    widths: channels of the encoder's features, finest first. level: which of them are the fine ones.
    """

    def __init__(
        self, rank: int, encoder: nn.Module, widths: list[int], level: int, classes: int, width: int = 96
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.level = level
        self.pyramid = AtrousPyramid(rank, widths[-1], width)
        self.fine = ConvNormAct(rank, widths[level], 32, kernel=1)
        self.decoder = nn.Sequential(ConvNormAct(rank, width + 32, width), ConvNormAct(rank, width, width))
        self.head = CONVOLUTION[rank](width, classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)`; any size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features, finest first."""
        features: list[Tensor] = self.encoder(image)
        fine = self.fine(features[self.level])
        deep = resize(self.pyramid(features[-1]), fine.shape[2:])
        return resize(self.head(self.decoder(torch.cat([deep, fine], dim=1))), image.shape[2:]), features


def build_deeplab(rank: int, channels: int, classes: int) -> DeepLab:
    """DeepLabV3+ on ImageNet weights in 2D (features at 1/4 and 1/16), from random weights in 3D (1/2 and 1/8)."""
    if rank == 3:
        return DeepLab(3, ResidualEncoder(3, channels), RESIDUAL_WIDTHS[1:], 0, classes)
    encoder = EfficientNetLite(channels, stages=LITE_STAGES)
    load_imagenet_weights(encoder)
    return DeepLab(2, encoder, encoder.widths, 1, classes)
