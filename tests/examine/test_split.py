"""Splits: by patient, near-duplicates and class, whatever the order of listing."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from genseg.errors import DataError, FaultCode, RunError, SettingsError
from genseg.examine.split import Split, declared_split, labelled_subset, make_folds, with_fewer
from genseg.index import Index
from genseg.read.case import CaseFiles


def case(name: str, patient: str | None = None, split: str | None = None) -> CaseFiles:
    return CaseFiles(name, (Path(f"{name}.png"),), Path(f"{name}_mask.png"), patient or name, split)


def index_of(cases: Sequence[CaseFiles], declared_order: bool = False) -> Index:
    return Index(Path("data"), "x", tuple(cases), None, None, "", (), (), 0, (), False, declared_order)


def by_patient(cases: Sequence[CaseFiles]) -> dict[str, str]:
    return {entry.name: entry.patient for entry in cases}


def names(count: int) -> list[CaseFiles]:
    return [case(f"case {number}") for number in range(count)]


def code_of(caught: pytest.ExceptionInfo[DataError]) -> FaultCode:
    return caught.value.faults[0].code


def test_declared_order_is_kept_train_before_val() -> None:
    cases = [case("z", split="train"), case("v", split="val"), case("a", split="train"), case("t", split="test")]
    index = index_of(cases, declared_order=True)
    assert [entry.name for entry in labelled_subset(index, None)] == ["z", "a", "v"]
    assert [entry.name for entry in labelled_subset(index, 2)] == ["z", "a"]


def test_undeclared_order_is_drawn_from_names_alone() -> None:
    cases = names(30)
    chosen = [entry.name for entry in labelled_subset(index_of(cases), 10)]
    assert chosen != [entry.name for entry in cases[:10]]
    assert chosen == [entry.name for entry in labelled_subset(index_of(cases[::-1]), 10)]
    assert chosen == [entry.name for entry in labelled_subset(index_of(cases), None)][:10]


def test_train_comes_before_val_in_a_drawn_order() -> None:
    cases = [case(f"{split}{number}", split=split) for split in ("val", "train") for number in range(5)]
    assert [entry.split for entry in labelled_subset(index_of(cases), None)] == ["train"] * 5 + ["val"] * 5


def test_cases_without_mask_are_no_labels() -> None:
    cases = [*names(3), replace(case("bare"), mask=None)]
    assert len(labelled_subset(index_of(cases), None)) == 3


@pytest.mark.parametrize("cases", [names(3), [case("t", split="test")]])
def test_fewer_labels_than_asked_for_stop(cases: list[CaseFiles]) -> None:
    with pytest.raises(DataError) as caught:
        labelled_subset(index_of(cases), 4)
    assert code_of(caught) is FaultCode.TOO_FEW_CASES


def test_only_test_cases_stop_without_a_count() -> None:
    with pytest.raises(DataError):
        labelled_subset(index_of([case("t", split="test")]), None)


def test_no_labels_at_all_is_an_impossible_setting() -> None:
    with pytest.raises(SettingsError, match="0"):
        labelled_subset(index_of(names(3)), 0)


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("count", "folds", "expected"), [(40, None, 5), (10, None, 5), (9, None, 9), (2, None, 2), (6, 3, 3)]
)
def test_number_of_folds(count: int, folds: int | None, expected: int) -> None:
    cases = names(count)
    splits = make_folds(cases, by_patient(cases), folds, 0, None)
    assert len(splits) == expected
    assert ("leave-one-out" in splits[0].method) == (expected == count)


def test_each_case_validates_once_and_trains_in_all_other_folds() -> None:
    cases = names(23)
    splits = make_folds(cases, by_patient(cases), None, 3, None)
    validated = Counter(name for split in splits for name in split.validation)
    assert validated == Counter(entry.name for entry in cases)
    assert {len(split.validation) for split in splits} == {4, 5}
    for split in splits:
        assert set(split.train) == {entry.name for entry in cases} - set(split.validation)


@pytest.mark.fault(38)
def test_order_of_listing_and_of_patients_changes_nothing() -> None:
    cases = [case(f"c{number}", f"p{number // 3}") for number in range(40)]
    stratify = {entry.name: frozenset({number % 3}) for number, entry in enumerate(cases)}
    shuffled = cases.copy()
    random.Random(1).shuffle(shuffled)
    renamed = {name: f"group {patient}" for name, patient in by_patient(shuffled).items()}
    first = make_folds(cases, by_patient(cases), 4, 7, stratify)
    assert first == make_folds(shuffled, renamed, 4, 7, dict(reversed(stratify.items())))
    assert first != make_folds(cases, by_patient(cases), 4, 8, stratify)


def test_patients_are_never_divided() -> None:
    cases = [case(f"c{number}", f"p{number % 7}") for number in range(30)]
    for split in make_folds(cases, by_patient(cases), 3, 0, None):
        patients = [
            {entry.patient for entry in cases if entry.name in part} for part in (split.train, split.validation)
        ]
        assert not patients[0] & patients[1]


def test_parts_of_unequal_patients_are_evened_out() -> None:
    cases = [case(f"p{patient} c{number}", f"p{patient}") for patient in range(12) for number in range(1 + patient)]
    splits = make_folds(cases, by_patient(cases), 4, 0, None)
    sizes = sorted(len(split.validation) for split in splits)
    assert sizes[-1] - sizes[0] <= 3


def test_test_cases_only_test() -> None:
    cases = [*names(12), case("t1", split="test"), case("t2", split="test")]
    for split in make_folds(cases, by_patient(cases), None, 0, None):
        assert split.test == ("t1", "t2")
        assert not {"t1", "t2"} & {*split.train, *split.validation}


@pytest.mark.fault(15)
def test_near_duplicates_of_test_cases_are_left_out_and_named() -> None:
    cases = [*names(12), case("t1", split="test")]
    groups = {**by_patient(cases), "case 3": "t1"}
    for split in make_folds(cases, groups, None, 0, None):
        assert split.left_out == ("case 3",)
        assert "case 3" not in {*split.train, *split.validation}


def test_a_patient_in_test_and_in_training_stops() -> None:
    cases = [case("a", "p1", "train"), case("b", "p2", "train"), case("c", "p1", "test"), case("d", "p3", "val")]
    with pytest.raises(DataError, match="p1") as caught:
        make_folds(cases, by_patient(cases), None, 0, None)
    (fault,) = caught.value.faults
    assert (fault.code, fault.found) == (FaultCode.SPLIT_LEAK, "1 patients in test and another part (p1: test, train)")


@pytest.mark.fault(58)
def test_a_guessed_patient_in_test_trains_not_and_stops_nothing() -> None:
    split_cases = [("a", "p1", "train"), ("b", "p2", "train"), ("c", "p1", "test"), ("d", "p3", "val")]
    cases = [replace(case(*one), patient_source="file names") for one in split_cases]
    for split in make_folds(cases, by_patient(cases), None, 0, None):
        assert split.left_out == ("a",)
        assert split.method.startswith("leave-one-out by patient (from file names); part ")
    declared = declared_split(cases)
    assert declared is not None
    assert declared.method == "as the dataset declares it; 1 patient in more than one part (from file names)"


@pytest.mark.fault(58)
def test_where_patients_are_not_known_no_split_claims_to_keep_them_together() -> None:
    assert make_folds(names(12), by_patient(names(12)), None, 0, None)[0].method == (
        "5-fold by image; patients not known; part 1 of 5"
    )
    declared = declared_split([case("a", split="train"), case("b", split="val")])
    assert declared is not None
    assert declared.method == "as the dataset declares it; patients not known"


@pytest.mark.fault(41)
@pytest.mark.parametrize(
    ("cases", "folds"),
    [
        (names(1), None),
        ([], None),
        ([case("a", "p"), case("b", "p"), case("c", "p")], None),
        (names(4), 5),
        ([case("a"), case("b", split="test")], None),
    ],
)
def test_too_few_patients_stop(cases: list[CaseFiles], folds: int | None) -> None:
    with pytest.raises(DataError) as caught:
        make_folds(cases, by_patient(cases), folds, 0, None)
    assert code_of(caught) is FaultCode.TOO_FEW_CASES


def test_one_fold_is_an_impossible_setting() -> None:
    with pytest.raises(SettingsError, match="folds"):
        make_folds(names(9), by_patient(names(9)), 1, 0, None)


@pytest.mark.fault(11)
@pytest.mark.parametrize("seed", range(20))
def test_a_class_of_two_patients_trains_in_every_fold(seed: int) -> None:
    cases = names(20)
    stratify = {entry.name: frozenset({1}) for entry in cases}
    stratify["case 3"] = stratify["case 11"] = frozenset({1, 2})
    stratify["case 5"] = stratify["case 12"] = frozenset({3})
    for split in make_folds(cases, by_patient(cases), 2, seed, stratify):
        assert {2, 3} <= set().union(*(stratify[name] for name in split.train))


@pytest.mark.parametrize("seed", range(10))
def test_rare_classes_are_shared_out_evenly(seed: int) -> None:
    cases = names(25)
    stratify = {e.name: frozenset({1, 2, 3} if n < 5 else {1, 2} if n < 10 else {1}) for n, e in enumerate(cases)}
    splits = make_folds(cases, by_patient(cases), 5, seed, stratify)
    for rare, count in ((3, 1), (2, 2), (1, 5)):
        assert [sum(rare in stratify[name] for name in split.validation) for split in splits] == [count] * 5


@pytest.mark.parametrize("seed", range(10))
def test_crossed_classes_are_shared_out_almost_evenly(seed: int) -> None:
    cases = names(40)
    stratify = {e.name: frozenset({number % 4, 4 + number % 5}) for number, e in enumerate(cases)}
    splits = make_folds(cases, by_patient(cases), 5, seed, stratify)
    for c in range(9):
        held = [sum(c in stratify[name] for name in split.validation) for split in splits]
        assert max(held) - min(held) <= 2


@pytest.mark.parametrize("seed", range(10))
def test_drawing_is_repeated_until_every_class_trains(seed: int) -> None:
    cases = names(5)
    classes = ({1, 4, 5}, {1, 3}, {2, 3}, {5}, {1, 2, 4})
    stratify = {entry.name: frozenset(present) for entry, present in zip(cases, classes, strict=True)}
    for split in make_folds(cases, by_patient(cases), 2, seed, stratify):
        assert set().union(*(stratify[name] for name in split.train)) == {1, 2, 3, 4, 5}


@pytest.mark.fault(11)
def test_a_class_of_one_patient_stops_and_is_named() -> None:
    cases = [case(f"c{number}", f"p{number // 2}") for number in range(12)]
    stratify = {entry.name: frozenset({1}) for entry in cases}
    stratify["c4"] = stratify["c5"] = frozenset({1, 2})
    with pytest.raises(DataError, match="'vessel' is in one patient only") as caught:
        make_folds(cases, by_patient(cases), None, 0, stratify, ["background", "organ", "vessel"])
    assert [fault.file for fault in caught.value.faults] == ["c4"]


@pytest.mark.fault(12)
def test_a_class_that_only_test_cases_have_stops() -> None:
    cases = [*names(12), case("t", split="test")]
    stratify = {entry.name: frozenset({1}) for entry in cases} | {"t": frozenset({1, 4})}
    with pytest.raises(DataError, match="class 4 is only in test cases") as caught:
        make_folds(cases, by_patient(cases), None, 0, stratify)
    assert code_of(caught) is FaultCode.CLASS_MISSING


@pytest.mark.fault(11)
def test_classes_that_no_drawing_can_share_out_stop() -> None:
    cases = names(3)
    stratify = {"case 0": frozenset({1, 2}), "case 1": frozenset({2, 3}), "case 2": frozenset({1, 3})}
    with pytest.raises(DataError, match="whichever way") as caught:
        make_folds(cases, by_patient(cases), 2, 0, stratify)
    assert code_of(caught) is FaultCode.CLASS_MISSING
    assert len(make_folds(cases, by_patient(cases), 3, 0, stratify)) == 3


def test_split_survives_json() -> None:
    split = Split(("a", "b"), ("c",), ("d",), "5-fold by patient, 1 of 5", ("e",))
    assert Split.from_json(json.loads(json.dumps(split.to_json()))) == split


def test_damaged_json_is_a_named_error() -> None:
    with pytest.raises(RunError, match="split"):
        Split.from_json({"train": ["a"]})


def _whole(cases: Sequence[CaseFiles], classes: dict[str, frozenset[int]]) -> Split:
    return make_folds(cases, by_patient(cases), 2, 0, classes)[0]


def test_fewer_training_cases_are_among_more_and_nothing_else_moves() -> None:
    cases = [case(f"case {number}", f"patient {number // 3}") for number in range(24)]
    classes = {entry.name: frozenset({1}) for entry in cases}
    whole = _whole(cases, classes)
    before: set[str] = set()
    for count in range(1, len(whole.train) + 1):
        fewer = with_fewer(whole, count, by_patient(cases), classes, 0)
        assert len(fewer.train) == count
        assert before < set(fewer.train) <= set(whole.train)
        assert sorted(fewer.train + fewer.left_out) == sorted(whole.train)
        assert (fewer.validation, fewer.folds) == (whole.validation, 2)
        assert f"{count} of {len(whole.train)} train" in fewer.method
        before = set(fewer.train)


def test_the_seed_draws_which_cases_stay() -> None:
    classes = {entry.name: frozenset({1}) for entry in names(20)}
    whole = _whole(names(20), classes)
    first, again, other = (with_fewer(whole, 4, by_patient(names(20)), classes, seed) for seed in (0, 0, 1))
    assert first == again != other


def test_rare_classes_are_there_first() -> None:
    classes = {entry.name: frozenset({1}) for entry in names(30)}
    classes |= {
        "case 7": frozenset({2}),
        "case 11": frozenset({2}),
        "case 23": frozenset({3}),
        "case 2": frozenset({3}),
    }
    whole = _whole(names(30), classes)
    fewer = with_fewer(whole, 3, by_patient(names(30)), classes, 0)
    assert frozenset().union(*(classes[name] for name in fewer.train)) == {1, 2, 3}
    with pytest.raises(SettingsError, match="2 found, too few for every class"):
        with_fewer(whole, 2, by_patient(names(30)), classes, 0)


@pytest.mark.parametrize("count", [0, 11, -1])
def test_an_impossible_number_of_training_cases_is_refused(count: int) -> None:
    classes = {entry.name: frozenset({1}) for entry in names(20)}
    with pytest.raises(SettingsError, match=f"training_cases: {count} found; 10 cases can train"):
        with_fewer(_whole(names(20), classes), count, by_patient(names(20)), classes, 0)
