"""A model's masks against experts' masks."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import printable
from genseg.base.progress import Progress
from genseg.choices import Part
from genseg.drawing.overlays import side_by_side
from genseg.errors import DataError, Fault, listed
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
    scores, masks = _scores(model, cases, progress)
    summary = summarise(
        scores,
        model.labels.names,
        {
            "model": str(model.run),
            "data": data.name,
            "cases": split,
            "segmenter": model.plan.segmenter,
            "training": model.training,
        },
        warnings_about(scored, split),
        {name: scored.uses.get(name, "no") if scored.is_known else "unknown" for name in cases.names},
    )
    if folder is not None:
        by_name = {files.name: place for place, files in enumerate(cases.entries)}
        write_evaluation(summary, lambda name: _picture(cases[by_name[name]], masks[name]), folder)
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
    faults: list[Fault] = []
    tolerance = default_tolerance(model.plan.rank, model.plan.length_unit)
    for place, name in enumerate(cases.names):
        try:
            with one_image(name):
                case = cases[place]
                if case.mask is not None:
                    mask = model.examine_case(case).mask
                    scores.append(score_case(name, case.mask, mask, model.plan.classes, case.spacing, tolerance))
                    masks[name] = zlib.compress(mask.tobytes(), 1)
        except DataError as error:
            faults += error.faults
        progress("Predicting", place + 1, len(cases))
    if faults:
        raise DataError(faults)
    return scores, masks


def _picture(case: Case, packed: bytes) -> NDArray[np.uint8]:
    mask = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(case.spatial)
    return side_by_side(case, mask)
