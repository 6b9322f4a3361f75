"""The delivered model: trained on every label, once a model of every fold has judged the labels that it held out.

A model that saw every label cannot be judged by them. What is said of it (scores, calibration, limits of what is usual,
post-processing) comes from the models of the folds, each on the cases that it held out; they saw fewer labels, so that
the delivered model is more likely better than that than worse.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from genseg.base.progress import Progress
from genseg.errors import RunError, SettingsError
from genseg.evidence.trainings import Training, asking_for, carry_out, fold_training, read_again
from genseg.evidence.unlabelled import SHARE, check_same_images, segment_unlabelled, with_predicted_masks
from genseg.examine.cases import CaseStore
from genseg.export.card import CARD, write_card
from genseg.fitting import deliver_trust
from genseg.index import Index
from genseg.models.evaluation import evaluate_out_of_fold
from genseg.models.load import TRUST, load_model
from genseg.models.model import Model
from genseg.runs.folder import REPORT, RunFolder
from genseg.training.run import run_training
from genseg.training.views import has_views
from genseg.trust.trust import Fold, learn_trust


def refit_on_all_labels(data: Path, run: RunFolder, images: Path | None, progress: Progress) -> Model:
    """Train the models of all folds, then one on every label by the method of the run's model, and deliver it.

    images: folder of unlabelled images, which the last one also learns from. What was trained before is not trained
    again. Raises SettingsError where there is one fold alone, RunError where the run has not finished or its data or
    unlabelled images are no longer those that it began with, and as `genseg.fit`.
    """
    own = run.fold
    if run.split().folds < 2:
        raise SettingsError(
            f"{run.path}: the dataset declares which cases are held out, and they stay so; --folds makes folds of all"
        )
    final = _final(run, images)
    examination = read_again(data, run, progress)
    folds = _models_of_folds(data, examination.cases, run, own, progress)
    if run.delivered_from != final:
        _train_on_all(data, folds[0], run, final, images, examination.index, progress)
        run.deliver_instead(final)
    model = load_model(run.path, run.settings().device)
    if not run.has_delivered(CARD):
        cases = examination.cases.select(final.split().train)
        model = _judged_by_folds(model, data, folds, cases, run, progress)
    return model


def _final(run: RunFolder, images: Path | None) -> RunFolder:
    """The training on every label; with unlabelled images also where it was begun with them before.

    Raises RunError where that has not finished and no images are given, or where others are; SettingsError for a
    segmenter that cannot learn from them.
    """
    method = run.delivery().plan.method
    with_them = run.on_all_labels(method, and_unlabelled=True)
    if images is not None and has_views(run.plan()):
        raise SettingsError(f"also_images: segmenter {run.plan().segmenter} learns from labelled images alone")
    if images is None and not (with_them.path / "plan.yaml").is_file():
        return run.on_all_labels(method)
    if images is None and not with_them.is_finished:
        raise RunError(f"{with_them.path}: begun with unlabelled images; name their folder again with --also-images")
    if images is not None and (with_them.path / "plan.yaml").is_file():
        check_same_images(images, run)
    return with_them


def _models_of_folds(data: Path, cases: CaseStore, run: RunFolder, own: int, progress: Progress) -> Sequence[Training]:
    """The training of every fold by the method of the run's model, all of them made. own: the one that the run is."""
    plan, method = run.plan(), run.delivery().plan.method
    trainings = [fold_training(run, plan, method, fold) for fold in range(run.split().folds)]
    kept = RunFolder(trainings[own].folder)
    is_own = method == plan.method and not run.delivers_all_labels
    if is_own and not (kept.path / REPORT).is_file():
        run.keep_as_fold(kept)
    return carry_out(data, cases, trainings, "Training every fold", progress)


def _train_on_all(
    data: Path, fold: Training, run: RunFolder, final: RunFolder, images: Path | None, index: Index, progress: Progress
) -> None:
    """Make the training on every label, or go on with it. fold: one like it, that held some out."""
    settings = asking_for(fold.settings, fold.plan).model_copy(update={"fold": "all"})
    begun = (final.path / "plan.yaml").is_file()
    plan, further = fold.plan, None
    if images is not None:
        teacher = load_model(run.path, settings.device, ensemble=True)
        unlabelled = segment_unlabelled(images, teacher, run, index, progress)
        plan = fold.plan.model_copy(update={"unlabelled_share": SHARE})
        further = partial(with_predicted_masks, unlabelled, teacher)
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
