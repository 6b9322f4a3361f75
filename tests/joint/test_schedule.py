"""Cases are held out until they join the training cases, and never again."""

from __future__ import annotations

import itertools

import pytest
from joint_problem import make_problem

from genseg.errors import SettingsError
from genseg.joint.generation import settings_of
from genseg.joint.loop import JointLoop
from genseg.joint.schedule import HeldOutSchedule

GROUPS = ["a", "b", "a", "c", "d", "c", "e", "f", "g"]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_patients_join_one_after_the_other_and_stay(share: float) -> None:
    schedule = HeldOutSchedule(GROUPS, share, until=40, seed=0)
    held_out = [set(schedule.held_out(update)) for update in range(40)]
    assert all(after <= before for before, after in itertools.pairwise(held_out))
    assert len({GROUPS[case] for case in held_out[0]}) == schedule.most == max(1, round(7 * share))
    assert all(held_out)
    lengths = [len({GROUPS[case] for case in one}) for one in held_out]
    assert sorted(set(lengths), reverse=True) == list(range(schedule.most, 0, -1))


def test_a_patient_is_held_out_as_a_whole() -> None:
    schedule = HeldOutSchedule(GROUPS, 0.5, until=10, seed=0)
    for update in range(12):
        out = schedule.held_out(update)
        assert sorted(schedule.training(update) + out) == list(range(len(GROUPS)))
        assert not {GROUPS[case] for case in out} & {GROUPS[case] for case in schedule.training(update)}


def test_in_the_end_nobody_is_held_out() -> None:
    schedule = HeldOutSchedule(GROUPS, 0.3, until=6, seed=0)
    assert schedule.held_out(5)
    assert schedule.held_out(6) == []
    assert schedule.training(6) == list(range(len(GROUPS)))


def test_one_patient_at_least_trains_from_the_start() -> None:
    assert HeldOutSchedule(["a", "b", "b"], 0.99, until=100, seed=0).most == 1
    assert HeldOutSchedule(["a", "a"], 0.5, until=100, seed=0).held_out(0) == []


def test_nobody_is_held_out_where_nothing_is_sought() -> None:
    assert HeldOutSchedule(GROUPS, 0.3, until=0, seed=0).held_out(0) == []


def test_the_seed_decides_who_is_held_out() -> None:
    first, again, other = (HeldOutSchedule(GROUPS, 0.3, until=100, seed=seed).held_out(0) for seed in (0, 0, 1))
    assert first == again != other


def test_one_patient_alone_cannot_be_held_out() -> None:
    problem = make_problem()
    groups, machine = ["a"] * len(problem.cases), problem.loop._machine
    with pytest.raises(SettingsError, match="needs two or more"):
        JointLoop(problem.cases, groups, problem.plan, 0, machine)
    frozen = settings_of(problem.plan).model_copy(update={"method": "separate"})
    JointLoop(problem.cases, groups, problem.plan.model_copy(update={"generation": frozen}), 0, machine)
