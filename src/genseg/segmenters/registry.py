"""Every segmenter by name, genseg's own and registered ones. Imports no torch, so that tables answer at once.

The contract, the same for all: `forward(image)` takes float images `(batch, channel, *spatial)` of any spatial size
and returns logits `(batch, class, *spatial)`; class 0 is background. `with_features(image)` returns these logits and a
list of the encoder's features `(batch, feature, *spatial of the level)`, finest first. Nothing is kept between calls,
so that several threads can use one network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genseg.base.plugins import check_registration, find_registered, load_plugins, resolve
from genseg.errors import SettingsError

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SegmenterSpec:
    """What is known of a segmenter before it is built.

    ranks: spatial ranks it can work in. builder: a function, or "module:function", called with
    `(rank, channels, classes)`. learning_rate: AdamW's peak rate that suits it. any_size: whether its exported network
    takes pictures of any size. pretrained: spatial ranks in which it begins from ImageNet weights. is_frozen: whether
    its encoder keeps them, so that training computes features once and updates the rest on them; such a segmenter has
    `frozen_features(image)`, a list of tensors, and `read(features, spatial)`, their logits. updates, size: how many,
    and what side of pictures, suit it where none is asked for; what suits the machine where None.
    """

    name: str
    summary: str
    ranks: tuple[int, ...]
    builder: str | Callable[[int, int, int], nn.Module]
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
_OWN = frozenset(spec.name for spec in _SPECS)
_known: dict[str, SegmenterSpec] = {spec.name: spec for spec in _SPECS}


def segmenters() -> Mapping[str, SegmenterSpec]:
    """Every segmenter by name, genseg's own first."""
    load_plugins()
    return _known


def register_segmenter(
    name: str,
    builder: str | Callable[[int, int, int], nn.Module],
    *,
    summary: str,
    ranks: tuple[int, ...] = (2,),
    learning_rate: float = 1e-3,
    any_size: bool = True,
) -> None:
    """Offer a segmenter of your own by name: to `genseg.Settings`, the command line and saved models.

    builder: a function, or "module:function" (imported when it is first needed), called with
        `(rank, channels, classes)`. It returns an `nn.Module` as `genseg.segmenters.registry` describes: `forward`
        from images `(batch, channel, *spatial)` to logits `(batch, class, *spatial)`, and `with_features`.
    summary: for the table of `genseg segmenters`. ranks: 2 for 2D images, 3 for volumes.
    learning_rate: AdamW's peak rate. any_size: whether it takes images of any size once it is exported.

    A name that was registered before is replaced. Models are loaded by this name too: who uses them needs the same
    registration, best made by an entry point of the group "genseg.plugins".

    Raises SettingsError for the name of one of genseg's own segmenters, or ranks other than 2 and 3.
    """
    check_registration("segmenter", name, ranks, _OWN)
    _known[name] = SegmenterSpec(name, summary, tuple(ranks), builder, learning_rate, any_size)


def segmenter_spec(name: str, rank: int) -> SegmenterSpec:
    """The entry called `name`, checked to work in `rank` (2 or 3) dimensions.

    Raises SettingsError for an unknown name or a rank that it cannot work in.
    """
    return find_registered("segmenter", segmenters(), name, rank)


def default_segmenter(rank: int) -> str:
    """Name of the segmenter that is used where none is asked for."""
    return next(spec.name for spec in _SPECS if rank in spec.ranks)


def build_segmenter(name: str, rank: int, channels: int, classes: int) -> nn.Module:
    """Build the segmenter called `name` for images of `channels` channels and `classes` classes with background.

    Random weights come from torch's global generator: seed it first. Raises SettingsError as `segmenter_spec`, and for
    a registered one that does not keep the contract.
    """
    segmenter: nn.Module = resolve(segmenter_spec(name, rank).builder)(rank, channels, classes)
    if not hasattr(segmenter, "with_features"):
        raise SettingsError(
            f"segmenter {name!r}: its network has no method `with_features(image)`, which returns the logits and a "
            f"list of the encoder's features"
        )
    return segmenter
