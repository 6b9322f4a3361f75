"""What holds for every segmenter: sizes, gradients, parameters, second derivatives."""

from __future__ import annotations

import functools
import re

import pytest
import torch
from torch import Tensor, nn

from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.registry import build_segmenter, segmenters

ENTRIES = [(name, rank) for name, spec in segmenters().items() for rank in spec.ranks]
ODD_SIZES = {2: (33, 47), 3: (9, 17, 21)}


@functools.cache
def _built(name: str, rank: int, channels: int = 1, classes: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_segmenter(name, rank, channels, classes)


def _images(rank: int, channels: int = 1, spatial: tuple[int, ...] | None = None, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, channels, *(spatial or ODD_SIZES[rank]), generator=generator)


def _masks(image: Tensor, classes: int = 3) -> Tensor:
    """Labels that depend on the image, so that there is something to learn."""
    return (image[:, 0] > 0).byte() + (image[:, 0] > 1).byte() * (classes > 2)


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("name", "rank"), ENTRIES)
def test_logits_have_the_size_of_the_image(name: str, rank: int, channels: int) -> None:
    segmenter = _built(name, rank, channels).eval()
    with torch.inference_mode():
        logits = segmenter(_images(rank, channels, batch=1))
    assert logits.shape == (1, 3, *ODD_SIZES[rank])
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "rank"), ENTRIES)
def test_small_images_can_be_trained_on_and_gradients_reach_every_parameter(name: str, rank: int) -> None:
    segmenter = _built(name, rank).train()
    image = _images(rank, batch=1)
    segmentation_loss(segmenter(image), _masks(image)).backward()
    gradients = {key: parameter.grad for key, parameter in segmenter.named_parameters() if parameter.requires_grad}
    segmenter.zero_grad(set_to_none=True)
    assert [key for key, gradient in gradients.items() if gradient is None] == []
    assert [key for key, gradient in gradients.items() if not torch.isfinite(gradient).all()] == []
    # A bias before a normalisation has no effect; a kernel always has one.
    assert [key for key, gradient in gradients.items() if gradient.ndim > 1 and not gradient.any()] == []


@pytest.mark.parametrize(("name", "rank"), ENTRIES)
def test_parameters_are_as_many_as_the_summary_says(name: str, rank: int) -> None:
    summary = segmenters()[name].summary
    pattern = r"([\d.]+) M in 3D" if rank == 3 else r"([\d.]+) M parameters"
    millions = sum(parameter.numel() for parameter in _built(name, rank).parameters()) / 1e6
    assert re.findall(pattern, summary) == [f"{millions:.1f}"]


@pytest.mark.parametrize(
    ("name", "rank"), [("unet-pretrained", 2), ("unet-small", 2), ("deeplab", 2), ("unet-small", 3)]
)
def test_second_derivatives_exist(name: str, rank: int) -> None:
    """d/dx <v, dL/dS>: how a pixel changes the step that a segmenter S makes."""
    segmenter = _built(name, rank).train()
    image = _images(rank, spatial=(32, 48) if rank == 2 else (8, 16, 16)).requires_grad_()
    loss = segmentation_loss(segmenter(image), _masks(image.detach()))
    first = torch.autograd.grad(loss, list(segmenter.parameters()), create_graph=True)
    along = sum((gradient * torch.randn_like(gradient)).sum() for gradient in first)
    (second,) = torch.autograd.grad(along, image)
    assert torch.isfinite(second).all()
    assert second.any()


@pytest.mark.parametrize("name", ["unet-pretrained", "unet-small"])
def test_second_derivatives_agree_with_finite_differences(name: str) -> None:
    torch.manual_seed(0)
    segmenter = build_segmenter(name, 2, 1, 2).double().train()
    image = _images(2, spatial=(32, 48)).double()
    mask, direction = _masks(image, classes=2), torch.randn_like(image)
    parameters = list(segmenter.parameters())
    weights = [torch.randn_like(parameter) for parameter in parameters]

    def step_along_weights(own: Tensor, **kept: bool) -> Tensor:
        gradients = torch.autograd.grad(segmentation_loss(segmenter(own), mask), parameters, **kept)
        return torch.stack([(g * w).sum() for g, w in zip(gradients, weights, strict=True)]).sum()

    followed = image.clone().requires_grad_()
    (exact,) = torch.autograd.grad(step_along_weights(followed, create_graph=True), followed)
    small = 1e-8  # so small that no activation meets the kink of its ReLU on the way
    difference = step_along_weights(image + small * direction) - step_along_weights(image - small * direction)
    assert (difference / (2 * small)).item() == pytest.approx((exact * direction).sum().item(), rel=1e-3)


def test_half_precision_is_kept_out_of_the_loss_only() -> None:
    image = _images(2, 3)
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        logits = _built("unet-pretrained", 2, 3).eval()(image)
    assert logits.dtype == torch.bfloat16
    assert torch.isfinite(logits).all()
    assert segmentation_loss(logits, _masks(image)).dtype == torch.float32
