"""The loop: what it moves, what it never sees, and how a cut link stops it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
from joint_problem import Problem, band_cases, blob_cases, make_problem
from torch import Tensor, nn

from genseg.config import LARGEST_SHARE
from genseg.errors import CutLinkError, GeneratorError
from genseg.joint import loop as loop_module
from genseg.joint import stages as stages_module
from genseg.joint import update as update_module
from genseg.joint.generation import settings_of
from genseg.joint.hypergradient import Unrolled
from genseg.joint.loop import JointLoop
from genseg.joint.schedule import JUDGED
from genseg.joint.stages import LARGEST_STEP, train_stage_one
from genseg.joint.synthesis import NewMasks, Pairs
from genseg.masks.ranges import MaskRanges
from genseg.read.case import IGNORE

POISON = 1e3
"""A value that no image has."""


def _values(problem: Problem) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in problem.generation.variables().items()}


@pytest.mark.parametrize(
    ("radius", "step"),
    [(4e-4, 2e-4), pytest.param(0.02, LARGEST_STEP, marks=pytest.mark.fault(76))],
    ids=["its part of the trust region", "no more than the largest step"],
)
def test_feedback_moves_every_variable_and_the_generator_by(radius: float, step: float) -> None:
    problem = make_problem(radius=radius, every=5)  # two feedbacks in 12 updates, after the rate has risen
    problem.learner.update = 5
    before = _values(problem)
    weights = {name: one.detach().clone() for name, one in problem.generation.weights().items()}
    with patch.object(stages_module, "train_translator", lambda *_: ({"l1": 0.0}, None)):
        _, feedback = problem.loop.advance(problem.learner, problem.generation)
    assert feedback["held_out_loss"] > 0
    assert all(not torch.equal(before[name], one) for name, one in problem.generation.variables().items())
    moved = {name: one.detach() - weights[name] for name, one in problem.generation.weights().items()}
    reached = {name: one for name, one in weights.items() if name.startswith("generator.")}
    length = torch.cat([moved[name].flatten() for name in reached]).norm()
    whole = torch.cat([one.flatten() for one in reached.values()]).norm()
    assert length.item() == pytest.approx(step * whole.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("every", "search", "fed_back"), [(1, 1.0, [1, 2, 3]), (4, 1.0, [4]), (8, 0.5, [0])], ids=["each", "4th", "once"]
)
def test_feedback_begins_once_the_rate_has_risen_but_there_is_some(
    every: int, search: float, fed_back: list[int]
) -> None:
    problem = make_problem(every=every, search=search)
    found = []
    for update in range(5 if every > 1 else 4):
        problem.learner.update = update
        with patch.object(stages_module, "train_translator", lambda *_: ({"l1": 0.0}, None)):
            _, feedback = problem.loop.advance(problem.learner, problem.generation)
        found += [update] if feedback else []
    assert found == fed_back


@pytest.mark.parametrize("method", ["separate", "joint-cut"])
def test_without_feedback_no_variable_moves(method: str) -> None:
    problem = make_problem(method=method)
    before = _values(problem)
    weights = {name: one.detach().clone() for name, one in problem.generation.weights().items()}
    _, feedback = problem.loop.advance(problem.learner, problem.generation)
    assert feedback == {}
    assert all(torch.equal(before[name], one) for name, one in problem.generation.variables().items())
    are_frozen = all(torch.equal(weights[name], one) for name, one in problem.generation.weights().items())
    assert are_frozen == (method == "separate")


@pytest.mark.parametrize("method", ["separate", "joint-cut", "joint"])
def test_every_method_makes_updates_on_as_many_images(method: str) -> None:
    problem = make_problem(method=method)
    with _seen_by(problem.learner.segmenter) as seen:
        problem.step(is_steered=False)
    assert sum(len(images) for images in seen) == problem.plan.batch_size


@pytest.mark.parametrize(("share", "synthetic"), [(0.15, 1), (0.5, 2), (0.75, 3)])
def test_the_share_says_how_many_images_are_synthetic_and_how_much_they_count(share: float, synthetic: int) -> None:
    problem = make_problem()
    with torch.no_grad():
        problem.generation.steered.share_logit.copy_(torch.tensor(share / LARGEST_SHARE).logit())
    means, weighted, shares = [], [], []
    mean_loss, real_loss, hypergradient = (
        stages_module.batch_loss,
        update_module.real_loss,
        update_module.hypergradient,
    )

    def mean(*given: Any) -> Tensor:
        means.append(mean_loss(*given))
        return means[-1]

    def real(*given: Any) -> Tensor:
        weighted.append(real_loss(*given))
        return weighted[-1]

    def found(cotangent: Any, stage_two: Unrolled, *others: Any) -> Any:
        shares.append(stage_two.inputs["share"].item())
        return hypergradient(cotangent, stage_two, *others)

    with (
        _seen_by(problem.learner.segmenter) as seen,
        patch.object(stages_module, "batch_loss", mean),
        patch.object(update_module, "real_loss", real),
        patch.object(update_module, "hypergradient", found),
    ):
        problem.step(is_steered=True)
    assert [len(images) for images in seen[:2]] == [problem.plan.batch_size - synthetic, synthetic]
    assert weighted[0].item() == pytest.approx(2 * (1 - share) * means[0].item())
    assert shares == [pytest.approx(share)]


def test_pairs_that_feedback_has_left_no_share_are_given_up() -> None:
    problem = make_problem()
    with torch.no_grad():
        problem.generation.steered.share_logit.fill_(-2)
    with pytest.raises(GeneratorError, match=r"do not help here: .* 0\.5 at first, has fallen below half an image"):
        problem.loop.advance(problem.learner, problem.generation)


@contextmanager
def _seen_by(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """Every image tensor that goes into these modules."""
    seen: list[Tensor] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda _, given: seen.extend(one.detach() for one in given if isinstance(one, Tensor))
        )
        for module in modules
    ]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("update", range(3, 11))
def test_held_out_images_and_masks_reach_no_update(update: int) -> None:
    problem = make_problem(refresh=4)
    held_out = set(problem.loop.schedule.held_out(update))
    poisoned = blob_cases(2)
    for case in held_out:
        poisoned[case].image[:] = POISON
    groups = [case.name for case in poisoned]
    spoiled = JointLoop(poisoned, groups, problem.plan, 0, problem.loop._machine)
    problem.learner.update = update
    masks = [spoiled._patches._masks[case].numpy() for case in held_out]
    translator, segmenter = problem.generation.translator, problem.learner.segmenter
    with (
        _seen_by(segmenter, translator, translator.encoder, problem.generation.discriminator) as seen,
        patch.object(loop_module, "make_masks", _checked_pool(masks)),
        patch.object(update_module, "held_out_gradient", side_effect=_StageThree),
        pytest.raises(_StageThree),
    ):
        replace(problem, loop=spoiled).step(is_steered=True)
    assert len(seen) > 4
    assert all(one.abs().max() < POISON / 10 for one in seen)
    image, _ = spoiled.held_out(update)
    assert image.abs().max() > POISON / 10


class _StageThree(Exception):  # noqa: N818
    """Stages I and II are over."""


def _checked_pool(forbidden: list[np.ndarray]) -> Callable[..., NewMasks]:
    make = loop_module.make_masks

    def make_masks(pool: Any, *others: Any) -> NewMasks:
        used = [pool.masks[case] for case in pool.cases]
        assert not any(np.array_equal(one, other) for one in used for other in forbidden)
        return make(pool, *others)

    return make_masks


def test_the_error_is_the_mean_over_several_looks_where_few_cases_are_held_out() -> None:
    problem = make_problem()
    image, mask = problem.loop.held_out(0)
    assert len(problem.loop.schedule.held_out(0)) < len(image) == len(mask) == JUDGED
    assert len({one.sum().item() for one in image}) == JUDGED


def _detached(pairs: Pairs) -> Pairs:
    return Pairs(pairs.image.detach(), pairs.plain, pairs.mask, pairs.weight, pairs.share)


def _bytes(pairs: Pairs) -> Pairs:
    return Pairs((255 * pairs.image).to(torch.uint8), pairs.plain, pairs.mask, pairs.weight, pairs.share)


def _rounded(pairs: Pairs) -> Pairs:
    whole = pairs.image + (pairs.image.round() - pairs.image).detach()
    return Pairs(whole, pairs.plain, pairs.mask, pairs.weight, pairs.share)


@pytest.mark.parametrize(
    ("cut", "message"),
    [(_detached, "detached"), (_bytes, "uint8: whole numbers"), (_rounded, "rounded")],
    ids=["detach", "uint8", "round"],
)
def test_an_image_without_a_way_back_stops_the_program(cut: Callable[[Pairs], Pairs], message: str) -> None:
    problem = make_problem()
    make = update_module.synthesise
    with (
        patch.object(update_module, "synthesise", lambda *given: cut(make(*given))),
        pytest.raises(CutLinkError, match=message),
    ):
        problem.loop.advance(problem.learner, problem.generation)


def test_a_generator_without_gradient_stops_the_program() -> None:
    problem = make_problem()
    forward = problem.generation.translator.generator.forward
    problem.generation.translator.generator.forward = torch.no_grad()(forward)  # type: ignore[method-assign]
    with pytest.raises(CutLinkError, match="the generator ran without gradient"):
        problem.loop.advance(problem.learner, problem.generation)


def test_logits_that_the_optimiser_does_not_hold_stop_the_program() -> None:
    problem = make_problem()
    problem.generation.steering_optimiser = torch.optim.AdamW(problem.generation.steered.parameters())
    with pytest.raises(CutLinkError, match=r"architecture\.0 is not held by stage III's optimiser"):
        problem.loop.advance(problem.learner, problem.generation)


def test_logits_that_are_no_parameters_stop_the_program() -> None:
    problem = make_problem()
    problem.generation.translator.generator.cells()[0].logits.requires_grad_(False)  # type: ignore[union-attr]
    with pytest.raises(CutLinkError, match=r"architecture\.0 is a leaf that requires no gradient"):
        problem.loop.advance(problem.learner, problem.generation)


def test_a_steered_parameter_that_nothing_depends_on_stops_the_program() -> None:
    problem = make_problem()
    ones = torch.ones(2, dtype=torch.float64)
    with (
        patch.object(type(problem.generation.steered), "pair_weights", lambda *_: ones),
        pytest.raises(CutLinkError, match="no gradient for pair_logits"),
    ):
        problem.loop.advance(problem.learner, problem.generation)


def test_an_indirect_term_that_is_missing_stops_the_program() -> None:
    problem = make_problem()
    make = update_module.hypergradient

    def without(*given: Any) -> Any:
        found = make(*given)
        found.indirect["architecture.1"].zero_()
        return found

    with (
        patch.object(update_module, "hypergradient", without),
        pytest.raises(CutLinkError, match=r"zero gradient for architecture\.1 by stage I's step"),
    ):
        problem.loop.advance(problem.learner, problem.generation)


def test_examples_are_pairs_of_the_patch_s_size() -> None:
    problem = make_problem()
    examples = problem.loop.examples(problem.generation, 0)
    assert len(examples) == len(problem.cases)
    for example in examples:
        assert example.image.shape == example.rebuilt.shape == example.new_image.shape == (1, 16, 16)
        assert example.new_mask.shape == (16, 16)
        assert np.isfinite(example.new_image).all()


@pytest.mark.parametrize("when", ["at the end of pretraining", "at the next turn"])
def test_a_generator_of_no_use_is_reported(monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    problem = make_problem()
    monkeypatch.undo()
    loop, learner, generation = problem.loop, problem.learner, problem.generation
    with torch.no_grad():
        for weight in generation.translator.generator.parameters():
            weight.zero_()
    learner.update, generation.pretrained = 8, generation.pretrained - 1
    with (
        patch.object(stages_module, "train_translator", lambda *_: ({"l1": 0.0}, None)),
        pytest.raises(GeneratorError, match="collapsed"),
    ):
        loop.pretrain(generation) if when == "at the end of pretraining" else loop.advance(learner, generation)


def test_when_the_search_ends_every_case_trains_and_nothing_steers() -> None:
    problem = make_problem(search=0.25)
    generation = problem.generation
    strongest = [[cell.kernels[int(cell.logits.argmax())]] for cell in generation.translator.generator.cells()]  # type: ignore[union-attr]
    assert problem.learner.update == 3 == 0.25 * problem.plan.updates
    steered = {name: one.clone() for name, one in generation.steered.named_parameters()}
    with _seen_by(generation.translator) as seen:
        _, feedback = problem.loop.advance(problem.learner, generation)
    assert feedback == {}
    assert len(seen) > 0
    assert generation.kernels() == strongest
    assert generation.architecture() == {}
    assert all(torch.equal(steered[name], one) for name, one in generation.steered.named_parameters())
    assert problem.loop.schedule.held_out(3) == []
    assert problem.loop.schedule.training(3) == list(range(len(problem.cases)))


@pytest.mark.fault(75)
@pytest.mark.parametrize(("batch_size", "seed", "changed"), [(2, 0, 0), (2, 1, 1), (4, 1, 2)])
def test_bands_whose_masks_mostly_stay_as_they_are_train_to_the_end(batch_size: int, seed: int, changed: int) -> None:
    problem = make_problem(cases=band_cases(), batch_size=batch_size, seed=seed, updates=9)
    ranges = {name for name in problem.generation.variables() if name.startswith("ranges.")}
    was_changed = []
    while problem.learner.update < problem.plan.updates:
        with _made() as pairs:
            problem.loop.advance(problem.learner, problem.generation)
        was_changed += [recipe.is_changed for one in pairs for recipe in one.recipes]
        assert ranges.issubset(problem.generation.alive) == any(was_changed)
    assert not was_changed[0]
    assert sum(was_changed) == changed
    assert problem.generation.feedbacks == problem.plan.updates - 3


@pytest.mark.fault(75)
def test_a_range_that_is_cut_stops_at_the_first_changed_mask() -> None:
    problem = make_problem(cases=band_cases(), batch_size=2, seed=5)
    with _cut_rotation(lambda one: 0 * one + one.detach()), _made() as pairs:
        problem.loop.advance(problem.learner, problem.generation)
        problem.loop.advance(problem.learner, problem.generation)
        with pytest.raises(CutLinkError, match=r"cannot reach the generator: zero gradient for ranges\.rotation$"):
            problem.loop.advance(problem.learner, problem.generation)
    assert [pair.recipes[0].is_changed for pair in pairs] == [False, False, True]


@pytest.mark.fault(75)
def test_a_range_without_a_way_back_stops_before_any_mask_has_changed() -> None:
    problem = make_problem(cases=band_cases(), batch_size=2, seed=5)
    with (
        _cut_rotation(Tensor.detach),
        pytest.raises(CutLinkError, match=r"cannot reach the generator: no gradient for ranges\.rotation$"),
    ):
        problem.loop.advance(problem.learner, problem.generation)


@pytest.mark.fault(75)
def test_links_that_were_seen_to_be_alive_may_be_still_later(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    problem.loop.advance(problem.learner, problem.generation)
    assert {"pair_logits", "ranges.rotation", "architecture.0 by stage I's step"} < set(problem.generation.alive)
    monkeypatch.setattr(
        type(problem.generation.steered), "pair_weights", lambda steered, cases: steered.pair_logits[cases] * 0
    )
    problem.loop.advance(problem.learner, problem.generation)


@pytest.mark.fault(75)
def test_held_out_cases_of_which_nothing_is_known_stop_nothing() -> None:
    problem = make_problem()
    image, mask = problem.loop.held_out(problem.learner.update)
    with patch.object(problem.loop, "held_out", lambda _: (image, torch.full_like(mask, IGNORE))):
        _, feedback = problem.loop.advance(problem.learner, problem.generation)
    assert feedback["held_out_loss"] == feedback["weights_norm"] == 0
    assert problem.generation.alive == []
    problem.loop.advance(problem.learner, problem.generation)
    assert len(problem.generation.alive) > 8


@pytest.mark.fault(75)
def test_a_batch_of_stage_one_of_which_nothing_is_known_has_no_indirect_term() -> None:
    problem = make_problem()
    hidden = [replace(case, mask=np.full_like(case.mask, IGNORE)) for case in problem.cases]
    with patch.object(problem.loop, "_cases", hidden):
        pairs = problem.loop.batch(problem.generation, problem.learner.update, is_steered=True).to_generate
    assert pairs is not None
    machine = problem.loop._machine
    measured, first = train_stage_one(problem.generation, *pairs, problem.plan, 0, machine, is_recorded=True)
    assert measured["l1"] == 0
    assert first is None


@pytest.mark.parametrize("update", [4, 6, 11])
def test_pairs_real_images_and_those_held_out_have_the_size_of_the_update(update: int) -> None:
    problem = make_problem(growing=0.75)
    size = (16, 16) if update < 6 else (32, 32)
    assert problem.plan.size_at(update) == size
    problem.learner.update = update
    modules = problem.learner.segmenter, problem.generation.translator, problem.generation.discriminator
    with _seen_by(*modules, problem.generation.translator.encoder) as seen:
        problem.loop.advance(problem.learner, problem.generation)
        examples = problem.loop.examples(problem.generation, update)
    assert {tuple(one.shape[2:]) for one in seen} == {size}
    images, others = [one for one in seen if one.shape[1] == 1], [one for one in seen if one.shape[1] != 1]
    assert len(images) >= 4 <= len(others)  # real, synthetic, held out, stage I
    assert {example.new_image.shape for example in examples} == {(1, *size)}


def test_styles_are_taken_anew_where_images_grow_and_every_so_often() -> None:
    loop = make_problem(growing=0.75, refresh=4).loop
    assert [update for update in range(12) if loop.takes_styles(update)] == [4, 6, 8]


def test_a_frozen_generator_was_trained_at_every_size() -> None:
    problem = make_problem(growing=0.75, method="separate")
    settings = settings_of(problem.plan).model_copy(update={"pretraining": 12})
    plan, groups = problem.plan.model_copy(update={"generation": settings}), [case.name for case in problem.cases]
    loop = JointLoop(problem.cases, groups, plan, 0, problem.loop._machine)
    problem.generation.pretrained = 0
    sizes = []
    for _ in range(12):
        with _seen_by(problem.generation.translator) as seen:
            loop.pretrain(problem.generation)
        sizes.append(seen[0].shape[2])
    assert sizes == [16] * 7 + [32, 16, 32, 16, 32]  # half, three quarters rounded up to 32, half, whole


def test_a_run_that_is_left_before_its_images_grow_goes_on_to_the_same_weights() -> None:
    problem = make_problem(growing=0.75)
    problem.learner.update = 5
    left = copy.deepcopy((problem.learner, problem.generation))
    ends = []
    for learner, generation in ((problem.learner, problem.generation), left):
        groups = [case.name for case in problem.cases]
        again = JointLoop(problem.cases, groups, problem.plan, 0, problem.loop._machine)
        loop = problem.loop if learner is problem.learner else again
        for _ in range(2):
            loop.advance(learner, generation)
        assert problem.plan.size_at(learner.update - 1) == (32, 32)
        ends.append([*learner.segmenter.parameters(), *generation.translator.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*ends, strict=True))


@contextmanager
def _made() -> Iterator[list[Pairs]]:
    """The pairs of every update."""
    pairs: list[Pairs] = []
    make = update_module.synthesise

    def watched(*given: Any) -> Pairs:
        pairs.append(make(*given))
        return pairs[-1]

    with patch.object(update_module, "synthesise", watched):
        yield pairs


@contextmanager
def _cut_rotation(cut: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Ranges of masks of which rotation is changed on its way to the masks."""
    values = MaskRanges.values
    with patch.object(MaskRanges, "values", lambda one: (all_ := values(one)) | {"rotation": cut(all_["rotation"])}):
        yield
