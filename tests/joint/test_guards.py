"""When a generator is of no use, and feedback that must not be used."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from joint_problem import make_problem

from genseg.errors import CutLinkError, GeneratorError, NotFiniteError
from genseg.joint.guards import check_finite, check_gradients, check_health, check_pairs
from genseg.joint.hypergradient import Hypergradient
from genseg.joint.synthesis import Pairs
from genseg.masks.make import draw_recipe

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
        (REAL, 0.4, r"diverged: L1 error 0\.4000, worse than the mean image \(0\.3333\)"),
    ],
)
def test_a_useless_generator_is_named_with_figures(generated: torch.Tensor, l1: float, message: str) -> None:
    with pytest.raises(GeneratorError, match=message):
        check_health(generated, REAL, l1)


@pytest.mark.fault(76)
def test_one_batch_that_is_far_off_is_not_divergence_but_several_are() -> None:
    generation = make_problem().generation
    for l1 in [0.05] * 10 + [0.6]:
        generation.count_update(l1)
    check_health(0.5 * REAL, REAL, generation.l1)
    for _ in range(6):
        generation.count_update(0.6)
    with pytest.raises(GeneratorError, match="diverged"):
        check_health(0.5 * REAL, REAL, generation.l1)


@pytest.mark.fault(39)
def test_feedback_that_is_not_finite_is_not_used() -> None:
    one = torch.ones(2)
    check_finite(Hypergradient({"alpha": one, "beta": None}, {}, {"w": one}), 0.5, 3)
    with pytest.raises(NotFiniteError, match=r"update 4: .* direct nan, held-out error inf"):
        check_finite(Hypergradient({"alpha": one * math.nan}, {}, {"w": one}), math.inf, 3)
    with pytest.raises(NotFiniteError, match="weights inf"):
        check_finite(Hypergradient({"alpha": one}, {}, {"w": one * math.inf}), 0.5, 3)


def _pairs(image: torch.Tensor) -> Pairs:
    """A pair of a changed mask with an edge, for each image."""
    recipe = draw_recipe(1, 2, torch.Generator().manual_seed(0))
    mask = torch.eye(2).view(1, 2, 2, 1).expand(len(image), -1, -1, 4)
    return Pairs(image, image.detach(), mask, torch.ones(len(image)), torch.tensor(0.5), [recipe] * len(image))


def _found(name: str, gradient: torch.Tensor | None) -> Hypergradient:
    return Hypergradient({name: gradient}, {}, {"w": torch.ones(2), "encoder": None})


ZERO = torch.zeros(3)
GENERATED = 0.5 * REAL


@pytest.mark.fault(75)
@pytest.mark.parametrize("name", ["ranges.scale", "pair_logits", "share_logit", "styles.log_temperature"])
def test_a_gradient_of_zero_stops_where_the_pairs_could_give_another_and_a_missing_one_always(name: str) -> None:
    with pytest.raises(CutLinkError, match=f"zero gradient for {name}$"):
        check_gradients(_found(name, ZERO), _pairs(GENERATED), 0.5, [])
    with pytest.raises(CutLinkError, match=f": no gradient for {name}$"):
        check_gradients(_found(name, None), replace(_pairs(REAL.sign()), recipes=()), 0.0, [])
    assert check_gradients(_found(name, ZERO), _pairs(GENERATED), 0.0, []) == ["the generator's weights"]
    assert check_gradients(_found(name, ZERO), _pairs(GENERATED), 0.5, [name]) == [name, "the generator's weights"]


@pytest.mark.fault(75)
def test_one_case_alone_has_no_weight_to_steer() -> None:
    check_gradients(_found("pair_logits", torch.zeros(1)), _pairs(GENERATED), 0.5, [])


@pytest.mark.fault(75)
def test_masks_without_an_edge_say_nothing_of_ranges() -> None:
    pairs = _pairs(GENERATED)
    empty = replace(pairs, mask=torch.cat([torch.ones_like(pairs.mask[:, :1]), torch.zeros_like(pairs.mask[:, 1:])], 1))
    assert "ranges.scale" not in check_gradients(_found("ranges.scale", ZERO), empty, 0.5, [])


@pytest.mark.fault(75)
def test_images_at_their_bounds_are_neither_rounded_nor_cut_off() -> None:
    black = _pairs((-torch.ones_like(REAL)).requires_grad_())
    generator = torch.nn.Linear(1, 1)
    check_pairs(black, generator)
    check_gradients(_found("architecture.0", ZERO), black, 0.5, [])
    with pytest.raises(CutLinkError, match="they were rounded"):
        check_pairs(replace(black, plain=GENERATED), generator)


@pytest.mark.fault(75)
def test_a_generator_that_no_weight_of_has_a_gradient_is_cut_off() -> None:
    for weights in ({"a": None, "b": torch.zeros(2)}, {"a": None}):
        with pytest.raises(CutLinkError, match="gradient for the generator's weights"):
            check_gradients(Hypergradient({}, {}, weights), _pairs(GENERATED), 0.5, [])
