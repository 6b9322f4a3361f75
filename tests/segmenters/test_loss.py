"""Cross-entropy and soft Dice: by hand, against MONAI, at empty classes and at ignored pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genseg.data.case import IGNORE
from genseg.segmenters.loss import segmentation_loss, soft_dice_loss

SIZES = [(5, 6), (3, 4, 5)]


def _logits(classes: int, spatial: tuple[int, ...] = (5, 6), batch: int = 2) -> Tensor:
    return torch.randn(batch, classes, *spatial, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _mask(classes: int, spatial: tuple[int, ...] = (5, 6), batch: int = 2) -> Tensor:
    return torch.randint(0, classes, (batch, *spatial), generator=torch.Generator().manual_seed(1)).byte()


def test_it_agrees_with_a_computation_by_hand() -> None:
    # Two pixels, of which the second is foreground: shares .25 and .8 of foreground.
    logits = torch.tensor([[[[math.log(3.0), 0.0]], [[0.0, math.log(4.0)]]]])
    mask = torch.tensor([[[0, 1]]], dtype=torch.uint8)
    entropy = -(math.log(0.75) + math.log(0.8)) / 2
    dice = 2 * 0.8 / (0.25 + 0.8 + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(entropy + 1 - dice, abs=1e-6)


@pytest.mark.parametrize("spatial", SIZES)
@pytest.mark.parametrize("classes", [2, 4])
def test_it_agrees_with_monai_where_every_class_is_present(spatial: tuple[int, ...], classes: int) -> None:
    from monai.losses.dice import DiceCELoss

    logits, mask = _logits(classes, spatial), _mask(classes, spatial)
    reference = DiceCELoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=0, smooth_dr=0
    )
    assert segmentation_loss(logits, mask).item() == pytest.approx(reference(logits, mask[:, None].long()).item())


def test_a_class_that_is_absent_is_left_out_of_dice_and_still_in_cross_entropy() -> None:
    logits, mask = _logits(4), _mask(3)
    truth = mask.long()
    shares = logits.softmax(1)
    dice = [
        2 * shares[:, number][truth == number].sum() / (shares[:, number].sum() + (truth == number).sum())
        for number in (1, 2)
    ]
    expected = functional.cross_entropy(logits, truth) + 1 - sum(dice) / 2
    assert segmentation_loss(logits, mask).item() == pytest.approx(expected.item())


def test_without_foreground_only_cross_entropy_counts() -> None:
    logits, mask = _logits(3), torch.zeros(2, 5, 6, dtype=torch.uint8)
    assert segmentation_loss(logits, mask).item() == functional.cross_entropy(logits, mask.long()).item()


def test_dice_is_pooled_over_the_batch() -> None:
    # An image without foreground next to one with some: its false alarms count in the same Dice.
    logits, mask = _logits(2), _mask(2)
    mask[1] = 0
    share, truth = logits.softmax(1)[:, 1], mask.double()
    expected = 1 - 2 * (share * truth).sum() / (share + truth).sum()
    counted = torch.ones_like(mask, dtype=torch.bool)
    assert soft_dice_loss(logits.softmax(1), mask.long(), counted).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("spatial", SIZES)
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(spatial: tuple[int, ...]) -> None:
    mask = _mask(3, spatial)
    right = 40 * functional.one_hot(mask.long(), 3).movedim(-1, 1).double()
    assert segmentation_loss(right, mask).item() == pytest.approx(0, abs=1e-6)
    assert segmentation_loss(right.roll(1, 1), mask).item() == pytest.approx(41, abs=1e-3)


@pytest.mark.parametrize("spatial", SIZES)
def test_ignored_pixels_have_no_influence(spatial: tuple[int, ...]) -> None:
    logits, mask = _logits(3, spatial).requires_grad_(), _mask(3, spatial)
    mask[:, :2] = IGNORE
    loss = segmentation_loss(logits, mask)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[:, :, :2].any()
    assert gradient[:, :, 2:].all()
    assert loss.item() == pytest.approx(segmentation_loss(logits[:, :, 2:], mask[:, 2:]).item())
    changed = logits.detach().clone()
    changed[:, :, :2] += 7 * torch.randn_like(changed[:, :, :2])
    assert segmentation_loss(changed, mask).item() == pytest.approx(loss.item(), rel=1e-12)


def test_a_mask_of_ignored_pixels_alone_costs_nothing() -> None:
    logits = _logits(3).requires_grad_()
    loss = segmentation_loss(logits, torch.full((2, 5, 6), IGNORE, dtype=torch.uint8))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("absent", [False, True])
def test_first_and_second_derivatives_are_exact(absent: bool) -> None:
    mask = _mask(2 if absent else 3, (2, 3), batch=1)
    mask[0, 0, 0] = IGNORE
    logits = _logits(3, (2, 3), batch=1).requires_grad_()

    def loss(own: Tensor) -> Tensor:
        return segmentation_loss(own, mask)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precisions_are_raised_and_others_kept(dtype: torch.dtype, expected: torch.dtype) -> None:
    logits, mask = _logits(3).to(dtype), _mask(3)
    loss = segmentation_loss(logits, mask)
    assert loss.dtype == expected
    assert loss.item() == pytest.approx(segmentation_loss(logits.double(), mask).item(), rel=1e-6)
