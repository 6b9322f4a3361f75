"""The training loop: updates, validations, checkpoints, until the plan's last update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genseg.base.progress import Progress
from genseg.drawing.training_curves import draw_curves
from genseg.errors import MemoryRanOutError, NotFiniteError
from genseg.evaluate.metrics import dice_scores
from genseg.joint.patches import surroundings_of
from genseg.prepare.preprocess import Prepared
from genseg.runs.checkpoint import load_checkpoint
from genseg.runs.events import EventLog, read_events
from genseg.runs.folder import RunFolder
from genseg.runs.state import TrainingState, begin_training, total_updates
from genseg.segmenters.inference import predict_mask
from genseg.segmenters.torch_network import TorchNetwork
from genseg.training.advance import Advance, Course
from genseg.training.interrupt import postponed_interrupt
from genseg.training.recovery import SMALLER, attempt, save, with_half_the_batch
from genseg.training.watchdog import watchdog

VALIDATIONS = 10
"""How often a run looks at its held-out cases. It only looks: no checkpoint is chosen by them."""

LOWER_RATE = 0.3
"""What the learning rate is multiplied by after a loss that was not finite."""


@dataclass(frozen=True)
class HeldOut:
    """A held-out case: as the network sees it, and the expert's mask `(*spatial)` in its own size."""

    prepared: Prepared
    mask: NDArray[np.uint8]


def train(
    course: Course,
    held_out: Sequence[HeldOut],
    run: RunFolder,
    progress: Progress,
    *,
    accepted: str = "",
    moved: str = "",
) -> TrainingState:
    """Train from the run folder's newest checkpoint, or from the start, to the plan's last update.

    accepted: cases that have changed since the run began, for its record. moved: how machine or number of threads
    differ from those that the run was left with, likewise.

    Where the loss is not finite, training goes back to the newest checkpoint once, and on at a lower rate; where memory
    runs out, once and on with half the images an update, which is then what the run's plan says, if the course allows
    it. Raises KeyboardInterrupt after a checkpoint was written where the user asked to stop, CutLinkError where
    feedback has no way back to the generator, NotFiniteError or MemoryRanOutError when the same happens again, and
    OSError where a checkpoint cannot be written.
    """
    total = total_updates(course.plan)
    state, problems = _newest(course, run)
    advance = Advance(course)
    every = max(1, total // VALIDATIONS)
    stalled = run.path / "stalled.txt"
    with (
        EventLog(run.path, state.update) as log,
        postponed_interrupt() as is_asked_to_stop,
        watchdog(stalled, lambda said: progress(said, state.update, total)) as something_was_done,
    ):
        for problem in problems:
            log.write("checkpoint-damaged", state.update, problem=problem)
        if accepted:
            log.write("data-changed", state.update, cases=accepted)
        if moved and state.update > 0:
            log.write("machine-changed", state.update, changes=moved)
        while state.update < total:
            try:
                doing = attempt(advance, state, log)
            except NotFiniteError as error:
                state = _slower(course, run, state, error)
                log.write("went-back", state.update, reason=str(error))
                continue
            if doing is None:
                course = _smaller(course, run)
                advance, (state, _) = Advance(course), _newest(course, run)
                log.write("smaller-batch", state.update, batch_size=course.plan.batch_size)
                continue
            something_was_done()
            progress(doing, state.update, total)
            if state.update % every == 0 or state.update == total:
                _validate(state, held_out, course, log)
                advance.draw(state, run.pairs)
                save(run, state, log)
            if is_asked_to_stop():
                save(run, state, log)
                raise KeyboardInterrupt
    draw_curves(read_events(run.path), run.path / "curves.png")
    return state


def _newest(course: Course, run: RunFolder) -> tuple[TrainingState, list[str]]:
    """The state of the newest whole checkpoint, or the first, and what was wrong with newer checkpoints."""
    surroundings = len(surroundings_of(course.further))
    state = begin_training(course.plan, len(course.training), course.seed, course.machine, surroundings)
    problems = load_checkpoint(run.checkpoints, state) if (run.checkpoints / "manifest.json").exists() else []
    return state, problems


def _slower(course: Course, run: RunFolder, failed: TrainingState, error: NotFiniteError) -> TrainingState:
    """The newest checkpoint's state at a lower rate; raises `error` where the rate was lowered before."""
    if failed.learner.rate_factor < 1:
        raise error
    state, _ = _newest(course, run)
    state.learner.rate_factor = LOWER_RATE
    return state


def _smaller(course: Course, run: RunFolder) -> Course:
    """The course with half the images an update, also in the run's plan. Raises MemoryRanOutError if it may not be."""
    if not course.may_halve:
        raise MemoryRanOutError(f"memory ran out at {course.plan.batch_size} image(s) per update; {SMALLER}")
    plan = with_half_the_batch(course.plan)
    plan.to_yaml(run.path / "plan.yaml")
    return replace(course, plan=plan, may_halve=False)


def _validate(state: TrainingState, held_out: Sequence[HeldOut], course: Course, log: EventLog) -> None:
    if not held_out:
        return
    scores = []
    network = TorchNetwork(state.learner.average.module, course.machine.device)
    for one in held_out:
        try:
            predicted = predict_mask(network, one.prepared, course.plan)
        except FloatingPointError:  # a training that diverges is validated too
            predicted = np.zeros_like(one.mask)
        scores.append(dice_scores(one.mask, predicted, course.plan.classes))
    by_class = dict(zip(course.plan.class_names[1:], np.mean(scores, axis=0).tolist(), strict=True))
    log.write("validation", state.update, dice=float(np.mean(scores)), dice_by_class=by_class)
