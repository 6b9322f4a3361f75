"""What a change of training brings: two trainings of every fold, judged on the same held-out cases.

All figures are means over patients, each the mean over its cases, since scans of one patient are no independent
witnesses; where patients are not known, `by` says so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from genseg.errors import RunError
from genseg.evaluate import PairedDifference, paired_bootstrap

EFFECTS = {
    1: "{} help on this dataset",
    0: "{}: no detectable difference on this dataset",
    -1: "{} harm on this dataset",
}
"""The verdict by the side of 0 that the interval lies on."""


@dataclass(frozen=True)
class Paired:
    """Mean Dice with the change and without it, over patients, and the difference with its interval.

    cases: how many there are. by: the unit that folds kept together, in words; see `by_patient`.
    """

    changed: float
    unchanged: float
    difference: PairedDifference
    cases: int
    by: str = ""

    @property
    def is_better(self) -> bool:
        """Whether the change is kept: its mean is no lower."""
        return (self.difference.difference or 0.0) >= 0

    def in_words(self, what: str) -> str:
        """The result with its interval. what: the subject, a plural such as "generated pairs"."""
        found = self.difference
        with_it, alone = (f"Dice {100 * mean:.1f} %" for mean in (self.changed, self.unchanged))
        figures = f"{with_it} with {what}, {alone} without, over {self._witnesses}"
        figures += f", {self.by}" if self.by else ""
        if found.low is None or found.high is None or found.difference is None:
            return f"{figures}: too few cases to tell whether they help"
        points = f"{100 * found.difference:+.1f} points (95 %: {100 * found.low:+.1f} to {100 * found.high:+.1f})"
        effect = EFFECTS[(found.low > 0) - (found.high < 0)].format(what.capitalize())
        return f"{effect}: {points}; {figures}"

    @property
    def _witnesses(self) -> str:
        """What the means are over: patients, or cases where each is of another patient."""
        cases, patients = f"{self.cases} held-out cases", self.difference.count
        several = "" if patients == 1 else "s"
        return cases if patients == self.cases else f"{patients} patient{several} ({cases})"


def paired(
    changed: Mapping[str, float], unchanged: Mapping[str, float], groups: Mapping[str, str], by: str = ""
) -> Paired:
    """Compare two trainings of every fold. changed, unchanged: Dice by case. groups: the patient of each case.

    Raises RunError if they were not scored on the same cases.
    """
    if changed.keys() != unchanged.keys():
        odd = ", ".join(sorted(changed.keys() ^ unchanged.keys()))
        raise RunError(
            f"the two methods were not scored on the same cases ({odd}); delete the comparison folder and try again"
        )
    ours, theirs = (_by_group(dice, groups) for dice in (changed, unchanged))
    return Paired(float(np.mean(ours)), float(np.mean(theirs)), paired_bootstrap(ours, theirs), len(changed), by)


def _by_group(dice: Mapping[str, float], groups: Mapping[str, str]) -> list[float]:
    """Mean Dice of each patient, in order of their names."""
    found: dict[str, list[float]] = defaultdict(list)
    for name in sorted(dice):
        found[groups[name]].append(dice[name])
    return [float(np.mean(found[group])) for group in sorted(found)]
