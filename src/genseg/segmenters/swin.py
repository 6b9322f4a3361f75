"""Swin U-Net by MONAI. Source: Hatamizadeh et al., Swin UNETR, BrainLes 2021."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from genseg.compute.layers import crop

DIVISOR = 32
"""SwinUNETR halves the size five times."""


class SwinUNet(nn.Module):
    """MONAI's SwinUNETR, padded to the sizes that it can take."""

    def __init__(self, rank: int, channels: int, classes: int, features: int = 24) -> None:
        from monai.networks.nets.swin_unetr import SwinUNETR

        super().__init__()
        self.network = SwinUNETR(channels, classes, feature_size=features, spatial_dims=rank)

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)`; any spatial size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features, finest first."""
        spatial = image.shape[2:]
        sizes = [math.ceil(size / DIVISOR) * DIVISOR for size in spatial]
        if max(sizes) == DIVISOR:
            # The deepest features would be a single pixel, over which nothing can be normalised.
            sizes[-1] += DIVISOR
        missing = [size - own for size, own in zip(sizes, spatial, strict=True)]
        padding = [side for extra in reversed(missing) for side in (0, extra)]
        padded = functional.pad(image, padding)
        features: list[Tensor] = self.network.swinViT(padded, self.network.normalize)
        return crop(self._decode(padded, features), spatial), features

    def _decode(self, image: Tensor, features: list[Tensor]) -> Tensor:
        """From the transformer's features to logits: SwinUNETR's own `forward`, which does not return the features."""
        net = self.network
        deep = net.decoder5(net.encoder10(features[4]), features[3])
        deep = net.decoder4(deep, net.encoder4(features[2]))
        deep = net.decoder3(deep, net.encoder3(features[1]))
        deep = net.decoder2(deep, net.encoder2(features[0]))
        logits: Tensor = net.out(net.decoder1(deep, net.encoder1(image)))
        return logits


def build_swin_unet(rank: int, channels: int, classes: int) -> SwinUNet:
    """Swin U-Net of 6.3 M parameters in 2D and 15.7 M in 3D."""
    return SwinUNet(rank, channels, classes)
