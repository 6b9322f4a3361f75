"""Does generation help here? Cross-validation inside the user's own labels, with generated pairs and without.

Both arms make the same updates on as many images each, and every labelled case is held out once in each of them.
Differences are paired by case and averaged within a patient, since scans of one patient are no independent witnesses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genseg.config import Arm, Plan
from genseg.errors import RunError, SettingsError
from genseg.evaluate import PairedDifference, paired_bootstrap
from genseg.evidence.pictures import draw_comparison
from genseg.evidence.trainings import SCORES, Training, carry_out, held_out_dice, learn_from_held_out
from genseg.export.card import write_card
from genseg.files import inner_folder
from genseg.predict.loading import load_model
from genseg.progress import Progress
from genseg.training.data import examine_for_training, groups_of
from genseg.training.run_folder import RunFolder

BASELINE: Arm = "strong-augmentation"


@dataclass(frozen=True)
class ComparedCase:
    """Dice of one held-out case, its mean over classes: with generated pairs, and without. group: its patient."""

    name: str
    group: str
    generated: float
    baseline: float


@dataclass(frozen=True)
class Comparison:
    """What generated pairs brought on the user's own held-out cases.

    arm: the one with generated pairs. difference: of it minus the baseline, over patients, in Dice.
    """

    arm: Arm
    cases: tuple[ComparedCase, ...]
    difference: PairedDifference

    @property
    def delivered(self) -> Arm:
        """The arm whose model is delivered: the better one by the mean."""
        return BASELINE if (self.difference.difference or 0.0) < 0 else self.arm

    @property
    def verdict(self) -> str:
        """The result in words, with its interval."""
        found = self.difference
        means = [
            100 * float(np.mean([getattr(case, side) for case in self.cases])) for side in ("generated", "baseline")
        ]
        with_pairs, alone = (f"Dice {mean:.1f} %" for mean in means)
        figures = f"{with_pairs} with generated pairs, {alone} without, over {len(self.cases)} held-out cases"
        if found.low is None or found.high is None or found.difference is None:
            return f"{figures}: too few to tell whether they help. The model is that of the arm {self.delivered}."
        points = f"{100 * found.difference:+.1f} points (95 %: {100 * found.low:+.1f} to {100 * found.high:+.1f})"
        judged = "help" if found.low > 0 else "do harm" if found.high < 0 else "make no difference that can be told"
        return f"Generated pairs {judged} here: {points}; {figures}. The model is that of the arm {self.delivered}."

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists, numbers and text."""
        return {**asdict(self), "baseline": BASELINE, "delivered": self.delivered, "verdict": self.verdict}


def compare_with_baseline(data: Path, run: RunFolder, progress: Progress) -> Comparison:
    """Train both arms on every fold, deliver the better model in the run folder, and leave the figures beside it.

    What was trained before is not trained again, the run itself least of all. Of a split that the data set declares
    there is one fold alone. Raises SettingsError where the run has no generated pairs, RunError where it has not
    finished or the data are no longer those that it began with, and as `genseg.fit`.
    """
    settings, plan = run.settings(), run.plan()
    if plan.generation is None:
        raise SettingsError(f"{run.path}: nothing to compare; the arm {plan.arm} has no generated pairs")
    if not run.is_finished:
        raise RunError(f"{run.path}: this run has not finished; go on with it by --resume")
    run.check_links()
    examination = examine_for_training(data, settings, progress)
    run.check_cases(examination.cases)
    _keep_own_scores(run, plan.arm)
    carry_out(data, examination.cases, _trainings(run, plan), "Comparing", progress)
    dice = {arm: _dice(run, arm) for arm in (plan.arm, BASELINE)}
    names = sorted(dice[BASELINE])
    groups = dict(zip(names, groups_of(examination, names), strict=True))
    compared = judge(plan.arm, dice[plan.arm], dice[BASELINE], groups)
    _deliver(data, run, compared, progress)
    draw_comparison(compared.cases, compared.verdict, run.path / "comparison" / "comparison.png")
    run.write_json("comparison/comparison.json", compared.to_json())
    write_card(run)
    return compared


def judge(
    arm: Arm, generated: Mapping[str, float], baseline: Mapping[str, float], groups: Mapping[str, str]
) -> Comparison:
    """Compare two arms on the same cases. generated, baseline: Dice by case. groups: the patient of each case.

    Raises RunError where the arms were not scored on the same cases.
    """
    if generated.keys() != baseline.keys():
        odd = ", ".join(sorted(generated.keys() ^ baseline.keys()))
        raise RunError(
            f"the arms were not scored on the same cases ({odd}); delete the folder comparison and try again"
        )
    cases = tuple(ComparedCase(name, groups[name], generated[name], baseline[name]) for name in sorted(baseline))
    return Comparison(arm, cases, paired_bootstrap(_by_group(cases, "generated"), _by_group(cases, "baseline")))


def _by_group(cases: Sequence[ComparedCase], side: str) -> list[float]:
    """Mean Dice of each patient, in order of their names."""
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        found[case.group].append(getattr(case, side))
    return [float(np.mean(found[group])) for group in sorted(found)]


def _trainings(run: RunFolder, plan: Plan) -> list[Training]:
    """All but the run itself: its own fold first, so that the first of them tells something."""
    settings = run.settings()
    folds = sorted(range(run.split().folds), key=lambda fold: fold != settings.fold)
    alone = plan.model_copy(update={"generation": None, "augmentation": "strong"})
    trainings = []
    for fold in folds:
        ours = settings.model_copy(update={"fold": fold})
        theirs = ours.model_copy(update={"arm": BASELINE, "pretraining": None})
        trainings.append(Training(BASELINE, _folder(run, BASELINE, fold), theirs, alone))
        if fold != settings.fold:
            trainings.append(Training(plan.arm, _folder(run, plan.arm, fold), ours, plan))
    return trainings


def _folder(run: RunFolder, arm: Arm, fold: int) -> Path:
    """Where the training of an arm with a fold held out is; of the run itself, its scores alone."""
    return run.path / "comparison" / f"{arm}-fold-{fold}"


def _keep_own_scores(run: RunFolder, arm: Arm) -> None:
    """Put the run's scores among the others: its model may be replaced, and then its scores are."""
    kept = RunFolder(_folder(run, arm, run.settings().fold))
    if not (kept.path / SCORES).is_file():
        inner_folder(run.path, kept.path.relative_to(run.path))
        kept.write_json(SCORES, run.read_json(SCORES))


def _dice(run: RunFolder, arm: Arm) -> dict[str, float]:
    """Dice of every case by the training that held it out."""
    scored = [held_out_dice(_folder(run, arm, fold)) for fold in range(run.split().folds)]
    return {name: dice for one in scored for name, dice in one.items()}


def _deliver(data: Path, run: RunFolder, compared: Comparison, progress: Progress) -> None:
    """Put the baseline's model in the place of the run's own where it is better, and score it as the run's."""
    if compared.delivered != BASELINE:
        return
    run.deliver_instead(RunFolder(_folder(run, BASELINE, run.settings().fold)))
    model = learn_from_held_out(load_model(run.path, run.settings().device), data, run, progress)
    model.evaluate(data, run.path / "validation", split="validation", progress=progress)
