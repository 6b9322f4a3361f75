"""Which cases train and which judge.

Everything that belongs together (one patient, or near-duplicate images) stays on one side, as far as patients are
known; a split says how they are known. The order of cases is drawn from a hash of seed and name: the same on every
machine and for every order of listing, and a new case does not move the others.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genseg.base.records import fitted
from genseg.errors import DataError, Fault, FaultCode, SettingsError
from genseg.index import Index
from genseg.index.leaks import shared_patients, split_leaks
from genseg.read.case import CaseFiles, by_patient, patients_known_from

DEFAULT_FOLDS = 5
LEAVE_ONE_OUT_BELOW = 10
"""With fewer groups than this, each is held out in turn: folds of one or two cases would all differ in size."""

_ATTEMPTS = 64
_POOL = ("train", "val")

Groups = dict[str, list[CaseFiles]]
Classes = Mapping[str, frozenset[int]]


@dataclass(frozen=True)
class Split:
    """Names of cases by use, each sorted. `method` says in words how they were chosen, and how patients are known.

    left_out: cases that neither train nor judge: near-duplicates of test cases, or more than shall train. folds: how
    many such splits there are, in which each case is held out once; 1 where the dataset declares its own.
    """

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    method: str
    left_out: tuple[str, ...] = ()
    folds: int = 1

    def to_json(self) -> dict[str, Any]:
        """The split as lists and strings."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], origin: str = "the stored split") -> Split:
        """The split that `to_json` wrote. Raises RunError for anything else."""
        return fitted(cls, data, origin, "restore the folder from a copy")


def labelled_subset(index: Index, count: int | None) -> list[CaseFiles]:
    """The first `count` labelled cases that may train, all for None.

    Cases of a split "train" come before those of "val"; "test" is never among them. Within these the order is the data
    set's own where it declares one, else drawn with seed 0.

    Raises SettingsError for a count below 1, DataError(TOO_FEW_CASES) where there are fewer.
    """
    if count is not None and count < 1:
        raise SettingsError(f"labels: {count} found, a number from 1 up expected")
    fixed = any(case.split for case in index.entries)
    pool = [case for case in index.entries if case.mask is not None and (not fixed or case.split in _POOL)]
    if not index.declared_order:
        pool.sort(key=lambda case: _rank("0", case.name))
    pool.sort(key=lambda case: case.split == "val")
    if not pool or (count is not None and len(pool) < count):
        found = f"{len(pool)} labelled cases that may train"
        cure = "Label more, ask for fewer, or move cases from test to train."
        raise DataError([Fault(FaultCode.TOO_FEW_CASES, str(index.root), found, f"at least {count or 1}", cure)])
    return pool[:count]


def declared_split(cases: Sequence[CaseFiles]) -> Split | None:
    """The split that the dataset fixes itself, or None where it names no training or no validation cases.

    Raises DataError with SPLIT_LEAK where a patient, known from a list, is both in test and outside.
    """
    parts = {part: tuple(sorted(c.name for c in cases if c.split == part)) for part in (*_POOL, "test")}
    if not (parts["train"] and parts["val"]):
        return None
    _stop_shared_patients(cases)
    method = f"as the dataset declares it; {_patients_in_parts(cases)}"
    return Split(parts["train"], parts["val"], parts["test"], method)


def _patients_in_parts(cases: Sequence[CaseFiles]) -> str:
    """Whether the parts of a declared split share patients, in words."""
    source = patients_known_from(cases)
    if not source:
        return "patients not known"
    shared = len(shared_patients(case for case in cases if case.patient_source))
    return f"{shared or 'no'} {'patient' if shared == 1 else 'patients'} in more than one part (from {source})"


