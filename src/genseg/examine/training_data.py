"""A dataset that was read, checked, split and planned: what a training begins with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from genseg.config import Plan
from genseg.examine.check import Examination
from genseg.examine.duplicates import group_cases
from genseg.examine.split import Split
from genseg.read.case import Case


@dataclass(frozen=True)
class TrainingData:
    """A dataset ready to be trained on."""

    examination: Examination
    split: Split
    plan: Plan

    def cases(self, names: tuple[str, ...]) -> Sequence[Case]:
        """The cases of these names; those that are not kept in memory are read on access."""
        return self.examination.cases.select(names)

    def groups(self) -> list[str]:
        """The group of each training case; see `groups_of`."""
        return groups_of(self.examination, self.split.train)


def groups_of(examination: Examination, names: Sequence[str]) -> list[str]:
    """What must stay on one side of every split, for each of these cases: its patient and near-duplicates."""
    groups = group_cases(examination.cases.entries, examination.duplicates)
    return [groups[name] for name in names]
