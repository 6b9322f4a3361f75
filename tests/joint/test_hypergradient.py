"""The gradient that must be alive: against finite differences of the held-out error through the steps really taken,
and against an independent computation that keeps the graph of the unrolled steps.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any, Literal
from unittest.mock import patch

import pytest
import torch
from joint_problem import DEVICE, Problem, make_problem, perturb, unrolled_by_autograd
from torch import Tensor
from torch.func import functional_call

from genseg.compute.device import choose_machine
from genseg.joint import update as update_module
from genseg.joint.hypergradient import Hypergradient, Method, mixed_product
from genseg.joint.stages import held_out_gradient
from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.registry import build_segmenter, segmenters

STEP = 1e-5
Where = Literal["everywhere", "stage I", "pairs"]


def _found(problem: Problem, method: Method = "exact") -> Hypergradient:
    """The hypergradient of the next update, on copies, so that the problem stays as it is."""
    found = problem.step(
        *copy.deepcopy((problem.learner, problem.generation)), is_steered=True, hypergradient=method
    ).found
    assert found is not None
    return found


@cache
def _problem(rank: int, optimiser: str = "adamw") -> tuple[Problem, Hypergradient]:
    """A problem that no test changes, and the hypergradient of its next update."""
    problem = make_problem(rank, optimiser)
    return problem, _found(problem)


def _held_out_error(problem: Problem, name: str, direction: Tensor, where: Where) -> float:
    """The error on held-out cases after stages I and II, with one variable moved in both, or in one of them."""
    learner, generation = copy.deepcopy((problem.learner, problem.generation))
    variable, update = generation.variables()[name], learner.update
    make_pairs = update_module.synthesise

    def pairs(*given: Any) -> Any:
        perturb(variable, direction, {"everywhere": 0, "stage I": -1, "pairs": 1}[where])
        return make_pairs(*given)

    perturb(variable, direction, 0 if where == "pairs" else 1)
    with patch.object(update_module, "synthesise", pairs):
        problem.step(learner, generation, is_steered=False)
    return held_out_gradient(learner, *problem.loop.held_out(update), choose_machine(DEVICE, "float32"))[1]


def _direction(variable: Tensor) -> Tensor:
    """The same whenever it is asked for, and of a variable's length; in it every element counts."""
    draws = torch.Generator().manual_seed(variable.numel())
    return torch.randn(variable.shape, generator=draws, dtype=variable.dtype).to(variable.device)


def _assert_slope(problem: Problem, found: Tensor | None, name: str, where: Where = "everywhere") -> None:
    """What was found is the finite difference of `_held_out_error` in a variable's `_direction`.

    Element by element it is compared with the unrolled steps.
    """
    assert found is not None, name
    direction = _direction(problem.generation.variables()[name])
    above, below = (_held_out_error(problem, name, sign * STEP * direction, where) for sign in (1, -1))
    expected = (above - below) / (2 * STEP)
    assert expected, name
    assert (found * direction).sum().item() == pytest.approx(expected, rel=1e-3, abs=0), name


def _assert_unrolled(problem: Problem, found: Hypergradient) -> None:
    expected = unrolled_by_autograd(problem)
    assert expected.keys() == problem.generation.variables().keys()
    for name, gradient in expected.items():
        total = found.total(name)
        assert total is not None
        assert gradient.any(), name
        assert torch.allclose(total, gradient, rtol=1e-6, atol=1e-12), name


@pytest.mark.parametrize(("rank", "optimiser"), [(2, "adamw"), (3, "sgd")])
def test_the_total_agrees_with_finite_differences(rank: int, optimiser: str) -> None:
    problem, found = _problem(rank, optimiser)
    for name in problem.generation.variables():
        _assert_slope(problem, found.total(name), name)


@pytest.mark.parametrize("update", [5, 7])  # 6 takes styles anew, which the independent computation does not
def test_it_agrees_with_finite_differences_and_unrolled_steps_where_images_grow(update: int) -> None:
    problem = make_problem(growing=0.75)
    problem.learner.update = update
    assert problem.plan.size_at(update) == ((16, 16) if update < 6 else (32, 32))
    found = _found(problem)
    _assert_unrolled(problem, found)
    for name in ("ranges.scale", "styles.log_temperature", "share_logit"):
        _assert_slope(problem, found.total(name), name)


@pytest.mark.parametrize("where", ["stage I", "pairs"])
@pytest.mark.parametrize("rank", [2, 3])
def test_each_term_agrees_with_finite_differences_of_its_path(rank: int, where: Where) -> None:
    problem, found = _problem(rank)
    terms = {"stage I": found.indirect, "pairs": found.direct}[where]
    for name in problem.generation.architecture():
        _assert_slope(problem, terms[name], name, where)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("rank", [2, 3])
def test_it_agrees_with_automatic_differentiation_of_the_unrolled_steps(rank: int, optimiser: str) -> None:
    _assert_unrolled(*_problem(rank, optimiser))


def test_the_methods_agree() -> None:
    problem, exact = _problem(2)
    twice, cheap = (_found(problem, method) for method in ("double-backward", "central-difference"))
    for name in problem.generation.variables():
        one, other, third = (found.total(name) for found in (exact, twice, cheap))
        assert one is not None
        assert other is not None
        assert third is not None
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-13)
        assert torch.cosine_similarity(one.flatten(), third.flatten(), 0) >= 0.99, name
    assert exact.weights.keys() == twice.weights.keys()


def test_without_stage_one_there_is_no_indirect_term() -> None:
    problem = make_problem(every=2)
    assert problem.learner.update % 2 == 1
    found = _found(problem)
    assert found.indirect == {}
    _assert_slope(problem, found.total("architecture.0"), "architecture.0")


@pytest.mark.parametrize("name", [name for name, spec in segmenters().items() if 2 in spec.ranks])
def test_every_segmenter_can_be_differentiated_through(name: str) -> None:
    torch.manual_seed(0)
    segmenter = build_segmenter(name, 2, 3, 2).double().train()
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 32, 32) > 0.7
    # As of a step: what is frozen does not move.
    weights = {name: weight.detach() for name, weight in segmenter.named_parameters() if weight.requires_grad}
    direction = {name: 1e-3 * torch.randn_like(weight) for name, weight in weights.items()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        torch.manual_seed(1)
        buffers = {name: buffer.clone() for name, buffer in segmenter.named_buffers()}
        return segmentation_loss(functional_call(segmenter, {**weights, **buffers}, (image,)), mask)

    (exact,) = mixed_product(loss, weights, direction, [image], "exact")
    (twice,) = mixed_product(loss, weights, direction, [image], "double-backward")
    assert exact is not None
    assert twice is not None
    assert exact.any()
    torch.testing.assert_close(exact, twice, rtol=1e-6, atol=1e-9 * exact.abs().max().item())
