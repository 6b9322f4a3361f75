"""From a trained network to a model that knows its limits: judged on its held-out cases, described on its card."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from genseg.base.progress import Progress
from genseg.export.card import CARD, write_card
from genseg.models.load import TRUST, load_model
from genseg.models.model import Model
from genseg.models.scored_cases import own_cases
from genseg.runs.folder import REPORT, RunFolder
from genseg.trust.trust import Fold, Trust, learn_trust


def finish_run(folder: RunFolder, data: Path, progress: Progress) -> Model:
    """The model of a run that was trained on `data`: learn when to trust it, score the held-out cases, write its card.

    Where none was held out there is nothing to score. What is there already is left as it is. Raises RunError where a
    held-out case or the model cannot be used.
    """
    model = load_model(folder.path, folder.settings().device)
    if folder.delivers_all_labels:  # it has seen what the run held out: `genseg.refit` says what is known of it
        return model
    if not folder.has_delivered(TRUST):
        model = learn_from_held_out(model, data, folder, progress)
    if folder.split().validation and not (folder.path / REPORT).is_file():
        model.evaluate(data, folder.path / "validation", split="validation", progress=progress)
    if not folder.has_delivered(CARD):
        write_card(folder)
    return model


def learn_from_held_out(model: Model, data: Path, folder: RunFolder, progress: Progress) -> Model:
    """The model with what its run's cases teach about its use, which is kept in the run folder."""
    split = folder.split()
    cases = own_cases(data, split, model.labels, model.options, progress)
    training, held_out = cases.select(split.train), cases.select(split.validation)
    fold = Fold(model.network, training, held_out)
    trust = learn_trust(model.network, training, [fold], model.plan, progress)
    return deliver_trust(model, trust, folder)


def deliver_trust(model: Model, trust: Trust, folder: RunFolder) -> Model:
    """The model with what was learned about its use, which is kept in the run folder."""
    folder.deliver_file(TRUST, json.dumps(trust.to_json(), indent=1).encode())
    return replace(model, trust=trust)
