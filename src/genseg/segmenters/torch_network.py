"""A segmenter run by PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genseg.device import layout
from genseg.layers import at_least_float32
from genseg.segmenters.network import Array, Response


class WithFeatures(nn.Module):
    """A segmenter that tells its deepest features too, as every runtime needs them."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)` and features `(batch, feature)`."""
        kept: list[Tensor | list[Tensor]] = []
        deepest: nn.Module = self.segmenter.deepest  # type: ignore[assignment]
        hook = deepest.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
        try:
            logits = self.segmenter(image)
        finally:
            hook.remove()
        deep = kept[0] if isinstance(kept[0], Tensor) else kept[0][-1]
        return logits, deep.mean(tuple(range(2, deep.ndim)))


class TorchNetwork:
    """Runs in float32, so that a result depends neither on the precision of training nor on other cases."""

    is_fixed = False

    def __init__(self, segmenter: nn.Module, device: torch.device) -> None:
        self._module = WithFeatures(segmenter)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`."""
        self._module.eval()
        sent = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        logits, features = self._module(sent.contiguous(memory_format=layout(sent.ndim - 2)))
        return Response(at_least_float32(logits).cpu().numpy(), at_least_float32(features).cpu().numpy())