def make_folds(
    cases: Sequence[CaseFiles],
    groups: Mapping[str, str],
    folds: int | None,
    seed: int,
    stratify: Classes | None,
    class_names: Sequence[str] | None = None,
) -> list[Split]:
    """Splits in which each group is held out for validation exactly once; the first is the usual one for a single run.

    cases: those to share out. Cases of the split "test" are the test part of every split and nothing else; train and
        val of the dataset are one pool.
    groups: case name -> group that must stay together (`group_cases`).
    folds: None takes 5, or one for each group (leave-one-out) where there are fewer than 10.
    stratify: case name -> classes present in its mask. Every class is then in the train part of every split.
    class_names: for messages only.

    Raises SettingsError for fewer than 2 folds; DataError with TOO_FEW_CASES (fewer than two groups, or fewer than
    folds), CLASS_MISSING (naming the class), SPLIT_LEAK (a patient, known from a list, both in test and outside).
    """
    if folds is not None and folds < 2:
        raise SettingsError(f"folds: {folds} found, a number from 2 up expected")
    test = [case for case in cases if case.split == "test"]
    _stop_shared_patients(cases)
    pool, left_out = _apart_from_test(cases, test, groups)
    _stop_too_few(pool, folds)
    classes = {case.name: (stratify or {}).get(case.name, frozenset()) for case in cases}
    _stop_missing_classes(pool, test, classes, class_names)
    count = folds or (len(pool) if len(pool) < LEAVE_ONE_OUT_BELOW else DEFAULT_FOLDS)
    parts = _share_out(pool, count, seed, classes, class_names)
    method = f"{'leave-one-out' if count == len(pool) else f'{count}-fold'} {by_patient(cases)}"
    return [_split(parts, number, test, left_out, method) for number in range(count)]


def nothing_held_out(cases: Sequence[CaseFiles], groups: Mapping[str, str]) -> Split:
    """The split in which all cases train but those of test. groups: as `groups` of `make_folds`.

    Raises DataError with TOO_FEW_CASES where there is none, SPLIT_LEAK as `make_folds`.
    """
    test = [case for case in cases if case.split == "test"]
    _stop_shared_patients(cases)
    pool, left_out = _apart_from_test(cases, test, groups)
    _stop_too_few(pool, 1)
    return Split(
        train=tuple(sorted(case.name for group in pool.values() for case in group)),
        validation=(),
        test=tuple(sorted(case.name for case in test)),
        method=f"all labelled cases train, none is held out; {by_patient(cases)}",
        left_out=tuple(sorted(left_out)),
    )


def with_fewer(split: Split, count: int, groups: Mapping[str, str], classes: Classes, seed: int) -> Split:
    """The split with `count` of its training cases, those of fewer among those of more.

    Patients come in an order drawn by `seed`, those who bring a class that is not there yet first. groups, classes: as
    `groups` and `stratify` of `make_folds`. Raises SettingsError where there are not so many training cases, or so few
    lack a class.
    """
    if not 1 <= count <= len(split.train):
        raise SettingsError(f"training_cases: {count} found; {len(split.train)} cases can train")
    waiting: dict[str, list[str]] = defaultdict(list)
    for name in split.train:
        waiting[groups[name]].append(name)
    present = {group: frozenset().union(*(classes[name] for name in names)) for group, names in waiting.items()}
    wanted = frozenset().union(*present.values())
    taken: list[str] = []
    while len(taken) < count:
        group = min(waiting, key=lambda one: (-len(present[one] & wanted), _rank(f"{seed}/fewer", waiting[one][0])))
        wanted -= present[group]
        taken += waiting.pop(group)
    kept = taken[:count]
    if frozenset().union(*(classes[name] for name in kept)) != frozenset().union(*present.values()):
        raise SettingsError(f"training_cases: {count} found, too few for every class to be among them; take more")
    return replace(
        split,
        train=tuple(sorted(kept)),
        method=f"{split.method}; {count} of {len(split.train)} train",
        left_out=tuple(sorted({*split.left_out, *split.train} - {*kept})),
    )


def _split(parts: list[list[str]], number: int, test: list[CaseFiles], left_out: list[str], method: str) -> Split:
    """The split that validates on one part and trains on the others."""
    return Split(
        train=tuple(sorted(name for other, part in enumerate(parts) if other != number for name in part)),
        validation=tuple(sorted(parts[number])),
        test=tuple(sorted(case.name for case in test)),
        method=f"{method}; part {number + 1} of {len(parts)}",
        left_out=tuple(sorted(left_out)),
        folds=len(parts),
    )


def _apart_from_test(
    cases: Iterable[CaseFiles], test: Iterable[CaseFiles], groups: Mapping[str, str]
) -> tuple[Groups, list[str]]:
    """The groups that hold no test case, and the names of the cases in those that do."""
    taken = {groups[case.name] for case in test}
    pool: Groups = defaultdict(list)
    left_out = []
    for case in sorted((case for case in cases if case.split != "test"), key=lambda case: case.name):
        if groups[case.name] in taken:
            left_out.append(case.name)
        else:
            pool[groups[case.name]].append(case)
    return pool, left_out


