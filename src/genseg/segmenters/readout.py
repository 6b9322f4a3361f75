"""A small head that reads the features of a frozen encoder, taken of the image at several sizes.

The features depend on the image alone, so that training computes them once and makes hundreds of cheap updates of the
head on what it keeps (`genseg.training.views`): a first model within seconds. Several sizes, because an encoder that is
not trained sees objects of different sizes with different levels.

Source: Hariharan et al., Hypercolumns for Object Segmentation and Fine-grained Localization, CVPR 2015: a classifier on
the features of all levels at a place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from operator import add

import torch
from torch import Tensor, nn

from genseg.compute.layers import at_least_float32, resize
from genseg.segmenters.blocks import ConvNormAct
from genseg.segmenters.efficientnet_lite import FEATURE_STAGES, EfficientNetLite, load_imagenet_weights

SCALES = (Fraction(3, 4), Fraction(1), Fraction(3, 2))
"""Sizes of the image that features are taken of, as multiples of its own."""

FIRST_LEVEL = 1
"""Finest of the encoder's levels that is read, at 1/4 of a size: edges and colours at 1/2 cost most and add nothing."""

WIDTH = 32


class Head(nn.Module):
    """Two layers: every level to a common width and size, then once around each place.

    The first layer is a 1x1 convolution of all levels side by side, computed level by level before they are enlarged:
    both are linear, so that their order makes no difference but to the time.

    widths: channels of each feature map. reference: which of them has the common size.
    """

    def __init__(self, widths: Sequence[int], reference: int, classes: int) -> None:
        super().__init__()
        self.reference = reference
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, affine=False) for width in widths)
        self.levels = nn.ModuleList(nn.Conv2d(width, WIDTH, 1, bias=False) for width in widths)
        self.joint = nn.Sequential(nn.BatchNorm2d(WIDTH), nn.LeakyReLU(0.01, inplace=True))
        self.around = ConvNormAct(2, WIDTH, WIDTH)
        self.classes = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps `(batch, width, row, column)` to logits `(batch, class, row, column)` of the common size."""
        spatial = features[self.reference].shape[2:]
        levels = zip(features, self.norms, self.levels, strict=True)
        joint = reduce(add, (resize(level(norm(at_least_float32(one))), spatial) for one, norm, level in levels))
        logits: Tensor = self.classes(self.around(self.joint(joint)))
        return logits


class ReadOut(nn.Module):
    """Frozen EfficientNet-lite0, and the head; nothing else is trained."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(channels).requires_grad_(False)
        widths = self.encoder.widths[FIRST_LEVEL:] * len(SCALES)
        reference = SCALES.index(Fraction(1)) * len(self.encoder.widths[FIRST_LEVEL:])
        self.head = Head(widths, reference, classes)
        self.train()

    def train(self, mode: bool = True) -> ReadOut:
        """As of any module, but the encoder's normalisation keeps the statistics that it came with."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, row, column)` in [-1, 1] to logits `(batch, class, row, column)`; any size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features of the image at its own size, finest first."""
        by_scale = self._by_scale(image)
        return self.read(_flat(by_scale), image.shape[2:]), by_scale[SCALES.index(Fraction(1))]

    def frozen_features(self, image: Tensor) -> list[Tensor]:
        """What the head reads of an image: feature maps `(batch, width, row, column)`, level by level, size by size."""
        return _flat(self._by_scale(image))

    def read(self, features: Sequence[Tensor], spatial: torch.Size) -> Tensor:
        """`frozen_features` of images of the size `spatial` to their logits `(batch, class, *spatial)`."""
        return resize(self.head(features), spatial)

    def _by_scale(self, image: Tensor) -> list[list[Tensor]]:
        return [self.encoder(resize(image, _scaled(image.shape[2:], scale))) for scale in SCALES]


def build_readout(rank: int, channels: int, classes: int) -> ReadOut:  # noqa: ARG001
    """Read-out of ImageNet features, 2D only; `rank` is there for the contract."""
    segmenter = ReadOut(channels, classes)
    load_imagenet_weights(segmenter.encoder)
    return segmenter


def feature_values(spatial: Sequence[int]) -> int:
    """How many numbers `ReadOut.frozen_features` gives for one image `(channel, *spatial)`."""
    levels = list(enumerate(FEATURE_STAGES.values(), 1))[FIRST_LEVEL:]
    sizes = [_scaled(spatial, scale) for scale in SCALES]
    return sum(width * math.prod(-(-side // 2**halved) for side in size) for halved, width in levels for size in sizes)


def _flat(by_scale: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    return [one for levels in by_scale for one in levels[FIRST_LEVEL:]]


def _scaled(spatial: Sequence[int], scale: Fraction) -> tuple[int, ...]:
    """A size times a scale, rounded up.

    In sums that an exporter which records them keeps: no `torch.Size`, nothing negative that is divided.
    """
    return tuple((length * scale.numerator + scale.denominator - 1) // scale.denominator for length in spatial)
