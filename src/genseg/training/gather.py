"""From a dataset on disk to what a run trains on: cases examined, split and planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genseg.base.progress import Progress
from genseg.compute.device import Machine
from genseg.config import Plan, Settings
from genseg.errors import SettingsError
from genseg.examine.cases import LoadOptions
from genseg.examine.check import Examination, examine
from genseg.examine.duplicates import group_cases
from genseg.examine.split import (
    Split,
    declared_split,
    labelled_subset,
    make_folds,
    nothing_held_out,
    with_fewer,
)
from genseg.examine.training_data import TrainingData, groups_of
from genseg.index import index_dataset
from genseg.read import ReadOptions
from genseg.read.case import Case, CaseFiles
from genseg.training.planning import check_plan, make_plan


def examine_for_training(data: Path, settings: Settings, progress: Progress) -> Examination:
    """Read and judge the labelled cases that may train; test cases are not opened.

    Raises DataError with every fault found.
    """
    index = index_dataset(data, unlabelled=settings.unlabelled)
    names = [files.name for files in labelled_subset(index, settings.labels)]
    options = LoadOptions(
        ReadOptions(settings.pages, settings.nan_to, tilt=settings.tilt),
        settings.mask_repair,
        settings.unlabelled,
        settings.instances,
    )
    return examine(index, options, names=names, progress=lambda done, total: progress("Reading", done, total))


def gather(data: Path, settings: Settings, plan: Plan | None, machine: Machine, progress: Progress) -> TrainingData:
    """Examine, split and plan. A `plan` that is given is kept, once it is found to fit data and settings.

    Raises DataError for faults of the data, SettingsError for settings or a plan that do not fit them.
    """
    examination = examine_for_training(data, settings, progress)
    split = choose_split(examination, settings)
    patients = len(set(groups_of(examination, split.train)))
    # A plan that is given has had its time.
    asked = settings if plan is None else settings.model_copy(update={"time": None})
    derived = make_plan(examination.statistics, examination.labels, asked, machine, patients)
    if plan is not None:
        check_plan(plan, derived, settings)
    return TrainingData(examination, split, plan or derived)


def choose_split(examination: Examination, settings: Settings) -> Split:
    """The dataset's own split where it has one and nothing else is asked for; else as `settings.fold` says."""
    read = set(examination.cases.names)
    test = [files for files in examination.index.entries if files.split == "test" and files.name not in read]
    cases: list[CaseFiles] = [*examination.cases.entries, *test]
    groups = group_cases(cases, examination.duplicates)
    present = {case.name: _classes_in(case) for case in examination.cases}
    split = _whole_split(cases, groups, present, examination.labels.names, settings)
    if settings.training_cases is None:
        return split
    return with_fewer(split, settings.training_cases, groups, present, settings.seed)


def own_split(cases: Sequence[CaseFiles], settings: Settings) -> Split | None:
    """The split that the dataset declares; None where it declares none, or something else is asked for."""
    is_asked = settings.labels is not None or settings.folds is not None or settings.fold != 0
    return None if is_asked else declared_split(cases)


def _whole_split(
    cases: Sequence[CaseFiles],
    groups: Mapping[str, str],
    present: Mapping[str, frozenset[int]],
    names: Sequence[str],
    settings: Settings,
) -> Split:
    if settings.fold == "all":
        return nothing_held_out(cases, groups)
    own = own_split(cases, settings)
    if own is not None:
        return own
    folds = make_folds(cases, groups, settings.folds, settings.seed, present, names)
    if settings.fold >= len(folds):
        raise SettingsError(f"fold: {settings.fold} found, but there are {len(folds)} folds, numbered from 0")
    return folds[settings.fold]


def _classes_in(case: Case) -> frozenset[int]:
    return frozenset() if case.mask is None else frozenset(np.unique(case.mask[case.mask > 0]).tolist())
