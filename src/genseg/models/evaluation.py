"""A model's masks against experts' masks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import printable
from genseg.base.progress import Progress, work_through
from genseg.choices import Part
from genseg.drawing.overlays import side_by_side
from genseg.errors import listed
from genseg.evaluate.metrics import CaseScores, default_tolerance, score_case
from genseg.evaluate.summary import EvaluationSummary, summarise
from genseg.examine.cases import CaseStore
from genseg.examine.split import Split
from genseg.models.scored_cases import Scored, scored_cases
from genseg.predict.predictor import Predictor
from genseg.read.case import Case
from genseg.read.guard import one_image
from genseg.results.outputs import output_folder, write_evaluation

NO_NAMES = Split((), (), (), "an exported model does not tell the names of the cases that it was trained on")


def evaluate_model(
    model: Predictor, data: Path, out: Path | None, split: Part, progress: Progress
) -> EvaluationSummary:
    """Score `model` on the cases of a dataset; see `Model.evaluate`."""
    scored = scored_cases(data, split, _own_split(model.run), model.seen, model.labels, model.options, progress)
    cases = scored.cases
    folder = None if out is None else output_folder(out)
    uses = {name: scored.uses.get(name, "no") if scored.is_known else "unknown" for name in cases.names}
    told = _provenance(model, data, split)
    return _evaluated([(model, cases)], told, warnings_about(scored, split), uses, folder, progress)


def evaluate_out_of_fold(
    folds: Sequence[tuple[Predictor, CaseStore]], data: Path, out: Path, warnings: Sequence[str], progress: Progress
) -> EvaluationSummary:
    """Score every case by the model that held it out, and write the report into `out`. folds: models and these cases.

    Raises DataError where a case cannot be segmented.
    """
    uses = {name: "held out" for _, cases in folds for name in cases.names}
    told = _provenance(folds[0][0], data, "all, each by the model that held it out")
    return _evaluated(folds, told, warnings, uses, output_folder(out), progress)


def _provenance(model: Predictor, data: Path, cases: str) -> dict[str, str]:
    return {
        "model": str(model.run),
        "data": data.name,
        "cases": cases,
        "segmenter": model.plan.segmenter,
        "training": model.training,
    }


def _evaluated(
    parts: Sequence[tuple[Predictor, CaseStore]],
    told: Mapping[str, str],
    warnings: Sequence[str],
    uses: Mapping[str, str],
    folder: Path | None,
    progress: Progress,
) -> EvaluationSummary:
    """Score the cases of each model, and write the report into `folder`, if there is one."""
    scores: list[CaseScores] = []
    masks: dict[str, bytes] = {}
    for model, cases in parts:
        own = _scores(model, cases, progress)
        scores, masks = scores + own[0], masks | own[1]
    summary = summarise(scores, parts[0][0].labels.names, told, warnings, uses)
    if folder is not None:
        places = {name: (cases, place) for _, cases in parts for place, name in enumerate(cases.names)}

        def picture(name: str) -> NDArray[np.uint8]:
            cases, place = places[name]
            return _picture(cases[place], masks[name])

        write_evaluation(summary, picture, folder)
    return summary


def warnings_about(scored: Scored, part: Part) -> list[str]:
    """What a reader of the scores must know about what the model's training has seen, a sentence each."""
    if not scored.is_known:
        return ["It is not known whether the model was trained on these images: it does not say which it has seen."]
    found = []
    if scored.left_out:
        found.append(
            f"Not scored, because the model was trained on these images: {printable(listed(scored.left_out))}."
        )
    total = len(scored.cases)
    trained = sorted(name for name, use in scored.uses.items() if use == "trained on")
    if trained:
        told = f"The model was trained on {len(trained)} of these {total} images"
        found.append(f"{told}; their scores show memorisation, not performance: {printable(listed(trained))}.")
    held_out = sorted(name for name, use in scored.uses.items() if use == "held out")
    if held_out and part != "validation":
        told = f"{len(held_out)} of these {total} images were held out in the model's training"
        found.append(f"{told}, where its calibration was fitted to them: {printable(listed(held_out))}.")
    return found


def _own_split(run: Path) -> Split:
    """What the model was trained on."""
    if not run.is_dir():
        return NO_NAMES
    from genseg.runs.folder import RunFolder

    return RunFolder.open(run).split()


def _scores(model: Predictor, cases: CaseStore, progress: Progress) -> tuple[list[CaseScores], dict[str, bytes]]:
    """Scores of the labelled cases, and the predicted masks by name, packed: segmenting again would take longer."""
    scores: list[CaseScores] = []
    masks: dict[str, bytes] = {}
    tolerance = default_tolerance(model.plan.rank, model.plan.length_unit)

    def score(place: int) -> None:
        name = cases.names[place]
        with one_image(name):
            case = cases[place]
            if case.mask is not None:
                mask = model.examine_case(case).mask
                scores.append(score_case(name, case.mask, mask, model.plan.classes, case.spacing, tolerance))
                masks[name] = zlib.compress(mask.tobytes(), 1)

    work_through("Predicting", range(len(cases)), score, progress)
    return scores, masks


def _picture(case: Case, packed: bytes) -> NDArray[np.uint8]:
    mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(case.spatial)
    return side_by_side(case, mask)
