"""When a generator is of no use, and feedback that must not be used."""

from __future__ import annotations

import math

import pytest
import torch

from genseg.errors import GeneratorError, NotFiniteError
from genseg.joint.guards import check_finite, check_health
from genseg.joint.hypergradient import Hypergradient

REAL = torch.stack([torch.full((1, 4, 4), value) for value in (-0.5, 0.0, 0.5)])
"""Real images that lie .333 from their mean, on average."""


@pytest.fixture(autouse=True)
def _no_judgement() -> None:
    """Here generators are judged."""


def test_a_healthy_generator_passes() -> None:
    check_health(0.5 * REAL, REAL, l1=0.2)


@pytest.mark.fault(39)
@pytest.mark.parametrize(
    ("generated", "l1", "message"),
    [
        (REAL * float("nan"), 0.1, "not finite"),
        (REAL[:1].expand(3, -1, -1, -1), 0.1, "collapsed"),
        (0.01 * REAL, 0.1, "collapsed: images of one mask differ by 0.0033, real images by 0.3333"),
        (REAL, 0.4, "diverged: it misses real images by 0.4000, their mean by 0.3333"),
    ],
)
def test_a_useless_generator_is_named_with_figures(generated: torch.Tensor, l1: float, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        check_health(generated, REAL, l1)


@pytest.mark.fault(39)
def test_feedback_that_is_not_finite_is_not_used() -> None:
    one = torch.ones(2)
    check_finite(Hypergradient({"alpha": one, "beta": None}, {}, {"w": one}), 0.5, 3)
    with pytest.raises(NotFiniteError, match=r"update 4: .* direct nan, held-out error inf"):
        check_finite(Hypergradient({"alpha": one * math.nan}, {}, {"w": one}), math.inf, 3)
    with pytest.raises(NotFiniteError, match="weights inf"):
        check_finite(Hypergradient({"alpha": one}, {}, {"w": one * math.inf}), 0.5, 3)
