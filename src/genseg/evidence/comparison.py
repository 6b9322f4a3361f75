"""Does generation help here? Cross-validation inside the user's own labels, with generated pairs and without.

Both training methods make the same updates on as many images, and each holds out every labelled case once. Where
one training runs out of memory, all are made with fewer images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from genseg.base.files import inner_folder
from genseg.base.progress import Progress
from genseg.config import Plan, TrainingMethod
from genseg.drawing.evidence import draw_comparison
from genseg.errors import SettingsError
from genseg.evaluate import PairedDifference
from genseg.evidence.paired import Paired, paired
from genseg.evidence.trainings import BASELINE, Training, carry_out, fold_training, held_out_dice, read_again
from genseg.examine.check import Examination
from genseg.examine.training_data import groups_of
from genseg.export.card import COMPARISON, write_card
from genseg.fitting import learn_from_held_out
from genseg.models.load import load_model
from genseg.read.case import by_patient
from genseg.runs.events import read_events
from genseg.runs.folder import SCORES, RunFolder


@dataclass(frozen=True)
class ComparedCase:
    """Dice of one held-out case, its mean over classes: with generated pairs, and without. group: its patient."""

    name: str
    group: str
    generated: float
    baseline: float


@dataclass(frozen=True)
class Comparison:
    """The effect of generated pairs on the user's own held-out cases.

    method: the training method with generated pairs. generated, baseline: mean Dice with and without them, over
    patients (over images, if patients are unknown). difference: between the two, with its interval. by: the unit that
    folds kept together, in words. images: per update of every training, if one ran out of memory and all were
    restarted. halved: the update at which the run itself had run out of memory, and its images per update from there.
    """

    method: TrainingMethod
    cases: tuple[ComparedCase, ...]
    generated: float
    baseline: float
    difference: PairedDifference
    by: str = ""
    images: int | None = None
    halved: tuple[int, int] | None = None

    @property
    def delivered(self) -> TrainingMethod:
        """The method of the delivered model: the one with the higher mean."""
        return self.method if self._paired.is_better else BASELINE

    @property
    def verdict(self) -> str:
        """The result in words, with its interval."""
        return f"{self._paired.in_words('generated pairs')}.{self._memory} Model kept: {self.delivered}."

    @property
    def _paired(self) -> Paired:
        return Paired(self.generated, self.baseline, self.difference, len(self.cases), self.by)

    @property
    def _memory(self) -> str:
        """What a lack of memory has changed."""
        if self.images is not None:
            return f" Memory ran out, so every training used {self.images} images per update."
        if self.halved is not None:
            update, images = self.halved
            return f" Memory ran out at update {update}: the run then used {images} images per update, like the others."
        return ""

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists, numbers and text."""
        return {**asdict(self), "baseline": BASELINE, "delivered": self.delivered, "verdict": self.verdict}


def compare_with_baseline(data: Path, run: RunFolder, progress: Progress) -> Comparison:
    """Train with both methods on every fold, keep the better model in the run folder, and write the scores beside it.

    What was trained before is not trained again, the run itself least of all. Of a split that the dataset declares
    there is one fold alone. Raises SettingsError where the run has no generated pairs, RunError where it has not
    finished or the data are no longer those that it began with, and as `genseg.fit`.
    """
    plan = run.plan()
    if plan.generation is None:
        raise SettingsError(f"{run.path}: nothing to compare; training method {plan.method} has no generated pairs")
    examination = read_again(data, run, progress)
    _keep_own_scores(run, plan.method)
    images = _train_all(data, examination, run, progress)
    dice = {method: _dice(run, method, images) for method in (plan.method, BASELINE)}
    names = sorted(dice[BASELINE])
    groups = dict(zip(names, groups_of(examination, names), strict=True))
    by = by_patient(examination.cases.entries)
    compared = judge(plan.method, dice[plan.method], dice[BASELINE], groups)
    compared = replace(compared, by=by, images=images, halved=_halved(run))
    _deliver(data, run, compared, images, progress)
    baseline, generated = [case.baseline for case in compared.cases], [case.generated for case in compared.cases]
    picture = run.path / "comparison" / "comparison.png"
    draw_comparison(baseline, generated, "generated pairs", compared.verdict, picture)
    run.write_json(COMPARISON, compared.to_json())
    write_card(run)
    return compared


def judge(
    method: TrainingMethod, generated: Mapping[str, float], baseline: Mapping[str, float], groups: Mapping[str, str]
) -> Comparison:
    """Compare two methods on the same cases. generated, baseline: Dice by case. groups: the patient of each case.

    Raises RunError if the methods were not scored on the same cases.
    """
    found = paired(generated, baseline, groups)
    cases = tuple(ComparedCase(name, groups[name], generated[name], baseline[name]) for name in sorted(baseline))
    return Comparison(method, cases, found.changed, found.unchanged, found.difference)


def _train_all(data: Path, examination: Examination, run: RunFolder, progress: Progress) -> int | None:
    """Make all trainings. Returns how many images their updates have, where memory ran out for as many as the run's.

    The run itself is one of them, unless the others have fewer images: then its fold is trained again, with as few.
    """
    plan = run.plan()
    for again in (False, True):
        trainings = _trainings(run, plan, again=again)
        made = carry_out(data, examination.cases, trainings, "Comparing", progress)
        if made[0].plan.batch_size == plan.batch_size:
            return None
    return made[0].plan.batch_size


def _trainings(run: RunFolder, plan: Plan, *, again: bool) -> list[Training]:
    """The run's own fold first, so that the first of them tells something; the run itself only where it is done again.

    plan: of the run, by now: with half the images that it began with, where memory ran out.
    """
    folds = sorted(range(run.split().folds), key=lambda fold: fold != run.fold)
    trainings = []
    for fold in folds:
        trainings.append(fold_training(run, plan, BASELINE, fold))
        if again or fold != run.fold:
            trainings.append(fold_training(run, plan, plan.method, fold))
    return trainings


def _halved(run: RunFolder) -> tuple[int, int] | None:
    """At which update the run ran out of memory, and how many images an update had from there on."""
    halved = [event for event in read_events(run.path) if event["event"] == "smaller-batch"]
    return (halved[-1]["step"], halved[-1]["batch_size"]) if halved else None


def _keep_own_scores(run: RunFolder, method: TrainingMethod) -> None:
    """Put the run's scores among the others: its model may be replaced, and then its scores are."""
    kept = run.compared(method, run.fold)
    if not (kept.path / SCORES).is_file():
        inner_folder(run.path, kept.path.relative_to(run.path))
        kept.write_json(SCORES, run.read_json(SCORES))


def _dice(run: RunFolder, method: TrainingMethod, images: int | None) -> dict[str, float]:
    """Dice of every case by the training that held it out. images: see `RunFolder.compared`."""
    scored = [held_out_dice(run.compared(method, fold, images).path) for fold in range(run.split().folds)]
    return {name: dice for one in scored for name, dice in one.items()}


def _deliver(data: Path, run: RunFolder, compared: Comparison, images: int | None, progress: Progress) -> None:
    """Put the baseline's model in the place of the run's own where it is better, and score it as the run's."""
    if compared.delivered != BASELINE or (run.delivers_all_labels and run.delivery().plan.method == BASELINE):
        return
    run.deliver_instead(run.compared(BASELINE, run.fold, images))
    model = learn_from_held_out(load_model(run.path, run.settings().device), data, run, progress)
    model.evaluate(data, run.path / "validation", split="validation", progress=progress)
