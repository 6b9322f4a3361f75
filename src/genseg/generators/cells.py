"""Searchable convolutions: softmax mixtures of candidates that differ in how far they see.

Source: Liu et al., DARTS, ICLR 2019, equation 2 (the mixture).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

KERNELS = ((4, 1), (6, 2), (8, 3))
"""Candidates, (kernel, padding), all of stride 2: each halves an even size, or doubles any when transposed. Kernels are
multiples of the stride, so that no output pixel is reached by more taps than its neighbour (no checkerboard)."""

STRIDE = 2
CONVOLVE: dict[tuple[int, bool], Callable[..., Tensor]] = {
    (2, False): functional.conv2d,
    (3, False): functional.conv3d,
    (2, True): functional.conv_transpose2d,
    (3, True): functional.conv_transpose3d,
}
LINEAR_TAPS = (0.25, 0.75, 0.75, 0.25)
"""The transposed kernel that enlarges twofold by linear interpolation."""


class MixedConvolution(nn.Module):
    """Sum over candidates of softmax(logits) times the candidate's convolution, computed as one convolution.

    All candidates have the same stride and are centred on the same place. The mixture of their outputs is therefore the
    output of one convolution, whose kernel is the mixture of theirs, zero-padded to the largest. No bias.

    candidates: kernel size as text -> weight `(outputs, inputs, *kernel)`, transposed `(inputs, outputs, *kernel)`.
    logits: `(number of candidates,)`, in the order of `candidates`; None once a single candidate is left.
    """

    logits: nn.Parameter | None

    def __init__(self, rank: int, inputs: int, outputs: int, *, transposed: bool = False) -> None:
        super().__init__()
        draw = _transposed_weight if transposed else _weight
        self.transposed = transposed
        self.convolve = CONVOLVE[rank, transposed]
        self.candidates = nn.ParameterDict(
            {str(kernel): nn.Parameter(draw(rank, inputs, outputs, kernel)) for kernel, _ in KERNELS}
        )
        self.logits = nn.Parameter(torch.zeros(len(KERNELS)))

    @property
    def kernels(self) -> list[int]:
        """Sizes of the candidates that are left, smallest first."""
        return [kernel for kernel, _ in KERNELS if str(kernel) in self.candidates]

    def forward(self, features: Tensor) -> Tensor:
        """`(batch, inputs, *spatial)`, even sizes, to `(batch, outputs, *half)`; transposed, any sizes to `*double`.

        Stride 2 is written as stride 1 on pixels folded into channels. For kernels of 8 at stride 2, the CPU library
        gives wrong results without a word: outputs in bfloat16 with 8 or 12 inputs, gradients in small volumes.

        Transposed, the output is smoothed as well, by 1/4, 1/2, 1/4 along each axis: by itself the convolution can give
        odd pixels another value than even ones, whatever is asked of it. Source: Zhang, Making Convolutional Networks
        Shift-Invariant Again, ICML 2019, there for sampling down.
        """
        kernel, padding = self.merged_kernel(), dict(KERNELS)[self.kernels[-1]]
        if self.transposed:
            coarse, fine = divmod(padding + 1, STRIDE)
            smoothed = space_to_depth(_smoothed(kernel))
            return _surround(depth_to_space(self.convolve(features, smoothed, padding=coarse)), -fine)
        coarse, fine = divmod(padding, STRIDE)
        return self.convolve(space_to_depth(_surround(features, fine)), space_to_depth(kernel), padding=coarse)

    def merged_kernel(self) -> Tensor:
        """The kernel, as large as the largest candidate's, that does what the whole mixture does."""
        weights: list[Tensor] = [self.candidates[str(kernel)] for kernel in self.kernels]
        if self.logits is None:
            return weights[0]
        largest = weights[-1].shape[-1]
        same_size = [_surround(weight, (largest - weight.shape[-1]) // 2) for weight in weights]
        shares = self.logits.softmax(0).view(-1, *(1,) * weights[-1].ndim)
        return (shares * torch.stack(same_size)).sum(0)

    def entropy(self) -> Tensor:
        """How undecided the mixture is: 1 = all candidates weigh the same, 0 = one is left. A differentiable scalar."""
        if self.logits is None:
            return torch.zeros_like(next(self.parameters()).sum())
        # Not log_softmax: as PyTorch has it, its forward derivative cannot be differentiated once more.
        logs = self.logits - self.logits.logsumexp(0)
        return (logs.exp() * logs).sum() / -math.log(len(KERNELS))

    def discretise(self) -> None:
        """Keep the candidate of the largest logit alone, at full weight. Optimisers must be made anew afterwards."""
        if self.logits is not None:
            self.keep([self.kernels[int(self.logits.argmax())]])

    def keep(self, kernels: Iterable[int]) -> None:
        """Drop all candidates but those of these sizes, which must be all that are left or one of them.

        Raises ValueError for any other selection.
        """
        kept = sorted(kernels)
        if kept == self.kernels:
            return
        if len(kept) != 1 or kept[0] not in self.kernels:
            raise ValueError(f"cannot keep kernels {kept} of {self.kernels}: all or one of them expected")
        self.candidates = nn.ParameterDict({str(kept[0]): self.candidates[str(kept[0])]})
        self.logits = None


def space_to_depth(features: Tensor) -> Tensor:
    """`(batch, channel, *spatial)`, even sizes, to `(batch, channel * 2**rank, *half)`: 2D's pixel_unshuffle, any rank.

    Source: Shi et al., Sub-Pixel Convolutional Neural Network, CVPR 2016, there the other way round.
    """
    rank = features.ndim - 2
    halves = [part for size in features.shape[2:] for part in (size // STRIDE, STRIDE)]
    split = features.reshape(*features.shape[:2], *halves)
    return split.permute(0, 1, *range(3, 3 + 2 * rank, 2), *range(2, 2 + 2 * rank, 2)).flatten(1, 1 + rank)


def depth_to_space(features: Tensor) -> Tensor:
    """`(batch, channel * 2**rank, *spatial)` to `(batch, channel, *double)`; undoes `space_to_depth`."""
    rank = features.ndim - 2
    split: Tensor = features.unflatten(1, (-1, *(STRIDE,) * rank))
    order = [axis for place in range(rank) for axis in (2 + rank + place, 2 + place)]
    return split.permute(0, 1, *order).reshape(len(features), -1, *(STRIDE * size for size in features.shape[2:]))


def _surround(values: Tensor, margin: int) -> Tensor:
    """Zeros around `(batch, channel, *spatial)`, `margin` wide; where it is negative, as much is cut off."""
    return functional.pad(values, [margin] * 2 * (values.ndim - 2)) if margin else values


def _smoothed(kernel: Tensor) -> Tensor:
    """A kernel, two pixels wider, that does what it did and then smooths by 1/4, 1/2, 1/4 along each axis."""
    wider = _surround(kernel, 2)
    for axis in range(2, kernel.ndim):  # several times as fast on CPU as a mean over a moving window
        before, here, after = (wider.narrow(axis, start, wider.shape[axis] - 2) for start in range(3))
        wider = (before + after) / 4 + here / 2
    return wider


def _weight(rank: int, inputs: int, outputs: int, kernel: int) -> Tensor:
    """Random `(outputs, inputs, *kernel)`. Source: He et al., Delving Deep into Rectifiers, ICCV 2015."""
    return torch.randn(outputs, inputs, *(kernel,) * rank) * math.sqrt(2 / (inputs * kernel**rank))


def _transposed_weight(rank: int, inputs: int, outputs: int, kernel: int) -> Tensor:
    """Random `(inputs, outputs, *kernel)` that enlarges by linear interpolation and then convolves at random.

    The two steps are one kernel: the random one, spread by the linear one's taps. An untrained cell is thereby as
    smooth as its input. Same idea as Aitken et al., Checkerboard artifact free sub-pixel convolution, 2017.
    """
    taps = torch.tensor(LINEAR_TAPS)
    spread = torch.ones((1, 1))
    for _ in range(rank):
        spread = spread.unsqueeze(-1) * taps
    random = _weight(rank, inputs, outputs, kernel - len(LINEAR_TAPS) + 1).transpose(0, 1)
    wide = CONVOLVE[rank, True](random.flatten(0, 1).unsqueeze(1), spread)
    weight: Tensor = wide.squeeze(1).unflatten(0, (inputs, outputs))
    return weight.contiguous()
