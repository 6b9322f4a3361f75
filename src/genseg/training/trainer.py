"""The training loop: updates, validations, checkpoints, until the plan's last update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genseg.data.preprocess import Prepared
from genseg.errors import NotFiniteError
from genseg.evaluate.metrics import dice_scores
from genseg.progress import Progress
from genseg.segmenters.inference import predict_mask
from genseg.segmenters.torch_network import TorchNetwork
from genseg.training.advance import Advance, Course
from genseg.training.checkpoint import load_checkpoint, save_checkpoint
from genseg.training.curves import draw_curves
from genseg.training.events import EventLog, read_events
from genseg.training.interrupt import postponed_interrupt
from genseg.training.run_folder import RunFolder
from genseg.training.state import TrainingState, begin_training, total_updates

VALIDATIONS = 10
"""How often a run looks at its held-out cases. It only looks: no checkpoint is chosen by them."""

LOWER_RATE = 0.3
"""What the learning rate is multiplied by after a loss that was not finite."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out case: as the network sees it, and the expert's mask `(*spatial)` in its own size."""

    prepared: Prepared
    mask: NDArray[np.uint8]


def train(course: Course, held_out: Sequence[HeldOut], run: RunFolder, progress: Progress) -> TrainingState:
    """Train from the run folder's newest checkpoint, or from the start, to the plan's last update.

    Where the loss is not finite, training goes back to the newest checkpoint once, and on at a lower rate. Raises
    KeyboardInterrupt after a checkpoint was written where the user asked to stop, CutLinkError where feedback has no
    way back to the generator, and TrainingError when the loss is not finite again.
    """
    total = total_updates(course.plan)
    state, problems = _newest(course, run)
    advance = Advance(course)
    every = max(1, total // VALIDATIONS)
    with EventLog(run.path, state.update) as log, postponed_interrupt() as is_asked_to_stop:
        for problem in problems:
            log.write("checkpoint-damaged", state.update, problem=problem)
        while state.update < total:
            try:
                doing = advance(state, log)
            except NotFiniteError as error:
                state = _slower(course, run, state, error)
                log.write("went-back", state.update, reason=str(error))
                continue
            progress(doing, state.update, total)
            if state.update % every == 0 or state.update == total:
                _validate(state, held_out, course, log)
                advance.draw(state, run.pairs)
                save_checkpoint(run.checkpoints, state)
            if is_asked_to_stop():
                save_checkpoint(run.checkpoints, state)
                raise KeyboardInterrupt
    draw_curves(read_events(run.path), run.path / "curves.png")
    return state


def _newest(course: Course, run: RunFolder) -> tuple[TrainingState, list[str]]:
    """The state of the newest whole checkpoint, or the first, and what was wrong with newer checkpoints."""
    state = begin_training(course.plan, len(course.training), course.seed, course.machine)
    problems = load_checkpoint(run.checkpoints, state) if (run.checkpoints / "manifest.json").exists() else []
    return state, problems


def _slower(course: Course, run: RunFolder, failed: TrainingState, error: NotFiniteError) -> TrainingState:
    """The newest checkpoint's state at a lower rate; raises `error` where the rate was lowered before."""
    if failed.learner.rate_factor < 1:
        raise error
    state, _ = _newest(course, run)
    state.learner.rate_factor = LOWER_RATE
    return state


def _validate(state: TrainingState, held_out: Sequence[HeldOut], course: Course, log: EventLog) -> None:
    if not held_out:
        return
    scores = []
    network = TorchNetwork(state.learner.average.module, course.machine.device)
    for one in held_out:
        predicted = predict_mask(network, one.prepared, course.plan)
        scores.append(dice_scores(one.mask, predicted, course.plan.classes))
    by_class = dict(zip(course.plan.class_names[1:], np.mean(scores, axis=0).tolist(), strict=True))
    log.write("validation", state.update, dice=float(np.mean(scores)), dice_by_class=by_class)
