"""The layers that segmenters share."""

from __future__ import annotations

import pytest
import torch

from genseg.compute.layers import resize
from genseg.segmenters.blocks import ConvNormAct


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(("stride", "dilation", "kernel"), [(1, 1, 3), (2, 1, 3), (1, 4, 3), (1, 1, 1)])
def test_convolutions_keep_or_halve_the_size(rank: int, stride: int, dilation: int, kernel: int) -> None:
    image = torch.randn(2, 3, *(9,) * rank)
    features = ConvNormAct(rank, 3, 4, kernel, stride, dilation)(image)
    assert features.shape == (2, 4, *(-(-9 // stride),) * rank)


@pytest.mark.parametrize("spatial", [(6, 8), (3, 5), (4, 6, 10)])
def test_resizing_keeps_the_place_of_pixels(spatial: tuple[int, ...]) -> None:
    # A ramp over the whole extent stays one, whatever the number of pixels.
    ramp = (torch.arange(24.0) + 0.5) / 24
    image = ramp.expand(1, 2, *(24,) * len(spatial))
    expected = (torch.arange(spatial[-1]) + 0.5) / spatial[-1]
    resized = resize(image, torch.Size(spatial))
    assert resized.shape == (1, 2, *spatial)
    assert torch.allclose(resized[..., 1:-1], expected[1:-1].expand(*resized.shape[:-1], -1), atol=1e-6)
    assert resize(image, image.shape[2:]) is image
