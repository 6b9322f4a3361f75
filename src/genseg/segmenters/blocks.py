"""The few layers that every own segmenter is made of; one switch, `rank`, serves 2D and 3D."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genseg.compute.layers import CONVOLUTION, resize

BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvNormAct(nn.Sequential):
    """Convolution, batch normalisation, leaky ReLU.

    Batch normalisation, because instance normalisation loses the channels_last layout and bf16 on CPU and made a
    training step forty times slower.
    """

    def __init__(
        self, rank: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__(
            CONVOLUTION[rank](
                inputs, outputs, kernel, stride, padding=dilation * (kernel // 2), dilation=dilation, bias=False
            ),
            BATCH_NORM[rank](outputs),
            nn.LeakyReLU(0.01, inplace=True),
        )


class Decoder(nn.Module):
    """U-Net decoder: from the deepest features upwards, enlarge, join the skip, convolve twice.

    `widths` are the channels of the encoder's features, finest first; `outputs` the channels after each joint,
    finest first, one fewer than `widths`. Sizes come from the skips, so that any image size works.
    Source: Ronneberger et al., U-Net, MICCAI 2015, figure 1, with linear enlargement.
    """

    def __init__(self, rank: int, widths: list[int], outputs: list[int]) -> None:
        super().__init__()
        joints = []
        below = widths[-1]
        for skip, width in reversed(list(zip(widths[:-1], outputs, strict=True))):
            joints.append(nn.Sequential(ConvNormAct(rank, below + skip, width), ConvNormAct(rank, width, width)))
            below = width
        self.joints = nn.ModuleList(joints)

    def forward(self, features: list[Tensor]) -> Tensor:
        """From encoder features, finest first, to `(batch, outputs[0], *spatial of the finest)`."""
        deep = features[-1]
        for joint, skip in zip(self.joints, reversed(features[:-1]), strict=True):
            deep = joint(torch.cat([resize(deep, skip.shape[2:]), skip], dim=1))
        return deep
