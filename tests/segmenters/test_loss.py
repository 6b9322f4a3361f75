"""Cross-entropy and soft Dice: by hand, against MONAI, at empty classes and at ignored pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional

from genseg.read.case import IGNORE
from genseg.segmenters.loss import one_hot, segmentation_loss

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
    dice = (2 * 0.8 + 1) / (0.25 + 0.8 + 1 + 1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(entropy + 1 - dice, abs=1e-6)


@pytest.mark.parametrize("spatial", SIZES)
@pytest.mark.parametrize("classes", [2, 4])
def test_it_agrees_with_monai(spatial: tuple[int, ...], classes: int) -> None:
    from monai.losses.dice import DiceCELoss

    logits, mask = _logits(classes, spatial), _mask(classes, spatial)
    reference = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1, smooth_dr=1)
    assert segmentation_loss(logits, mask).item() == pytest.approx(reference(logits, mask[:, None].long()).item())


def test_an_absent_class_costs_what_is_falsely_predicted() -> None:
    logits = _logits(3, batch=1)
    mask = torch.zeros(1, 5, 6, dtype=torch.uint8)
    shares = logits.softmax(1)
    dice = [1 / (shares[:, number].sum() + 1) for number in (1, 2)]
    expected = functional.cross_entropy(logits, mask.long()) + 1 - sum(dice) / 2
    assert segmentation_loss(logits, mask).item() == pytest.approx(expected.item(), rel=1e-12)


def test_every_image_counts_by_itself_and_by_its_weight() -> None:
    logits, mask = _logits(3), _mask(3)
    mask[1, :3] = IGNORE
    first, second = (segmentation_loss(logits[i : i + 1], mask[i : i + 1]).item() for i in (0, 1))
    assert segmentation_loss(logits, mask).item() == pytest.approx((first + second) / 2)
    weight = torch.tensor([0.25, 3.0])
    assert segmentation_loss(logits, mask, weight).item() == pytest.approx((0.25 * first + 3 * second) / 2)


@pytest.mark.parametrize("spatial", SIZES)
def test_shares_of_classes_do_as_well_as_indices(spatial: tuple[int, ...]) -> None:
    logits, mask = _logits(3, spatial), _mask(3, spatial)
    shares = one_hot(mask, logits)
    assert segmentation_loss(logits, shares).item() == pytest.approx(segmentation_loss(logits, mask).item(), rel=1e-12)


def test_it_has_a_derivative_with_respect_to_soft_masks_and_weights() -> None:
    logits = _logits(3, (2, 3))
    shares = _logits(3, (2, 3)).flip(1).softmax(1).requires_grad_()
    weight = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda shares, weight: segmentation_loss(logits, shares, weight), (shares, weight))


def test_its_slope_along_a_direction_has_a_derivative() -> None:
    logits, mask = _logits(3, (2, 3)), _mask(3, (2, 3))
    along = torch.ones_like(logits).cumsum(-1)

    def product(scale: Tensor) -> Tensor:
        with forward_ad.dual_level():
            loss = segmentation_loss(forward_ad.make_dual(logits, along) * scale, mask)
            (gradient,) = torch.autograd.grad(loss, scale)
            return forward_ad.unpack_dual(gradient).tangent

    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(segmentation_loss(leaf * scale, mask), leaf, create_graph=True)
    (expected,) = torch.autograd.grad((gradient * along).sum(), scale)
    assert product(scale).item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("spatial", SIZES)
def test_a_perfect_prediction_costs_nothing_and_a_wrong_one_much(spatial: tuple[int, ...]) -> None:
    mask = _mask(3, spatial)
    right = 40 * functional.one_hot(mask.long(), 3).movedim(-1, 1).double()
    assert segmentation_loss(right, mask).item() == pytest.approx(0, abs=1e-6)
    assert segmentation_loss(right.roll(1, 1), mask).item() == pytest.approx(41, abs=0.1)


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
