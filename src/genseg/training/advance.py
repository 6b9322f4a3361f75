"""The next update of a run, whichever arm it follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genseg.config import GenerationPlan, Plan
from genseg.data.batches import Batches
from genseg.data.preprocess import Prepared
from genseg.device import Machine
from genseg.errors import GeneratorError
from genseg.joint.generation import Generation
from genseg.joint.loop import JointLoop
from genseg.joint.pictures import draw_pairs
from genseg.segmenters.learner import Learner, make_update
from genseg.training.events import EventLog
from genseg.training.state import TrainingState


@dataclass(frozen=True)
class Course:
    """What a run trains on, and how. groups: the patient, or whatever must stay together, of each training case."""

    plan: Plan
    seed: int
    training: Sequence[Prepared]
    groups: Sequence[str]
    machine: Machine


class Advance:
    """Makes updates by what the state says was made before, and writes each into the record."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._batches = Batches(course.training, course.plan, course.seed, course.machine)
        self._joint: tuple[JointLoop, GenerationPlan] | None = None
        if course.plan.generation is not None:
            settings = course.plan.generation
            loop = JointLoop(course.training, course.groups, course.plan, settings, course.seed, course.machine)
            self._joint = loop, settings

    def __call__(self, state: TrainingState, log: EventLog) -> str:
        """Make one update; what was done, in words. A generator that fails is switched off, and nothing else changes.

        Raises TrainingError where the segmenter's loss is not finite, CutLinkError where feedback has no way back.
        """
        if self._joint is None or state.generation is None or state.generation.off:
            return self._alone(state.learner, state, log)
        loop, settings = self._joint
        try:
            if state.generation.pretrained < settings.pretraining:
                doing = self._pretrain(loop, state.generation, state, log)
            else:
                doing = self._together(loop, state.generation, state, log)
        except GeneratorError as error:
            state.generation.off = str(error)
            doing = "Going on without a generator"
        if state.generation.off:
            state.generation.pretrained = settings.pretraining
            log.write("generator-off", state.update, reason=state.generation.off)
        return doing

    def draw(self, state: TrainingState, folder: Path) -> None:
        """Draw real and synthetic pairs as they are now, where there is a generator."""
        if self._joint is not None and state.generation is not None and not state.generation.off:
            examples = self._joint[0].examples(state.generation)
            draw_pairs(examples, folder / f"update-{state.update:07d}.png", self._course.plan.class_names)

    def _alone(self, learner: Learner, state: TrainingState, log: EventLog) -> str:
        course = self._course
        image, mask = self._batches[learner.update]
        measured = make_update(learner, image, mask, course.plan, course.seed, course.machine)
        log.write("step", state.update, **measured)
        return f"Training, loss {measured['loss']:.3f}"

    def _pretrain(self, loop: JointLoop, generation: Generation, state: TrainingState, log: EventLog) -> str:
        measured = loop.pretrain(generation)
        log.write("pretraining", state.update, **measured)
        return f"Learning to generate, L1 {measured['l1']:.3f}"

    def _together(self, loop: JointLoop, generation: Generation, state: TrainingState, log: EventLog) -> str:
        measured, feedback = loop.advance(state.learner, generation)
        log.write("step", state.update, **measured)
        if feedback:
            log.write("feedback", state.update, **feedback)
        return f"Training, loss {measured['loss']:.3f}"
