"""One training of several: in a folder of its own, gone on with where it stopped, scored on its held-out cases."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genseg.base.files import stay_inside
from genseg.base.progress import Progress
from genseg.base.records import Record, Share, fitted
from genseg.config import Plan, Settings, TrainingMethod
from genseg.errors import MemoryRanOutError, RunError
from genseg.examine.check import Examination
from genseg.fitting import finish_run
from genseg.read.case import Case
from genseg.runs.folder import REPORT, SCORES, RunFolder, fingerprints, with_fewer_images
from genseg.runs.state import total_updates
from genseg.training.gather import examine_for_training
from genseg.training.recovery import with_half_the_batch
from genseg.training.run import Further, run_training

BASELINE: TrainingMethod = "strong-augmentation"
"""What a method with generated pairs is compared with."""


class HeldOutScores(Record):
    """What a comparison needs of a training's scores."""

    dice_by_case: dict[str, Share]


@dataclass(frozen=True)
class Training:
    """A training that is wanted, and the folder that it is, or will be, in.

    name: for the progress. further: what trains beside the labelled cases; see `run_training`.
    """

    name: str
    folder: Path
    settings: Settings
    plan: Plan
    further: Further | None = None

    def halved(self) -> Training:
        """The same with half the images an update, in a folder of its own. Raises MemoryRanOutError as the plan does.

        What was trained before stays where it is.
        """
        plan = with_half_the_batch(self.plan)
        folder = with_fewer_images(self.folder, plan.batch_size)
        return replace(self, folder=folder, settings=asking_for(self.settings, plan), plan=plan)


def asking_for(settings: Settings, plan: Plan) -> Settings:
    """The settings with as many images an update as the plan has, where they ask for any."""
    asked = None if settings.batch_size is None else plan.batch_size
    return settings.model_copy(update={"batch_size": asked})


def fold_training(run: RunFolder, plan: Plan, method: TrainingMethod, fold: int) -> Training:
    """The training of a run's comparison by the run's own method, or by `BASELINE`, that holds out a fold.

    plan: of the run, by now: with half the images that it began with, where memory ran out.
    """
    settings = asking_for(run.settings(), plan).model_copy(update={"fold": fold})
    if method != plan.method:
        settings = settings.model_copy(update={"method": BASELINE, "pretraining": None})
        plan = plan.model_copy(update={"generation": None, "augmentation": "strong"})
    return Training(method, run.compared(method, fold).path, settings, plan)


def read_again(data: Path, run: RunFolder, progress: Progress) -> Examination:
    """The dataset of a finished run, which it still is. Raises RunError where either is not so, and as `genseg.fit`."""
    if not run.is_finished:
        raise RunError(f"{run.path}: this run has not finished; continue it with --resume")
    run.check_links()
    examination = examine_for_training(data, run.settings(), progress)
    run.check_cases(examination.cases)
    return examination


def carry_out(
    data: Path, cases: Iterable[Case], trainings: Sequence[Training], doing: str, progress: Progress
) -> Sequence[Training]:
    """Make all trainings that are not finished. doing: what progress calls them together. cases: those of `data`.

    Finished ones are passed over, interrupted ones gone on with. Their checkpoints do not stay. Where one runs out of
    memory, all are begun anew with half the images an update: methods are compared at equal batches. Returns the
    trainings as they were made, in the same order. Raises RunError where a folder is of another training or other data,
    MemoryRanOutError where no fewer images can be, and as `genseg.fit`.
    """
    found, made = fingerprints(cases), None
    trainings = _as_begun(trainings)
    while made is None:
        _check_begun(found, trainings)
        made = _all_made(data, trainings, doing, progress)
        if made is None:
            for training in trainings:
                shutil.rmtree(RunFolder(training.folder).checkpoints, ignore_errors=True)
            trainings = [training.halved() for training in trainings]
    return made


def _all_made(data: Path, trainings: Sequence[Training], doing: str, progress: Progress) -> Sequence[Training] | None:
    """The trainings, all of them made; None where one ran out of memory."""
    total = sum(total_updates(training.plan) for training in trainings)
    before = 0
    for number, training in enumerate(trainings, 1):
        tell = _part(progress, f"{doing}, {training.name}, {number} of {len(trainings)}", before, training, total)
        if not _is_made(data, training, tell):
            return None
        before += total_updates(training.plan)
        progress(doing, before, total)
    return trainings


def _is_made(data: Path, training: Training, progress: Progress) -> bool:
    """Make a training unless it is finished. False where it ran out of memory, all of which it has given back."""
    if (training.folder / REPORT).is_file():
        return True
    begun = (training.folder / "plan.yaml").is_file()
    try:
        folder = run_training(
            data,
            training.folder,
            training.settings,
            training.plan,
            resume=begun,
            may_halve=False,
            further=training.further,
            progress=progress,
        )
        finish_run(folder, data, progress)
    except MemoryRanOutError:
        return False
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return True


def _as_begun(trainings: Sequence[Training]) -> Sequence[Training]:
    """The trainings with as few images an update as they were begun with last, after memory had run out."""
    try:
        fewer = [training.halved() for training in trainings]
    except MemoryRanOutError:
        return trainings
    return _as_begun(fewer) if any(training.folder.exists() for training in fewer) else trainings


def _check_begun(found: Mapping[str, str], trainings: Sequence[Training]) -> None:
    """Raise RunError where a folder holds what is not wanted: its figures would be taken for those of this training."""
    for training in trainings:
        stay_inside(training.folder.parent, training.folder)
        if (training.folder / "plan.yaml").is_file():
            begun = RunFolder(training.folder)
            different = _differing(begun.settings(), training.settings) or _differing(begun.plan(), training.plan)
            if different:
                raise RunError(
                    f"{training.folder}: was trained with other settings than are asked for now "
                    f"({', '.join(different)}); ask for the same again, or move that folder away"
                )
            begun.check_fingerprints(found)


def _differing(begun: Settings | Plan, wanted: Settings | Plan) -> list[str]:
    """The values that differ, in words; the device may."""
    return [
        f"{name}: {getattr(begun, name)} then, {getattr(wanted, name)} now"
        for name in type(begun).model_fields
        if name != "device" and getattr(begun, name) != getattr(wanted, name)
    ]


def _part(progress: Progress, doing: str, before: int, training: Training, total: int) -> Progress:
    """Progress of one training as a part of all; reading and scoring, which take no time beside, are not told."""
    updates = total_updates(training.plan)

    def tell(_: str, done: int, of: int) -> None:
        if of == updates:
            progress(doing, before + done, total)

    return tell


def held_out_dice(folder: Path) -> dict[str, float]:
    """Dice of each case that a finished training held out, its mean over classes.

    Raises RunError where the scores are missing or damaged.
    """
    scores = RunFolder(folder).read_json(SCORES)
    return fitted(HeldOutScores, scores, folder / SCORES, f"delete the folder {folder} and train again").dice_by_case
