"""The training loop: updates, validations, checkpoints, until the plan's last update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn

from genseg.config import Plan
from genseg.data.preprocess import Prepared
from genseg.evaluate.metrics import dice_scores
from genseg.progress import Progress
from genseg.segmenters.inference import predict_mask
from genseg.training.batches import Batches
from genseg.training.checkpoint import load_checkpoint, save_checkpoint
from genseg.training.curves import draw_curves
from genseg.training.device import Machine
from genseg.training.events import EventLog, read_events
from genseg.training.interrupt import postponed_interrupt
from genseg.training.run_folder import RunFolder
from genseg.training.state import TrainingState, begin, make_update

VALIDATIONS = 10
"""How often a run looks at its held-out cases. It only looks: no checkpoint is chosen by them."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out case: as the network sees it, and the expert's mask `(*spatial)` in its own size."""

    prepared: Prepared
    mask: NDArray[np.uint8]


def train(
    plan: Plan,
    seed: int,
    training: Sequence[Prepared],
    held_out: Sequence[HeldOut],
    run: RunFolder,
    machine: Machine,
    progress: Progress,
) -> nn.Module:
    """Train from the run folder's newest checkpoint, or from the start, and return the averaged segmenter.

    Raises KeyboardInterrupt after a checkpoint was written where the user asked to stop, and TrainingError when the
    loss is not finite.
    """
    state = begin(plan, seed, machine)
    problems = load_checkpoint(run.checkpoints, state) if (run.checkpoints / "manifest.json").exists() else []
    batches = Batches(training, plan, seed, machine)
    every = max(1, plan.updates // VALIDATIONS)
    with EventLog(run.path, state.update) as log, postponed_interrupt() as is_asked_to_stop:
        for problem in problems:
            log.write("checkpoint-damaged", state.update, problem=problem)
        while state.update < plan.updates:
            image, mask = batches[state.update]
            measured = make_update(state, image, mask, plan, seed, machine)
            log.write("step", state.update, **measured)
            progress(f"Training, loss {measured['loss']:.3f}", state.update, plan.updates)
            if state.update % every == 0 or state.update == plan.updates:
                _validate(state, held_out, plan, machine, log)
                save_checkpoint(run.checkpoints, state)
            if is_asked_to_stop():
                save_checkpoint(run.checkpoints, state)
                raise KeyboardInterrupt
    draw_curves(read_events(run.path), run.path / "curves.png")
    return state.average.module


def _validate(state: TrainingState, held_out: Sequence[HeldOut], plan: Plan, machine: Machine, log: EventLog) -> None:
    if not held_out:
        return
    scores = []
    for one in held_out:
        predicted = predict_mask(state.average.module, one.prepared, plan, machine.device)
        scores.append(dice_scores(one.mask, predicted, plan.classes))
    by_class = dict(zip(plan.class_names[1:], np.mean(scores, axis=0).tolist(), strict=True))
    log.write("validation", state.update, dice=float(np.mean(scores)), dice_by_class=by_class)