def _share_out(
    pool: Groups, count: int, seed: int, classes: Classes, class_names: Sequence[str] | None
) -> list[list[str]]:
    """Parts of about equal size and equal shares of the classes, no class being wholly in one part.

    Raises DataError(CLASS_MISSING) where several drawings do not find such parts.
    """
    for attempt in range(_ATTEMPTS):
        parts = _draw_parts(pool, count, f"{seed}/{attempt}", classes)
        present = [set().union(*(classes[name] for name in part)) for part in parts]
        everywhere = set().union(*present)
        lacking = {c for number in range(count) for c in everywhere - set().union(*_others(present, number))}
        if not lacking:
            return parts
    found = f"{_class_list(lacking, class_names)} lies wholly in one of {count} folds, whichever way they are drawn"
    cure = "Use more folds, or label more cases of this class."
    raise DataError([Fault(FaultCode.CLASS_MISSING, "the dataset", found, "every class in every train part", cure)])


def _others(parts: list[set[int]], number: int) -> list[set[int]]:
    return parts[:number] + parts[number + 1 :]


def _draw_parts(pool: Groups, count: int, seed: str, classes: Classes) -> list[list[str]]:
    """Give out the groups one by one, those with rare classes and large ones first, each to the part that has the
    smallest share of its classes (the background counts as a class, so that sizes are evened out too).

    After the iterative stratification of Sechidis et al., On the stratification of multi-label data, 2011.
    """
    held = {group: Counter(c for case in cases for c in {-1, *classes[case.name]}) for group, cases in pool.items()}
    total = sum(held.values(), Counter())
    order = sorted(pool, key=lambda g: (min(total[c] for c in held[g]), -len(pool[g]), _rank(seed, pool[g][0].name)))
    parts: list[list[str]] = [[] for _ in range(count)]
    given: list[Counter[int]] = [Counter() for _ in range(count)]
    for group in order:
        shares = [sum(part[c] / total[c] for c in held[group]) for part in given]
        chosen = min(range(count), key=lambda number: (shares[number], len(parts[number])))
        parts[chosen] += [case.name for case in pool[group]]
        given[chosen] += held[group]
    return parts


def _rank(seed: str, name: str) -> str:
    """Where a name comes in the order of a seed."""
    return hashlib.sha256(f"{seed}\0{name}".encode(errors="surrogatepass")).hexdigest()


def _stop_too_few(pool: Groups, folds: int | None) -> None:
    wanted = folds or 2
    if len(pool) < wanted:
        cases = sum(map(len, pool.values()))
        found = f"{len(pool)} separate patients ({cases} cases) that may train"
        cure = "Label scans of more patients, or use fewer folds."
        expected = f"at least {wanted}" + (", to hold one out while the others train" if wanted > 1 else "")
        raise DataError([Fault(FaultCode.TOO_FEW_CASES, "the dataset", found, expected, cure)])


def _stop_shared_patients(cases: Iterable[CaseFiles]) -> None:
    stops = [fault for fault in split_leaks(cases, Path("the dataset")) if fault.stops]
    if stops:
        raise DataError(stops)


def _stop_missing_classes(
    pool: Groups, test: Iterable[CaseFiles], classes: Classes, class_names: Sequence[str] | None
) -> None:
    """Raise for each class that only test cases have, or that only one group has (held out, none would train)."""
    holders: dict[int, list[str]] = defaultdict(list)
    for cases in pool.values():
        for c in sorted(set().union(*(classes[case.name] for case in cases))):
            holders[c].append(cases[0].name)
    tested = {c: case.name for case in sorted(test, key=lambda case: case.name) for c in sorted(classes[case.name])}
    found = {c: (case, "only in test cases") for c, case in tested.items() if c not in holders}
    found |= {c: (names[0], "in one patient only") for c, names in holders.items() if len(names) == 1}
    expected = "every class in at least two patients outside test"
    cure = "Label more cases of this class, join it with another, or leave these cases out."
    if found:
        raise DataError(
            Fault(FaultCode.CLASS_MISSING, case, f"{_class_list([c], class_names)} is {where}", expected, cure)
            for c, (case, where) in sorted(found.items())
        )


def _class_list(classes: Iterable[int], names: Sequence[str] | None) -> str:
    named = [repr(names[c]) if names and c < len(names) else str(c) for c in sorted(classes)]
    return f"class {', '.join(named)}"
