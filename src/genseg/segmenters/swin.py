"""Swin U-Net by MONAI. Source: Hatamizadeh et al., Swin UNETR, BrainLes 2021."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from genseg.layers import crop

DIVISOR = 32
"""SwinUNETR halves the size five times."""


class SwinUNet(nn.Module):
    """MONAI's SwinUNETR, padded to the sizes that it can take."""

    def __init__(self, rank: int, channels: int, classes: int, features: int = 24) -> None:
        from monai.networks.nets.swin_unetr import SwinUNETR

        super().__init__()
        self.network = SwinUNETR(channels, classes, feature_size=features, spatial_dims=rank)

    @property
    def encoding(self) -> list[nn.Module]:
        """The modules whose outputs are the encoder's features, finest first."""
        return [self.network.swinViT]

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)`; any spatial size."""
        spatial = image.shape[2:]
        sizes = [math.ceil(size / DIVISOR) * DIVISOR for size in spatial]
        if max(sizes) == DIVISOR:
            # The deepest features would be a single pixel, over which nothing can be normalised.
            sizes[-1] += DIVISOR
        missing = [size - own for size, own in zip(sizes, spatial, strict=True)]
        padding = [side for extra in reversed(missing) for side in (0, extra)]
        logits: Tensor = self.network(functional.pad(image, padding))
        return crop(logits, spatial)


def build_swin_unet(rank: int, channels: int, classes: int) -> SwinUNet:
    """Swin U-Net of 6.3 M parameters in 2D and 15.7 M in 3D."""
    return SwinUNet(rank, channels, classes)
