"""A gradient of stage I that is not finite moves nothing."""

from __future__ import annotations

import pytest
import torch
from joint_problem import Problem, make_problem
from torch import Tensor, nn

from genseg.errors import GeneratorError


class _Breaks(torch.autograd.Function):
    """Passes values on; their gradient is not a number."""

    @staticmethod
    def forward(_ctx: object, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(_ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.nan


class _Broken(nn.Module):
    """A layer whose loss is finite and whose gradient is not."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        broken: Tensor = _Breaks.apply(self.layer(values))
        return broken


@pytest.fixture(scope="module")
def problem() -> Problem:
    """A volume, and a generator that has made three updates."""
    return make_problem(3)


@pytest.mark.fault(101)
@pytest.mark.parametrize("part", ["generator", "discriminator"])
def test_a_gradient_that_is_not_finite_moves_nothing_and_is_named(
    part: str, problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = problem.generation
    module = generation.translator.generator if part == "generator" else generation.discriminator
    if part == "generator":
        monkeypatch.setitem(module._modules, "head", _Broken(module.head))
    else:
        monkeypatch.setitem(module.layers._modules, "0", _Broken(module.layers[0]))
        monkeypatch.setattr("genseg.joint.stages.train_translator", lambda *_: ({"l1": 0.0}, None))
    before = [weight.detach().clone() for weight in module.parameters()]
    with pytest.raises(GeneratorError, match=rf"the {part}'s loss is [\d.]+ \(gradient norm nan\)"):
        problem.loop.pretrain(generation)
    assert all(torch.equal(weight, old) for weight, old in zip(module.parameters(), before, strict=True))
