"""Networks put together, and PyTorch's behind the same contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genseg.segmenters.network import Array, Ensemble, Response, softmax
from genseg.segmenters.registry import build_segmenter, segmenters
from genseg.segmenters.torch_network import TorchNetwork

CPU = torch.device("cpu")


class Constant:
    """The same logits for every pixel, and its number as a feature."""

    def __init__(self, logit: float, is_fixed: bool = False) -> None:
        self.logit = logit
        self.is_fixed = is_fixed

    def __call__(self, image: Array) -> Response:
        return Response(np.full_like(image, self.logit), (np.full((len(image), 1), self.logit, np.float32),))


def test_an_ensemble_is_the_mean_and_changes_no_member() -> None:
    image = np.zeros((2, 1, 3, 3), np.float32)
    ensemble = Ensemble([Constant(1), Constant(2), Constant(6, is_fixed=True)])
    said = ensemble(image)
    assert said.logits == pytest.approx(3)
    assert said.features[0].tolist() == [[1], [1]]
    assert ensemble.is_fixed


def test_softmax_survives_large_logits() -> None:
    assert softmax(np.array([1000.0, 0.0, 1000.0], np.float32)).tolist() == [0.5, 0, 0.5]


@pytest.mark.parametrize(("name", "rank"), [(spec.name, rank) for spec in segmenters().values() for rank in spec.ranks])
def test_every_segmenter_tells_the_features_of_every_level(name: str, rank: int) -> None:
    torch.manual_seed(0)
    network = TorchNetwork(build_segmenter(name, rank, 1, 2), CPU)
    image = np.random.default_rng(0).normal(size=(2, 1, *(32,) * rank)).astype(np.float32)
    said = network(image)
    assert said.logits.shape == (2, 2, *(32,) * rank)
    assert len(said.features) >= 3
    for level, again in zip(said.features, network(image[1:]).features, strict=True):
        assert level.shape[0] == 2
        assert not np.allclose(level[0], level[1])
        assert np.allclose(again, level[1:], atol=1e-4)


def test_half_precision_is_raised_and_training_mode_left() -> None:
    segmenter = build_segmenter("unet-small", 2, 1, 2).train()
    with torch.autocast("cpu", torch.bfloat16):
        said = TorchNetwork(segmenter, CPU)(np.zeros((1, 1, 16, 16), np.float32))
    assert said.logits.dtype == said.features[0].dtype == np.float32
    assert not segmenter.training
