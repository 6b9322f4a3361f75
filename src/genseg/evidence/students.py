"""Do unlabelled images help here? Every fold is trained once more, with them, and judged on what it holds out.

The model of a fold, which has not seen the cases that it holds out, predicts the masks that its student learns from. So
no case is judged by a model that saw it, nor by one whose teacher did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from genseg.base.progress import Progress
from genseg.base.records import Record
from genseg.config import TrainingMethod
from genseg.drawing.evidence import draw_comparison
from genseg.evidence.paired import paired
from genseg.evidence.pool import Pool
from genseg.evidence.trainings import Training, carry_out, held_out_dice
from genseg.evidence.unlabelled import leave_out_all, segment_pool, used_images
from genseg.examine.check import Examination
from genseg.examine.training_data import groups_of
from genseg.export.card import GAIN
from genseg.models.load import load_model
from genseg.read.case import by_patient
from genseg.runs.folder import RunFolder, and_unlabelled, last_begun


class Gain(Record):
    """What is read again of what unlabelled images bring.

    used: whether they train the final model. method: of the run's model.
    """

    used: bool
    verdict: str
    method: TrainingMethod


def student_of(fold: Training) -> Training:
    """The finished training like that of a fold, with unlabelled images."""
    folder = last_begun(and_unlabelled(fold.folder))
    return replace(fold, folder=folder, plan=RunFolder(folder).plan())


def read_gain(run: RunFolder, method: TrainingMethod) -> Gain | None:
    """What unlabelled images bring to the run's model, trained by this method; None where that is not known (yet)."""
    if not (run.path / GAIN).is_file():
        return None
    gain = run.record(GAIN, Gain)
    return gain if gain.method == method else None


def train_students(
    data: Path, folds: Sequence[Training], pool: Pool, run: RunFolder, examination: Examination, progress: Progress
) -> Sequence[Training]:
    """The training of every fold on its labelled cases and the images of the pool, all of them made.

    folds: those on labelled cases alone, whose models are the teachers. Empty where no image may train in any fold.
    Raises as `carry_out`, and DataError for images that cannot be segmented.
    """
    students, used = [], 0
    for fold in folds:
        teacher, split = load_model(fold.folder, run.settings().device), RunFolder(fold.folder).split()
        unlabelled = segment_pool(pool, teacher, run.path, progress, split.validation)
        plan, further = unlabelled.joining(fold.plan, len(split.train))
        students.append(replace(fold, folder=and_unlabelled(fold.folder), plan=plan, further=further))
        used += len(unlabelled.training)
    if not used:
        return []
    return carry_out(data, examination.cases, students, "Training every fold with unlabelled images", progress)


def judge_gain(
    folds: Sequence[Training], students: Sequence[Training], run: RunFolder, examination: Examination
) -> None:
    """Write down what the students have over the models of the folds on the cases that these hold out, and draw it.

    Without students, why there are none.
    """
    method = run.delivery().plan.method
    if not students:
        verdict = f"Unlabelled images are not used: {used_images(run.path)}."
        run.write_json(GAIN, {"method": method, "used": False, "verdict": verdict})
        return
    without, with_them = (
        {name: dice for one in trainings for name, dice in held_out_dice(one.folder).items()}
        for trainings in (folds, students)
    )
    names = sorted(without)
    groups = dict(zip(names, groups_of(examination, names), strict=True))
    found = paired(with_them, without, groups, by_patient(examination.cases.entries))
    verdict = f"{found.in_words('unlabelled images')}. They are {'used' if found.is_better else 'not used'}."
    cases = {name: {"with": with_them[name], "without": without[name]} for name in names}
    told = {"method": method, "used": found.is_better, "verdict": verdict, **asdict(found), "dice": cases}
    before, after = ([one[name] for name in names] for one in (without, with_them))
    draw_comparison(before, after, "unlabelled images", verdict, run.path / "comparison" / "unlabelled.png")
    if not found.is_better:
        leave_out_all(run.path)
    run.write_json(GAIN, told)
