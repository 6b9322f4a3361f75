"""What networks of any kind are made of; one switch, `rank`, serves 2D and 3D."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
ADAPTIVE_MEAN: dict[int, Callable[..., Tensor]] = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
MEAN: dict[int, Callable[..., Tensor]] = {2: functional.avg_pool2d, 3: functional.avg_pool3d}
LINEAR_MODE = {2: "bilinear", 3: "trilinear"}


def at_least_float32(values: Tensor) -> Tensor:
    """Half precisions raised to float32; float32 and float64 stay as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


class GroupNorm(nn.GroupNorm):
    """Group normalisation that can be differentiated forwards in the channels_last layout too.

    PyTorch's rule for that takes contiguous features only; there the formula is spelled out, which is slower. Source:
    Wu and He, Group Normalization, ECCV 2018, equation 1.
    """

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` to the same."""
        if forward_ad.unpack_dual(features).tangent is None:
            return super().forward(features)
        centred = features - self._group_mean(features)
        normalised = centred * (self._group_mean(centred.square()) + self.eps).rsqrt()
        if not self.affine:
            return normalised
        shape = (-1, *(1,) * (features.ndim - 2))
        return normalised * self.weight.view(shape) + self.bias.view(shape)

    def _group_mean(self, values: Tensor) -> Tensor:
        means = values.mean(tuple(range(2, values.ndim)), keepdim=True)
        grouped: Tensor = means.unflatten(1, (self.num_groups, -1))
        return grouped.mean(2, keepdim=True).expand_as(grouped).flatten(1, 2)


def resize(features: Tensor, spatial: Sequence[int]) -> Tensor:
    """Linear interpolation of `(batch, channel, *any)` to `(batch, channel, *spatial)`."""
    if features.shape[2:] == tuple(spatial):
        return features
    return functional.interpolate(features, size=tuple(spatial), mode=LINEAR_MODE[len(spatial)], align_corners=False)


def crop(features: Tensor, spatial: Sequence[int]) -> Tensor:
    """Undo padding at the ends: the first part, of size `spatial`, of `(batch, channel, *larger)`."""
    for axis, size in enumerate(spatial, 2):
        features = features.narrow(axis, 0, size)
    return features
