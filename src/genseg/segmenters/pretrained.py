"""U-Net on a pretrained encoder: with few labels, the largest single gain there is."""

from __future__ import annotations

from torch import Tensor, nn

from genseg.layers import resize
from genseg.segmenters.blocks import Decoder
from genseg.segmenters.efficientnet_lite import EfficientNetLite, load_imagenet_weights

DECODER_WIDTHS = [32, 48, 64, 128]


class PretrainedUNet(nn.Module):
    """EfficientNet-lite0 encoder, U-Net decoder up to half the image's size, logits enlarged to the whole."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(channels)
        self.decoder = Decoder(2, self.encoder.widths, DECODER_WIDTHS)
        self.head = nn.Conv2d(DECODER_WIDTHS[0], classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, row, column)` in [-1, 1] to logits `(batch, class, row, column)`; any size."""
        return self.with_features(image)[0]

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The logits, and the encoder's features, finest first."""
        features: list[Tensor] = self.encoder(image)
        return resize(self.head(self.decoder(features)), image.shape[2:]), features


def build_pretrained_unet(rank: int, channels: int, classes: int) -> PretrainedUNet:  # noqa: ARG001
    """U-Net on ImageNet weights, 2D only; `rank` is there for the contract."""
    segmenter = PretrainedUNet(channels, classes)
    load_imagenet_weights(segmenter.encoder)
    return segmenter
