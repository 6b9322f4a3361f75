"""When a generator is of no use."""

from __future__ import annotations

import pytest
import torch

from genseg.errors import GeneratorError
from genseg.joint.guards import check_health

REAL = torch.stack([torch.full((1, 4, 4), value) for value in (-0.5, 0.0, 0.5)])
"""Real images that lie .333 from their mean, on average."""


@pytest.fixture(autouse=True)
def _no_judgement() -> None:
    """Here generators are judged."""


def test_a_healthy_generator_passes() -> None:
    check_health(0.5 * REAL, REAL, l1=0.2)


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
