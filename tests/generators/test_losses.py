"""Losses of stage I against formulas by hand."""

from __future__ import annotations

import math

import pytest
import torch

from genseg.errors import SettingsError
from genseg.generators.losses import discriminator_loss, generator_loss, translation_loss

REAL, FAKE = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, -3.0]])


def _entropy(logit: float, truth: int) -> float:
    """Binary cross-entropy of a logit."""
    probability = 1 / (1 + math.exp(-logit))
    return -math.log(probability if truth else 1 - probability)


DISCRIMINATOR = {
    "vanilla": (_entropy(2, 1) + _entropy(-1, 1)) / 4 + (_entropy(0.5, 0) + _entropy(-3, 0)) / 4,
    "least-squares": (1 + 4) / 4 + (0.25 + 9) / 4,
    "hinge": (0 + 2) / 4 + (1.5 + 0) / 4,
}
GENERATOR = {
    "vanilla": (_entropy(0.5, 1) + _entropy(-3, 1)) / 2,
    "least-squares": (0.25 + 16) / 2,
    "hinge": (-0.5 + 3) / 2,
}


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_adversarial_losses(kind: str) -> None:
    assert discriminator_loss(kind, REAL, FAKE).item() == pytest.approx(DISCRIMINATOR[kind])
    assert generator_loss(kind, FAKE).item() == pytest.approx(GENERATOR[kind])


@pytest.mark.parametrize("kind", DISCRIMINATOR)
def test_both_sides_pull_the_logits_of_generated_patches_apart(kind: str) -> None:
    fake = torch.full((3,), 0.5, requires_grad=True)
    (against,) = torch.autograd.grad(discriminator_loss(kind, torch.zeros(3), fake), fake)
    (towards,) = torch.autograd.grad(generator_loss(kind, fake), fake)
    assert (against > 0).all()
    assert (towards < 0).all()


def test_huge_logits_stay_finite() -> None:
    assert discriminator_loss("vanilla", torch.tensor([-1e4]), torch.tensor([1e4])).item() == pytest.approx(1e4)


@pytest.mark.parametrize("lose", [lambda: discriminator_loss("wgan", REAL, FAKE), lambda: generator_loss("wgan", FAKE)])
def test_an_unknown_kind_is_refused_with_the_choices(lose: object) -> None:
    with pytest.raises(SettingsError, match=r"unknown adversarial loss 'wgan'.*vanilla, least-squares, hinge"):
        lose()


def test_translation_is_the_weighted_sum_of_its_parts() -> None:
    generated, real = torch.tensor([[[[0.5, -1.0]]]], requires_grad=True), torch.tensor([[[[0.0, 1.0]]]])
    divergence = torch.tensor(3.0, requires_grad=True)
    total, parts = translation_loss("hinge", FAKE, generated, real, divergence)
    assert {name: part.item() for name, part in parts.items()} == {"adversarial": 1.25, "l1": 1.25, "divergence": 3.0}
    assert total.item() == pytest.approx(1.25 + 100 * 1.25 + 0.1 * 3)
    gradients = torch.autograd.grad(total, [generated, divergence])
    assert gradients[0].flatten().tolist() == pytest.approx([50, -50])
    assert gradients[1].item() == pytest.approx(0.1)
    own, _ = translation_loss("hinge", FAKE, generated, real, divergence, l1_weight=2, divergence_weight=0)
    assert own.item() == pytest.approx(1.25 + 2 * 1.25)
