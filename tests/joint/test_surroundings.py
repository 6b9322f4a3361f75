"""Unlabelled images lend their surroundings to pairs, and nothing else to the generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from joint_problem import blob_cases, make_problem, tiny_networks
from torch import Tensor

from genseg.compute.device import choose_machine
from genseg.joint.generation import VIEWS, Generation, begin_generation
from genseg.joint.loop import JointLoop
from genseg.joint.patches import MOST_SURROUNDINGS, surroundings_of
from genseg.joint.source import PairSource
from genseg.prepare.preprocess import Prepared
from genseg.read.case import IGNORE

LENT = 3


def _unlabelled() -> list[Prepared]:
    """Images with predicted masks, which are unsure along one side."""
    found = []
    for case in blob_cases(2)[:LENT]:
        mask = case.mask.copy()  # type: ignore[union-attr]
        mask[:, :5] = IGNORE
        found.append(replace(case, name=f"unlabelled/{case.name}", image=case.image + 0.1, mask=mask))
    return found


def _problem(unlabelled: list[Prepared]) -> tuple[JointLoop, Generation, Any]:
    problem, machine = make_problem(), choose_machine("cpu", "float32")
    plan = problem.plan.model_copy(update={"unlabelled_share": 0.5})
    labelled, further = ([_single(case) for case in some] for some in (problem.cases, unlabelled))
    with tiny_networks():
        loop = JointLoop(labelled, [case.name for case in labelled], plan, 0, machine, further)
        generation = begin_generation(plan, len(labelled), 0, machine, len(further))
    loop._take_styles(generation, 0)
    return loop, generation, problem


def _single(case: Prepared) -> Prepared:
    return replace(case, image=case.image.astype(np.float32))


def _around(generation: Generation) -> Tensor:
    """What is kept of the surroundings of the unlabelled images."""
    return generation.steered.styles.mean[-LENT:, :, 0]


def test_pairs_are_made_from_labelled_masks_in_surroundings_of_both() -> None:
    loop, generation, problem = _problem(_unlabelled())
    labelled = len(problem.cases)
    drawn = set[int]()
    for update in range(12):
        batch = loop.batch(generation, update, is_steered=False)
        new, training = batch.new_masks, loop.schedule.training(update)
        assert set(new.parents) <= set(training)
        assert list(new.cases) == [*training, *range(labelled, labelled + LENT)]
        centres = torch.zeros(len(new.mask), 2)
        around, views = generation.steered.styles._surroundings(centres, list(new.cases), batch.draws)
        drawn |= set(around.tolist())
        assert all(view in range(VIEWS) for view in views.tolist())
    assert drawn & set(range(labelled))
    assert drawn & set(range(labelled, labelled + LENT))


def test_what_is_or_might_be_an_object_lends_nothing() -> None:
    unlabelled = _unlabelled()
    changed = []
    for case in unlabelled:
        image = case.image.copy()
        image[:, case.mask != 0] = 0.9
        changed.append(replace(case, image=image))
    before, after = (_around(_problem(some)[1]) for some in (unlabelled, changed))
    assert torch.equal(before, after)
    brighter = [replace(case, image=case.image + 0.2) for case in unlabelled]
    assert not torch.equal(before, _around(_problem(brighter)[1]))


def test_stage_one_and_held_out_images_are_labelled_ones() -> None:
    unlabelled = [replace(case, image=np.full_like(case.image, 1e3)) for case in _unlabelled()]
    loop, generation, _ = _problem(unlabelled)
    for update in range(4):
        batch = loop.batch(generation, update, is_steered=True)
        for pairs in (batch.to_generate, batch.held_out):
            assert pairs is not None
            assert pairs[0].abs().max() < 100
        assert (batch.real[0].abs().amax((1, 2, 3)) > 100).tolist() == [False, True]


def test_what_a_run_leaves_behind_makes_the_same_pairs_and_tells_copies_of_the_unlabelled() -> None:
    loop, generation, problem = _problem(_unlabelled())
    source, machine = loop.source(generation, []), choose_machine("cpu", "float32")
    assert list(source.names[-LENT:]) == [case.name for case in _unlabelled()]
    assert len(source.copies.training) == len(source.names) == len(problem.cases) + LENT
    assert len(set(source.copies.groups)) == len(source.names)
    with tiny_networks():
        again = PairSource.restore(source.tensors(), source.describe(), problem.plan, machine)
    made = [one.make(3, problem.plan, machine, 0, 0).plain for one in (source, again)]
    assert torch.equal(made[0], made[1])


@pytest.mark.parametrize(("count", "used"), [(0, 0), (5, 5), (32, 32), (33, 17), (300, 30)])
def test_no_more_than_so_many_are_used_spread_evenly(count: int, used: int) -> None:
    found = surroundings_of(list(range(count)))  # type: ignore[arg-type]
    assert len(found) == used <= MOST_SURROUNDINGS
    assert used == 0 or (found[0] == 0 and found[-1] > 0.9 * (count - 1))
