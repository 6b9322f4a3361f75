"""Splits, for any number of patients, cases, classes and folds."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genseg.errors import DataError, FaultCode, SettingsError
from genseg.examine.split import Split, labelled_subset, make_folds, with_fewer
from genseg.index import Index
from genseg.read.case import CaseFiles


@dataclass(frozen=True)
class Problem:
    """What there is to split. classes: of each case, by name."""

    cases: tuple[CaseFiles, ...]
    classes: dict[str, frozenset[int]]
    folds: int | None
    seed: int

    @property
    def groups(self) -> dict[str, str]:
        return {case.name: case.patient for case in self.cases}

    def split(self, cases: Sequence[CaseFiles] | None = None) -> list[Split]:
        return make_folds(cases or self.cases, self.groups, self.folds, self.seed, self.classes)

    def names(self, *, test: bool) -> list[str]:
        return sorted(case.name for case in self.cases if (case.split == "test") == test)


@st.composite
def problems(draw: st.DrawFn, least: int = 2) -> Problem:
    """Patients of one to four cases each; some of them are test patients."""
    patients = draw(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=least, max_size=24))
    cases = [
        CaseFiles(f"p{patient} c{number}", (Path("a.png"),), Path("m.png"), f"p{patient}", "test" if test else None)
        for patient, (count, test) in enumerate(patients)
        for number in range(count)
    ]
    present = st.frozensets(st.integers(0, 3), max_size=3)
    classes = {case.name: draw(present) | {0} for case in cases}
    return Problem(tuple(cases), classes, draw(st.none() | st.integers(2, 8)), draw(st.integers(0, 2**32)))


def folds_of(problem: Problem) -> list[Split]:
    """The folds; none where the problem is refused, for one of the two reasons there may be."""
    try:
        return problem.split()
    except DataError as error:
        if {fault.code for fault in error.faults} <= {FaultCode.TOO_FEW_CASES, FaultCode.CLASS_MISSING}:
            return []
        raise


@given(problems())
def test_every_case_that_may_train_is_held_out_once(problem: Problem) -> None:
    folds = folds_of(problem)
    for split in folds:
        assert sorted(split.train + split.validation) == problem.names(test=False)
        assert list(split.test) == problem.names(test=True)
        assert split.train
        assert split.validation
        assert split.folds == len(folds)
    held_out = Counter(name for split in folds for name in split.validation)
    assert not folds or held_out == Counter(problem.names(test=False))


@given(problems())
def test_no_patient_is_on_two_sides(problem: Problem) -> None:
    for split in folds_of(problem):
        sides = [{problem.groups[name] for name in side} for side in (split.train, split.validation, split.test)]
        assert sum(map(len, sides)) == len(set().union(*sides))


@given(problems())
def test_every_class_is_in_every_train_part(problem: Problem) -> None:
    everywhere = set().union(*(problem.classes[name] for name in problem.names(test=False)))
    for split in folds_of(problem):
        assert set().union(*(problem.classes[name] for name in split.train)) == everywhere


@given(problems(), st.randoms(use_true_random=False))
def test_the_seed_alone_decides_whatever_the_order_of_listing(problem: Problem, draw: Any) -> None:
    shuffled = draw.sample(problem.cases, len(problem.cases))
    folds = folds_of(problem)
    if folds:
        assert problem.split(shuffled) == folds == problem.split()


@given(problems(), st.data())
def test_what_is_near_to_a_test_case_is_left_out(problem: Problem, data: st.DataObject) -> None:
    tests, others = problem.names(test=True), problem.names(test=False)
    if not tests or not others:
        return
    groups, near = problem.groups, data.draw(st.sampled_from(others))
    together = {groups[near], groups[data.draw(st.sampled_from(tests))]}
    groups = {name: "together" if group in together else group for name, group in groups.items()}
    try:
        folds = make_folds(problem.cases, groups, problem.folds, problem.seed, None)
    except DataError:
        return
    for split in folds:
        assert near in split.left_out
        assert not {groups[name] for name in split.test} & {groups[name] for name in split.train + split.validation}
        assert sorted(split.train + split.validation + split.left_out) == others


@given(problems(), st.data())
def test_a_patient_in_test_and_outside_stops(problem: Problem, data: st.DataObject) -> None:
    tests = problem.names(test=True)
    if not tests:
        return
    tested = problem.groups[data.draw(st.sampled_from(tests))]
    leak = CaseFiles("leak", (Path("a.png"),), Path("m.png"), tested)
    groups = {**problem.groups, "leak": "leak"}
    with pytest.raises(DataError) as caught:
        make_folds((*problem.cases, leak), groups, problem.folds, problem.seed, None)
    assert [fault.code for fault in caught.value.faults] == [FaultCode.SPLIT_LEAK]


@given(problems(least=6), st.integers(0, 2**32))
def test_fewer_training_cases_are_among_those_of_more(problem: Problem, seed: int) -> None:
    for split in folds_of(problem)[:1]:
        last: frozenset[str] = frozenset()
        for count in range(1, len(split.train) + 1):
            try:
                fewer = with_fewer(split, count, problem.groups, problem.classes, seed)
            except SettingsError:
                assert not last, "too few for all classes, where fewer were enough"
                continue
            assert last < set(fewer.train) <= set(split.train)
            assert len(fewer.train) == count
            assert (fewer.validation, fewer.test) == (split.validation, split.test)
            assert sorted(fewer.train + fewer.left_out) == sorted(split.train + split.left_out)
            last = frozenset(fewer.train)
        assert last == set(split.train)


@given(problems(), st.randoms(use_true_random=False))
def test_first_labels_are_among_more_whatever_the_order(problem: Problem, draw: Any) -> None:
    if not problem.names(test=False):
        return
    shuffled = draw.sample(problem.cases, len(problem.cases))
    whole = _subset(problem.cases, None)
    assert sorted(whole) == problem.names(test=False) or not problem.names(test=True)
    for count in range(1, len(whole) + 1):
        assert _subset(shuffled, count) == whole[:count]


def _subset(cases: Sequence[CaseFiles], count: int | None) -> list[str]:
    marked = [
        case if case.split else CaseFiles(case.name, case.images, case.mask, case.patient, "train") for case in cases
    ]
    index = Index(Path("data"), "x", tuple(marked), None, None, "", (), (), 0, (), False, False)
    return [case.name for case in labelled_subset(index, count)]


@given(problems())
def test_splits_survive_json(problem: Problem) -> None:
    for split in folds_of(problem):
        assert Split.from_json(json.loads(json.dumps(split.to_json()))) == split
