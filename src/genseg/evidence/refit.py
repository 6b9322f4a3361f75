"""The delivered model: trained on every label, once a model of every fold has judged the labels that it held out.

A model that saw every label cannot be judged by them. What is said of it (scores, calibration, limits of what is usual,
post-processing) comes from the models of the folds, each on the cases that it held out; they saw fewer labels, so that
the delivered model is more likely better than that than worse.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from genseg.base.progress import Progress
from genseg.config import TrainingMethod
from genseg.errors import RunError, SettingsError
from genseg.evidence.answers import ANSWERS
from genseg.evidence.pool import Pool, read_pool, unlabelled_images
from genseg.evidence.students import judge_gain, read_gain, student_of, train_students
from genseg.evidence.trainings import Training, asking_for, carry_out, fold_training, read_again
from genseg.evidence.unlabelled import check_same_images, draw_unlabelled, has_unlabelled, most_drawn, segment_pool
from genseg.examine.cases import CaseStore
from genseg.examine.check import Examination
from genseg.export.card import CARD, write_card
from genseg.fitting import deliver_trust
from genseg.models.evaluation import evaluate_out_of_fold
from genseg.models.load import TRUST, load_ensemble, load_model
from genseg.models.model import Model
from genseg.runs.delivered import Delivery
from genseg.runs.folder import REPORT, RunFolder
from genseg.training.run import run_training
from genseg.training.views import has_views
from genseg.trust.trust import Fold, learn_trust


def refit_on_all_labels(data: Path, run: RunFolder, images: Path | None, progress: Progress) -> Model:
    """Train the models of all folds, then one on every label by the method of the run's model, and deliver it.

    images: folder of unlabelled images. Every fold is trained once more with them; where its model is no worse for it,
    they train the last one too, with masks that the models of the folds predict together. What was trained before is
    not trained again. Raises SettingsError where there is one fold alone, RunError where the run has not finished or
    its data or unlabelled images are no longer those that it began with, and as `genseg.fit`.
    """
    own = run.fold
    if run.split().folds < 2:
        raise SettingsError(
            f"{run.path}: the dataset declares which cases are held out, and they stay so; --folds makes folds of all"
        )
    examination = read_again(data, run, progress)
    delivery = run.delivery()
    method = delivery.plan.method
    pool = _pool(images, run, delivery, examination, progress)
    folds = _models_of_folds(data, examination.cases, run, method, own, progress)
    if pool is not None and read_gain(run, method) is None:
        students = train_students(data, folds, pool, run, examination, progress)
        judge_gain(folds, students, run, examination)
    gain = read_gain(run, method)
    is_used = gain is not None and gain.used
    judges = [student_of(fold) for fold in folds] if is_used else folds
    final = run.on_all_labels(method, with_unlabelled=is_used)
    if not final.is_finished:
        _train_on_all(data, judges, run, final, pool if is_used else None, progress)
    if run.delivered_from != final:
        run.deliver_instead(final)
    model = load_model(run.path, run.settings().device)
    if not run.has_delivered(CARD):
        cases = examination.cases.select(final.split().train)
        model = _judged_by_folds(model, data, judges, cases, run, progress)
    return model


def _pool(
    images: Path | None, run: RunFolder, delivery: Delivery, examination: Examination, progress: Progress
) -> Pool | None:
    """The unlabelled images, where there are any and they are needed yet.

    Raises RunError where a run that was begun with some has not finished and is given none, or others; SettingsError
    for a segmenter that cannot learn from them, DataError for images that cannot be read.
    """
    method, and_own = delivery.plan.method, delivery.reading.unlabelled == "use"
    entries = unlabelled_images(images, examination.index, channel_files=delivery.channel_files, and_own=and_own)
    if entries and has_views(run.plan()):
        raise SettingsError(
            f"also_images, unlabelled: segmenter {run.plan().segmenter} learns from labelled images alone"
        )
    gain = read_gain(run, method)
    is_settled = gain is not None and (not gain.used or run.on_all_labels(method, with_unlabelled=True).is_finished)
    if has_unlabelled(run.path):
        if entries:
            check_same_images(entries, run.path)
        elif not is_settled:
            raise RunError(f"{run.path}: begun with unlabelled images; name their folder again with --also-images")
    if not entries or is_settled:
        return None
    model = load_model(run.path, run.settings().device)
    return read_pool(entries, model, examination, most_drawn(run.plan()), progress)


def _models_of_folds(
    data: Path, cases: CaseStore, run: RunFolder, method: TrainingMethod, own: int, progress: Progress
) -> Sequence[Training]:
    """The training of every fold by the method of the run's model, all of them made. own: the one that the run is."""
    plan = run.plan()
    trainings = [fold_training(run, plan, method, fold) for fold in range(run.split().folds)]
    kept = RunFolder(trainings[own].folder)
    is_own = method == plan.method and not run.delivers_all_labels
    if is_own and not (kept.path / REPORT).is_file():
        run.keep_as_fold(kept)
    return carry_out(data, cases, trainings, "Training every fold", progress)


def _train_on_all(
    data: Path, judges: Sequence[Training], run: RunFolder, final: RunFolder, pool: Pool | None, progress: Progress
) -> None:
    """Make the training on every label, or go on with it. judges: those like it, that held some out.

    pool: unlabelled images that train too, with masks that the judges predict together.
    """
    settings = asking_for(judges[0].settings, judges[0].plan).model_copy(update={"fold": "all"})
    begun = (final.path / "plan.yaml").is_file()
    plan, further = judges[0].plan, None
    if pool is not None:
        teacher = load_ensemble([RunFolder(one.folder) for one in judges], settings.device)
        unlabelled = segment_pool(pool, teacher, run.path, progress)
        plan, further = unlabelled.joining(plan, len(run.split().train) + len(run.split().validation))
        draw_unlabelled(unlabelled, run.path / ANSWERS / "overview.png")
    run_training(data, final.path, settings, None if begun else plan, resume=begun, further=further, progress=progress)
    shutil.rmtree(final.checkpoints, ignore_errors=True)


def _judged_by_folds(
    model: Model, data: Path, folds: Sequence[Training], cases: CaseStore, run: RunFolder, progress: Progress
) -> Model:
    """The model with what the folds' models have learned about the cases that they held out, and with its card.

    Their report takes the place of the one of the run's own fold.
    """
    splits = [RunFolder(fold.folder).split() for fold in folds]
    judges = [load_model(fold.folder, run.settings().device) for fold in folds]
    held_out = [cases.select(split.validation) for split in splits]
    if not run.has_delivered(TRUST):
        judged = zip(judges, splits, held_out, strict=True)
        parts = [Fold(judge.network, cases.select(split.train), own) for judge, split, own in judged]
        trust = learn_trust(model.network, cases, parts, model.plan, progress)
        model = deliver_trust(model, trust, run)
    fewest = min(len(split.train) for split in splits)
    warning = (
        f"Each case was segmented by the model of the fold that held it out, trained on {fewest} or more of the "
        f"{len(cases)} cases. The delivered model was trained on all of them: these cases cannot measure it."
    )
    scored = list(zip(judges, held_out, strict=True))
    evaluate_out_of_fold(scored, data, run.path / "validation", [warning], progress)
    write_card(run)
    return model
