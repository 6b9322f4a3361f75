"""Tiles against MONAI's sliding window, which holds the whole image at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers.utils import sliding_window_inference

from genseg.segmenters.network import Array, Response
from genseg.segmenters.tiles import in_tiles


class Convolution:
    """A convolution whose result depends on where the tile's border is; keeps the largest batch that it met."""

    is_fixed = False

    def __init__(self, rank: int) -> None:
        torch.manual_seed(0)
        self.module = {2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[rank](1, 3, 5, padding=2).requires_grad_(False)
        self.largest = 0

    def __call__(self, image: Array) -> Response:
        self.largest = max(self.largest, len(image))
        logits = self.module(torch.from_numpy(image)).numpy()
        return Response(logits, (logits.mean(tuple(range(2, image.ndim))),))


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize(
    ("spatial", "size"),
    [
        ((37, 50, 21), (16, 12, 8)),
        ((16, 12, 8), (16, 12, 8)),
        ((17, 12, 9), (16, 12, 8)),
        ((65, 40), (16, 24)),
        ((9, 7), (4, 3)),
    ],
)
def test_tiles_give_what_monai_gives_for_any_batch(spatial: tuple[int, ...], size: tuple[int, ...], batch: int) -> None:
    image = np.random.default_rng(0).normal(size=(1, 1, *spatial)).astype(np.float32)
    network = Convolution(len(spatial))
    pieces = list(in_tiles(network, image, size, batch))
    theirs = sliding_window_inference(torch.from_numpy(image), size, 1, network.module, overlap=0.5, mode="gaussian")
    found = np.concatenate([piece.logits for piece in pieces], 2)
    np.testing.assert_allclose(found, theirs.numpy(), rtol=1e-6, atol=2e-5)
    assert network.largest <= batch
    assert all([level.shape for level in piece.features] == [(1, 3)] for piece in pieces)


def test_rows_come_as_they_are_finished() -> None:
    image = np.zeros((1, 1, 64, 8, 8), np.float32)
    assert [piece.logits.shape[2] for piece in in_tiles(Convolution(3), image, (16, 8, 8))] == [8] * 6 + [16]
