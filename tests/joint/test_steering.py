"""Stage III's steps: they go on as far when hypergradients have become small."""

from __future__ import annotations

import pytest
import torch
from joint_problem import make_problem

from genseg.joint.hypergradient import Hypergradient
from genseg.joint.stages import steer


def test_a_variable_is_steered_as_far_by_a_small_hypergradient_as_by_a_large_one_long_before() -> None:
    problem = make_problem()
    generation, logit = problem.generation, problem.generation.steered.share_logit
    rate = generation.steering_optimiser.param_groups[0]["lr"]
    places = []
    for length in [10.0] * 3 + [0.01] * 5:
        found = {name: torch.full_like(one, length) for name, one in generation.variables().items()}
        steer(generation, Hypergradient(found, {}, {}), reach=0.0)
        places.append(logit.item())
    assert places[-2] - places[-1] == pytest.approx(rate, rel=1e-3)
