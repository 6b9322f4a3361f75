"""The learning rate over a run, and what decays."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from genseg.config import Plan
from genseg.segmenters.optimiser import learning_rate, make_optimiser, set_learning_rate


@pytest.mark.parametrize(
    ("update", "expected"),
    [(0, 0.1), (4, 0.5), (9, 1.0), (10, 1.0), (55, 0.5), (40, 0.75), (99, 0.000304586)],
)
def test_rate_rises_linearly_then_falls_as_half_a_cosine(
    make_plan: Callable[..., Plan], update: int, expected: float
) -> None:
    plan = make_plan(updates=100, warm_up=0.1, learning_rate=0.02)
    assert learning_rate(update, plan) == pytest.approx(0.02 * expected, rel=1e-4)


def test_a_run_of_one_update_has_the_full_rate(make_plan: Callable[..., Plan]) -> None:
    assert learning_rate(0, make_plan(updates=1, warm_up=0.0, learning_rate=0.02)) == 0.02


def test_weights_decay_and_biases_and_normalisation_do_not(make_plan: Callable[..., Plan]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimiser = make_optimiser(network, make_plan(weight_decay=0.3))
    decays = {id(weight): group["weight_decay"] for group in optimiser.param_groups for weight in group["params"]}
    assert [decays[id(weight)] for weight in network.parameters()] == [0.3, 0.0, 0.0, 0.0]
    set_learning_rate(optimiser, 0.125)
    assert {group["lr"] for group in optimiser.param_groups} == {0.125}


def test_frozen_weights_are_not_among_those_that_are_updated(make_plan: Callable[..., Plan]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3).requires_grad_(False), nn.Conv2d(4, 2, 1))
    optimiser = make_optimiser(network, make_plan())
    held = [weight for group in optimiser.param_groups for weight in group["params"]]
    assert [weight.shape for weight in held] == [weight.shape for weight in network[1].parameters()]
