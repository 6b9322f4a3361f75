"""The optimiser's step as a function: equal to the step that PyTorch takes, and its derivative to differences."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from genseg.compute.device import choose_machine
from genseg.joint.stages import record_stage_two, synthetic_loss
from genseg.joint.steps import clip, record_step
from genseg.joint.synthesis import Pairs

Make = Callable[[nn.Module], torch.optim.Optimizer]


def _adamw(module: nn.Module) -> torch.optim.Optimizer:
    decayed = [weight for weight in module.parameters() if weight.ndim > 1]
    free = [weight for weight in module.parameters() if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.05, betas=(0.8, 0.97), fused=True)


def _sgd(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), lr=0.05)


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()


def _backward(module: nn.Module, seed: int) -> None:
    module.zero_grad()
    torch.manual_seed(seed)
    module(torch.randn(5, 4, dtype=torch.float64)).square().sum().backward()


@pytest.mark.parametrize("largest_norm", [None, 0.3, 1e9])
@pytest.mark.parametrize("make", [_adamw, _sgd])
@pytest.mark.parametrize("earlier", [0, 3])
def test_the_recorded_step_is_the_one_taken(
    module: nn.Module, make: Make, earlier: int, largest_norm: float | None
) -> None:
    optimiser = make(module)
    for number in range(earlier):
        _backward(module, number)
        optimiser.step()
    _backward(module, 10)
    step = record_step(module, optimiser, largest_norm)
    if largest_norm is not None:
        nn.utils.clip_grad_norm_(module.parameters(), largest_norm)
    optimiser.step()
    after = step.move(step.gradient)
    assert after.keys() == dict(module.named_parameters()).keys()
    for name, weight in module.named_parameters():
        torch.testing.assert_close(after[name], weight.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("largest_norm", [None, 0.3])
@pytest.mark.parametrize("make", [_adamw, _sgd])
def test_pulling_back_is_the_transpose_of_its_derivative(
    module: nn.Module, make: Make, largest_norm: float | None
) -> None:
    optimiser = make(module)
    for number in range(3):
        _backward(module, number)
        optimiser.step()
    _backward(module, 10)
    step = record_step(module, optimiser, largest_norm)
    torch.manual_seed(1)
    cotangent = {name: torch.randn_like(weight) for name, weight in step.before.items()}
    change = {name: torch.randn_like(weight) for name, weight in step.before.items()}

    def moved(size: float) -> Tensor:
        after = step.move({name: one + size * change[name] for name, one in step.gradient.items()})
        return torch.stack([(after[name] * cotangent[name]).sum() for name in after]).sum()

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    pulled = step.pull_back(cotangent)
    product = torch.stack([(pulled[name] * change[name]).sum() for name in pulled]).sum()
    assert product.item() == pytest.approx(slope.item(), rel=1e-6)


def test_weights_without_gradient_stay_out(module: nn.Module) -> None:
    optimiser = _adamw(module)
    _backward(module, 0)
    next(module.parameters()).grad = None
    assert record_step(module, optimiser).before.keys() == {"0.bias", "2.weight", "2.bias"}


def test_a_later_change_of_the_weights_does_not_reach_the_record(module: nn.Module) -> None:
    optimiser = _adamw(module)
    _backward(module, 0)
    optimiser.step()
    _backward(module, 1)
    step = record_step(module, optimiser)
    before = {name: one.clone() for name, one in step.move(step.gradient).items()}
    optimiser.step()
    module.zero_grad()
    for name, one in step.move(step.gradient).items():
        assert torch.equal(one, before[name])


def test_clipping_a_gradient_of_nothing_gives_nothing() -> None:
    gradient = {"weight": torch.zeros(3, requires_grad=True)}
    clipped = clip(gradient, 1.0)["weight"]
    (back,) = torch.autograd.grad(clipped.sum(), gradient["weight"])
    assert not clipped.any()
    assert back.isfinite().all()


@pytest.mark.fault(78)
def test_a_step_in_bfloat16_is_differentiated_in_float32() -> None:
    torch.manual_seed(0)
    segmenter = nn.Conv2d(1, 2, 3, padding=1)
    learner = SimpleNamespace(segmenter=segmenter, optimiser=torch.optim.AdamW(segmenter.parameters()))
    image, mask = torch.randn(2, 1, 8, 8, requires_grad=True), torch.rand(2, 2, 8, 8).softmax(1)
    pairs = Pairs(image, image, mask, torch.ones(2), torch.tensor(0.5))
    plan = SimpleNamespace(clip_norm=1.0)
    with choose_machine("cpu", "bfloat16").autocast(2):
        taken = synthetic_loss(segmenter, 0, dict(segmenter.named_parameters()), **pairs.detached())
    taken.backward()
    unrolled = record_stage_two(learner, pairs, 0, plan, {})  # type: ignore[arg-type]
    recorded = unrolled.loss(unrolled.step.before)
    assert recorded.item() == synthetic_loss(segmenter, 0, dict(segmenter.named_parameters()), **pairs.made()).item()
    assert 0 < abs(recorded.item() - taken.item()) < 0.01
