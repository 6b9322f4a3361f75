"""Turns of being held out."""

from __future__ import annotations

import pytest
from joint_problem import make_problem

from genseg.errors import SettingsError
from genseg.joint.folds import RotatingFolds
from genseg.joint.loop import JointLoop

GROUPS = ["a", "b", "a", "c", "d", "c", "e", "f", "g"]


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_every_case_is_held_out_once_in_a_round_and_patients_stay_together(folds: int) -> None:
    turns = RotatingFolds(GROUPS, folds, every=5, until=100, seed=0)
    assert len(turns) == folds
    held_out = [turns.held_out(5 * turn) for turn in range(folds)]
    assert sorted(case for fold in held_out for case in fold) == list(range(len(GROUPS)))
    for fold in held_out:
        inside = {GROUPS[case] for case in fold}
        assert all(case in fold for case, group in enumerate(GROUPS) if group in inside)


def test_training_cases_are_all_the_others() -> None:
    turns = RotatingFolds(GROUPS, 3, every=2, until=100, seed=0)
    for update in range(12):
        assert sorted(turns.training(update) + turns.held_out(update)) == list(range(len(GROUPS)))


def test_a_turn_lasts_as_long_as_asked_and_comes_again() -> None:
    turns = RotatingFolds(GROUPS, 3, every=4, until=100, seed=0)
    assert [turns.turn(update) for update in range(16)] == [0] * 4 + [1] * 4 + [2] * 4 + [0] * 4


def test_in_the_end_nobody_is_held_out() -> None:
    turns = RotatingFolds(GROUPS, 3, every=4, until=6, seed=0)
    assert turns.held_out(5)
    assert turns.held_out(6) == []
    assert turns.training(6) == list(range(len(GROUPS)))


def test_there_are_no_more_turns_than_patients() -> None:
    assert len(RotatingFolds(["a", "b", "b"], 4, every=1, until=100, seed=0)) == 2


def test_the_seed_decides_who_is_together() -> None:
    first, again, other = (RotatingFolds(GROUPS, 3, every=1, until=100, seed=seed).held_out(0) for seed in (0, 0, 1))
    assert first == again != other


def test_one_patient_alone_cannot_be_held_out() -> None:
    problem = make_problem()
    settings, machine = problem.plan.generation, problem.loop._machine
    assert settings is not None
    with pytest.raises(SettingsError, match="needs two or more"):
        JointLoop(problem.cases, ["a"] * len(problem.cases), problem.plan, settings, 0, machine)
    frozen = settings.model_copy(update={"arm": "separate"})
    JointLoop(problem.cases, ["a"] * len(problem.cases), problem.plan, frozen, 0, machine)
