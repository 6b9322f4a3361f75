"""The next update of a run, whatever its training method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import Tensor

from genseg.batches.draw import Batches, joined, unlabelled_images
from genseg.compute.device import Machine
from genseg.config import Plan
from genseg.drawing.pairs import draw_pairs
from genseg.errors import GeneratorError
from genseg.joint.generation import Generation
from genseg.joint.loop import JointLoop
from genseg.prepare.preprocess import Prepared
from genseg.runs.events import EventLog
from genseg.runs.state import TrainingState
from genseg.segmenters.learner import Learner, make_update
from genseg.training.views import FeatureBatches, has_views


@dataclass(frozen=True)
class Course:
    """What a run trains on, and how. groups: the patient, or whatever must stay together, of each training case.

    may_halve: whether training goes on with half the images an update where memory runs out. further: unlabelled cases
    with predicted masks, of which the plan's `unlabelled_share` of an update's real images are.
    """

    plan: Plan
    seed: int
    training: Sequence[Prepared]
    groups: Sequence[str]
    machine: Machine
    may_halve: bool = True
    further: Sequence[Prepared] = ()

    @cached_property
    def joint(self) -> JointLoop | None:
        """The loop with a generator; None where the plan has none."""
        if self.plan.generation is None:
            return None
        return JointLoop(self.training, self.groups, self.plan, self.seed, self.machine, self.further)


class Advance:
    """Makes updates by what the state says was made before, and writes each into the record."""

    def __init__(self, course: Course) -> None:
        self._course = course
        plan, how = course.plan, (course.plan, course.seed, course.machine)
        others = unlabelled_images(plan, plan.batch_size) if course.further else 0
        self._batches = Batches(course.training, *how, batch_size=plan.batch_size - others)
        self._further = Batches(course.further, *how, batch_size=others, purpose="unlabelled") if others else None
        self._features = FeatureBatches(course.training, *how) if has_views(plan) else None
        self._joint = course.joint

    def __call__(self, state: TrainingState, log: EventLog) -> str:
        """Make one update; what was done, in words. A generator that fails is switched off, and nothing else changes.

        Raises TrainingError where the segmenter's loss is not finite, CutLinkError where feedback has no way back.
        """
        loop, generation, settings = self._joint, state.generation, self._course.plan.generation
        if loop is None or settings is None or generation is None or generation.off:
            return self._alone(state.learner, state, log)
        try:
            if generation.pretrained < settings.pretraining:
                doing = self._pretrain(loop, generation, state, log)
            else:
                doing = self._together(loop, generation, state, log)
        except GeneratorError as error:
            generation.off = str(error)
            doing = "Going on without a generator"
        if generation.off:
            generation.pretrained = settings.pretraining
            log.write("generator-off", state.update, reason=generation.off)
        return doing

    def draw(self, state: TrainingState, folder: Path) -> None:
        """Draw real and synthetic pairs as they are now, where there is a generator."""
        loop, generation = self._joint, state.generation
        if loop is not None and generation is not None and not generation.off:
            examples = loop.examples(generation, max(0, state.learner.update - 1))
            draw_pairs(examples, folder / f"update-{state.update:07d}.png", self._course.plan.class_names)

    def _alone(self, learner: Learner, state: TrainingState, log: EventLog) -> str:
        course = self._course
        image: Tensor | list[Tensor]
        if self._features is not None:
            image, mask = self._features.batch(learner.update, learner.segmenter)
        elif self._further is not None:
            image, mask = joined(self._batches[learner.update], self._further[learner.update])
        else:
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
