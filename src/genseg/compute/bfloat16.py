"""bfloat16 on a processor: only for convolutions that are seen to be right in it.

oneDNN's bfloat16 kernels give some shapes wrong results without a word. In volumes, gradients of the weights depended
on what lay in memory where an axis was a voxel or two long (PyTorch 2.13), and outputs were wrong where the last axis
shrank to one voxel (https://github.com/pytorch/pytorch/issues/169688). No list of such shapes is known to be complete:
volumes are computed in float32 throughout, see `Machine.autocast`. 2D images were never seen to be hit; each of their
convolutions is tried all the same before its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from genseg.compute.layers import at_least_float32

CONVOLUTIONS: frozenset[Callable[..., Any]] = frozenset((functional.conv2d, functional.conv_transpose2d))

TRIES = 3
"""How often a convolution is tried: its result may depend on what happens to lie in memory."""

TOLERANCE = 0.05
"""Largest deviation from float32, as a share of the largest value: five times what rounding was seen to do."""


class TriedConvolutions(TorchFunctionMode):
    """Context in which 2D convolutions that are wrong in bfloat16 on this processor run in float32 under autocast.

    Each shape is tried once in a process. That takes as long as a few updates of the network.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch; see `torch.overrides`."""
        given = kwargs or {}
        if func not in CONVOLUTIONS or not torch.is_autocast_enabled("cpu") or _is_trusted(func, args, given):
            return func(*args, **given)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_raised, args), **{name: _raised(value) for name, value in given.items()})


def _is_trusted(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    image, weight, *_ = args
    if isinstance(image, FakeTensor):  # memory is counted, nothing is computed
        return True
    named = tuple((name, value) for name, value in kwargs.items() if name != "bias")
    is_last = image.is_contiguous(memory_format=torch.channels_last)
    return is_right(Convolution(function, tuple(image.shape), tuple(weight.shape), tuple(args[3:]), named, is_last))


def _raised(value: Any) -> Any:
    return at_least_float32(value) if isinstance(value, Tensor) else value


@dataclass(frozen=True)
class Convolution:
    """A convolution without its numbers.

    image, weight: shapes. options, named: stride, padding and the like, as they were given. is_channels_last: how image
    and weight lie in memory.
    """

    function: Callable[..., Tensor]
    image: tuple[int, ...]
    weight: tuple[int, ...]
    options: tuple[Any, ...]
    named: tuple[tuple[str, Any], ...]
    is_channels_last: bool

    def draw(self) -> tuple[Tensor, Tensor]:
        """Random image and weight in bfloat16; always the same."""
        layout = torch.channels_last if self.is_channels_last else torch.contiguous_format
        draws = torch.Generator().manual_seed(0)
        image, weight = (torch.randn(shape, generator=draws) for shape in (self.image, self.weight))
        return image.bfloat16().contiguous(memory_format=layout), weight.bfloat16().contiguous(memory_format=layout)

    def results(self, image: Tensor, weight: Tensor) -> list[Tensor]:
        """Output, and gradients of image and weight where that of the output is its own value in bfloat16."""
        image, weight = image.detach().requires_grad_(), weight.detach().requires_grad_()
        output = self.function(image, weight, None, *self.options, **dict(self.named))
        cotangent = output.detach().bfloat16().to(output)
        return [output.detach(), *torch.autograd.grad(output, [image, weight], cotangent)]


@cache
def is_right(convolution: Convolution) -> bool:
    """Whether this processor computes a convolution and its gradients in bfloat16 as it does in float32."""
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        image, weight = convolution.draw()
        exact = convolution.results(image.float(), weight.float())
        for _ in range(TRIES):
            _soil_memory(exact)
            if not all(map(_agree, convolution.results(image, weight), exact)):
                return False
    return True


def _soil_memory(like: Sequence[Tensor]) -> None:
    """Leave NaN in the memory that tensors of these sizes are likely to be given next."""
    dtypes = (torch.bfloat16, torch.float32)
    soiled = [torch.full(one.shape, torch.nan, dtype=dtype) for one in like for dtype in dtypes for _ in range(2)]
    del soiled


def _agree(found: Tensor, exact: Tensor) -> bool:
    """Whether a result is within rounding of the exact one; one that is not finite is not."""
    return bool((found.float() - exact).abs().max() <= TOLERANCE * exact.abs().max())
