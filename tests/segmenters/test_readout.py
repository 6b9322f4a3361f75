"""The head on frozen features: what is trained, and that features that were kept give what the image itself gives."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from genseg.segmenters.readout import SCALES, ReadOut, build_readout, feature_values


@functools.cache
def _built() -> ReadOut:
    torch.manual_seed(0)
    return build_readout(2, 3, 2)


def _image(rows: int = 37, columns: int = 50) -> Tensor:
    return torch.rand(2, 3, rows, columns, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_the_head_alone_is_trained_and_the_encoder_keeps_its_statistics() -> None:
    segmenter = _built().train()
    before = {name: one.clone() for name, one in segmenter.encoder.state_dict().items()}
    segmenter(_image()).sum().backward()
    trained = {name.split(".")[0] for name, one in segmenter.named_parameters() if one.grad is not None}
    segmenter.zero_grad(set_to_none=True)
    assert trained == {"head"}
    assert not any(module.training for module in segmenter.encoder.modules())
    assert segmenter.head.training
    assert all(torch.equal(one, before[name]) for name, one in segmenter.encoder.state_dict().items())


@torch.inference_mode()
def test_features_that_are_kept_are_read_as_the_image_is() -> None:
    segmenter, image = _built().eval(), _image()
    features = segmenter.frozen_features(image)
    assert torch.equal(segmenter.read(features, image.shape[2:]), segmenter(image))


@torch.inference_mode()
def test_the_features_that_are_told_are_the_encoder_s_of_the_image_itself() -> None:
    segmenter, image = _built().eval(), _image()
    _, told = segmenter.with_features(image)
    assert [one.shape[1] for one in told] == segmenter.encoder.widths
    for own, expected in zip(told, segmenter.encoder(image), strict=True):
        assert torch.equal(own, expected)


@torch.inference_mode()
def test_every_size_and_level_counts() -> None:
    segmenter, image = _built().eval(), _image()
    features = segmenter.frozen_features(image)
    logits = segmenter.read(features, image.shape[2:])
    assert len(features) == 4 * len(SCALES)
    for place in range(len(features)):
        changed = [one if number != place else one + torch.randn_like(one) for number, one in enumerate(features)]
        assert not torch.allclose(segmenter.read(changed, image.shape[2:]), logits, atol=1e-3)


@pytest.mark.parametrize("spatial", [(32, 48), (33, 47), (8, 8)])
@torch.inference_mode()
def test_features_are_as_many_as_is_said(spatial: tuple[int, int]) -> None:
    features = _built().eval().frozen_features(_image(*spatial))
    assert feature_values(spatial) == sum(one[0].numel() for one in features)
