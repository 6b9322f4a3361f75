"""Every segmenter that genseg offers, by name. Imports no torch, so that `--help` and tables answer at once.

The contract, the same for all: `forward(image)` takes float images `(batch, channel, *spatial)` of any spatial size
and returns logits `(batch, class, *spatial)`; class 0 is background. `with_features(image)` returns these logits and a
list of the encoder's features `(batch, feature, *spatial of the level)`, finest first. Nothing is kept between calls,
so that several threads can use one network.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from genseg.errors import SettingsError, unknown

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SegmenterSpec:
    """What is known of a segmenter before it is built.

    ranks: spatial ranks it can work in. builder: "module:function", called with
    `(rank, channels, classes)`. learning_rate: AdamW's peak rate that suits it. any_size: whether its exported network
    takes pictures of any size. pretrained: spatial ranks in which it begins from ImageNet weights. is_frozen: whether
    its encoder keeps them, so that training computes features once and updates the rest on them; such a segmenter has
    `frozen_features(image)`, a list of tensors, and `read(features, spatial)`, their logits. updates, size: how many,
    and what side of pictures, suit it where none is asked for; what suits the machine where None.
    """

    name: str
    summary: str
    ranks: tuple[int, ...]
    builder: str
    learning_rate: float
    any_size: bool = True
    pretrained: tuple[int, ...] = ()
    is_frozen: bool = False
    updates: int | None = None
    size: int | None = None


_SPECS = (
    SegmenterSpec(
        "unet-pretrained",
        "U-Net on an ImageNet EfficientNet-lite0 encoder, 3.6 M parameters; the default for 2D images",
        (2,),
        "genseg.segmenters.pretrained:build_pretrained_unet",
        1e-3,
        pretrained=(2,),
    ),
    SegmenterSpec(
        "unet-small",
        "U-Net from random weights, 2.0 M parameters (5.9 M in 3D); the default for volumes",
        (2, 3),
        "genseg.segmenters.unet:build_small_unet",
        1e-3,
    ),
    SegmenterSpec(
        "unet-large",
        "U-Net from random weights, 7.8 M parameters (23.5 M in 3D)",
        (2, 3),
        "genseg.segmenters.unet:build_large_unet",
        1e-3,
    ),
    SegmenterSpec(
        "deeplab",
        "DeepLabV3+ on the pretrained encoder (2D) or a residual encoder (3D), 1.2 M parameters (4.1 M in 3D)",
        (2, 3),
        "genseg.segmenters.deeplab:build_deeplab",
        1e-3,
        pretrained=(2,),
    ),
    SegmenterSpec(
        "swin-unet",
        "Swin U-Net (MONAI's SwinUNETR), 6.3 M parameters (15.7 M in 3D)",
        (2, 3),
        "genseg.segmenters.swin:build_swin_unet",
        5e-4,
        any_size=False,
    ),
    SegmenterSpec(
        "readout",
        "small head on frozen ImageNet features of three image sizes, 3.0 M parameters; trained in minutes",
        (2,),
        "genseg.segmenters.readout:build_readout",
        3e-3,
        pretrained=(2,),
        is_frozen=True,
        updates=100,
        size=256,
    ),
)
SEGMENTERS: dict[str, SegmenterSpec] = {spec.name: spec for spec in _SPECS}


def segmenter_spec(name: str, rank: int) -> SegmenterSpec:
    """The entry called `name`, checked to work in `rank` (2 or 3) dimensions.

    Raises SettingsError for an unknown name or a rank that it cannot work in.
    """
    suitable = [spec.name for spec in _SPECS if rank in spec.ranks]
    if name not in SEGMENTERS:
        raise SettingsError(unknown("segmenter", name, suitable))
    if rank not in SEGMENTERS[name].ranks:
        raise SettingsError(f"segmenter {name!r} does not support {rank}D data; choose from {', '.join(suitable)}")
    return SEGMENTERS[name]


def default_segmenter(rank: int) -> str:
    """Name of the segmenter that is used where none is asked for."""
    return next(spec.name for spec in _SPECS if rank in spec.ranks)


def build_segmenter(name: str, rank: int, channels: int, classes: int) -> nn.Module:
    """Build the segmenter called `name` for images of `channels` channels and `classes` classes with background.

    Random weights come from torch's global generator: seed it first. Raises SettingsError as `segmenter_spec`.
    """
    module, function = segmenter_spec(name, rank).builder.split(":")
    segmenter: nn.Module = getattr(import_module(module), function)(rank, channels, classes)
    return segmenter
