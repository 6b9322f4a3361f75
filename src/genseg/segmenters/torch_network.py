"""A segmenter run by PyTorch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from genseg.compute.device import layout, ran_out_of_memory
from genseg.compute.layers import at_least_float32
from genseg.segmenters.network import Array, Response


class WithFeatures(nn.Module):
    """A segmenter that tells its encoder's features too, as every runtime needs them."""

    def __init__(self, segmenter: nn.Module) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """`(batch, channel, *spatial)` to logits `(batch, class, *spatial)` and features by level."""
        logits, features = self.segmenter.with_features(image)  # type: ignore[operator]
        return logits, *(level.mean(tuple(range(2, level.ndim))) for level in features)


class TorchNetwork:
    """Runs in float32, so that a result depends neither on the precision of training nor on other cases.

    Several threads may call it at once.
    """

    is_fixed = False

    def __init__(self, segmenter: nn.Module, device: torch.device) -> None:
        self._module = WithFeatures(segmenter)
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`. Raises MemoryError where a GPU's memory is too small as well."""
        self._module.eval()
        sent = torch.from_numpy(np.ascontiguousarray(image)).to(self._device)
        try:
            said = self._module(sent.contiguous(memory_format=layout(sent.ndim - 2)))
        except RuntimeError as error:
            if ran_out_of_memory(error):
                raise MemoryError from None
            raise
        logits, *features = (at_least_float32(part).cpu().numpy() for part in said)
        return Response(logits, tuple(features))
