"""A model's masks against experts' masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genseg.choices import Part
from genseg.data.case import Case
from genseg.data.split import Split
from genseg.errors import DataError, Fault
from genseg.evaluate.metrics import CaseScores, default_tolerance, score_case
from genseg.evaluate.summary import EvaluationSummary, summarise
from genseg.predict.outputs import output_folder, side_by_side, write_evaluation
from genseg.predict.scored import scored_cases
from genseg.progress import Progress

if TYPE_CHECKING:
    from genseg.predict.model import Model

NOTHING_KNOWN = Split((), (), (), "an exported model does not tell what it was trained on")


def evaluate_model(model: Model, data: Path, out: Path | None, split: Part, progress: Progress) -> EvaluationSummary:
    """Score `model` on the cases of a data set; see `Model.evaluate`."""
    cases = scored_cases(data, split, _own_split(model.run), model.labels, model.options, progress)
    folder = None if out is None else output_folder(out)
    summary = summarise(
        _scores(model, cases, progress),
        model.labels.names,
        {
            "model": str(model.run),
            "data": data.name,
            "cases": split,
            "segmenter": model.plan.segmenter,
            "training": model.training,
        },
    )
    if folder is not None:
        by_name = {files.name: place for place, files in enumerate(cases.entries)}
        write_evaluation(summary, lambda name: _picture(model, cases[by_name[name]]), folder)
    return summary


def _own_split(run: Path) -> Split:
    """What the model was trained on."""
    if not run.is_dir():
        return NOTHING_KNOWN
    from genseg.training.run_folder import RunFolder

    return RunFolder.open(run).split()


def _scores(model: Model, cases: Sequence[Case], progress: Progress) -> list[CaseScores]:
    scores: list[CaseScores] = []
    faults: list[Fault] = []
    classes, tolerance = model.plan.classes, default_tolerance(model.plan.rank, model.plan.length_unit)
    for number, case in enumerate(cases, 1):
        try:
            if case.mask is not None:
                mask = model.examine_case(case).mask
                scores.append(score_case(case.name, case.mask, mask, classes, case.spacing, tolerance))
        except DataError as error:
            faults += error.faults
        progress("Predicting", number, len(cases))
    if faults:
        raise DataError(faults)
    return scores


def _picture(model: Model, case: Case) -> NDArray[np.uint8]:
    return side_by_side(case, model.examine_case(case).mask)
