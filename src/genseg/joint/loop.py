"""The loop: stage I alone for a while, then I, II and III in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genseg.config import GenerationPlan, Plan
from genseg.data.augment import augment_space
from genseg.data.batches import Batches, cut_patch
from genseg.data.preprocess import Prepared
from genseg.device import Machine
from genseg.errors import SettingsError
from genseg.generators.copies import CopyTest, describe_images
from genseg.joint import guards
from genseg.joint.folds import RotatingFolds
from genseg.joint.generation import Generation
from genseg.joint.hypergradient import Hypergradient, Unrolled, hypergradient, norm_of
from genseg.joint.pictures import Example
from genseg.joint.source import PairSource
from genseg.joint.stages import (
    StageOne,
    held_out_gradient,
    more_loss,
    real_pairs,
    record_segmenter,
    train_discriminator,
    train_translator,
)
from genseg.joint.synthesis import MaskPool, Pairs, synthesise
from genseg.masks.plausible import Plausibility
from genseg.randomness import generator_for, seed_for
from genseg.segmenters.learner import Learner, make_update

EXAMPLES = 4
"""Cases that are drawn."""

STYLES_COMPARED = 4
"""Images of one mask that are compared to see whether styles make a difference."""

Measured = dict[str, float]


@dataclass(frozen=True)
class UnrolledStages:
    """Stages II and I of one update, recorded, and the pairs that lie between them. first: None where none was due."""

    pairs: Pairs
    second: Unrolled
    first: Unrolled | None


class JointLoop:
    """Updates of generator and segmenter by number; the same number gives the same draws, whatever came before.

    training: cases that may train. groups: the patient of each; see `RotatingFolds`. Raises SettingsError where there
    are too few patients to hold any out.
    """

    def __init__(
        self,
        training: Sequence[Prepared],
        groups: Sequence[str],
        plan: Plan,
        generation: GenerationPlan,
        seed: int,
        machine: Machine,
    ) -> None:
        self._cases = list(training)
        self._groups = list(groups)
        self._plan = plan
        self._settings = generation
        self._seed = seed
        self._machine = machine
        # A frozen generator needs nobody held out.
        self._searched = 0 if generation.arm == "separate" else max(1, round(generation.search * plan.updates))
        self._folds = RotatingFolds(groups, generation.folds, generation.turn, self._searched, seed)
        if self._searched and len(self._folds) < 2:
            raise SettingsError(
                f"arm: {generation.arm} holds patients out in turn and needs two or more to train on; found one, or "
                "images that are all nearly the same; use --arm separate or strong-augmentation"
            )
        self._patches = [self._patch(case, number) for number, case in enumerate(self._cases)]
        self._plausible: dict[tuple[int, ...], Plausibility] = {}

    def pretrain(self, generation: Generation) -> Measured:
        """One update of stage I before the segmenter's first; after the last of them the generator is judged.

        Raises GeneratorError where it has diverged or collapsed, here and in `advance`.
        """
        measured, _ = self._stage_one(generation, self._everyone, "pretraining", architecture=False)
        generation.pretrained += 1
        if generation.pretrained == self._settings.pretraining:
            self._refresh_styles(generation, self._everyone, 0)
            self._judge(generation)
        return measured

    def advance(self, learner: Learner, generation: Generation) -> tuple[Measured, Measured]:
        """One update of the segmenter, with stages I and III where they are due.

        Returns what was measured of it, and of stage III where there was one. Raises CutLinkError where feedback finds
        a link cut, NotFiniteError where a loss or the feedback is not finite.
        """
        update = learner.update
        if self._settings.arm == "joint" and update == self._searched:
            generation.decide()
        is_due = self._settings.arm == "joint" and update < self._searched and update % self._settings.every == 0
        measured, unrolled = self.unroll(learner, generation, record=is_due)
        return measured, {} if unrolled is None else self._stage_three(learner, generation, unrolled, update)

    def unroll(
        self, learner: Learner, generation: Generation, *, record: bool
    ) -> tuple[Measured, UnrolledStages | None]:
        """Stage I where it is due, and stage II; with `record`, what is needed to differentiate through both.

        Raises CutLinkError where the first recorded pairs have no way back to the generator.
        """
        update, cases = learner.update, self._folds.training(learner.update)
        measured: Measured = {}
        first: Unrolled | None = None
        if self._settings.arm != "separate" and update % self._settings.every == 0:
            measured, first = self._stage_one(
                generation, cases, f"turn {self._folds.turn(update)}", architecture=record
            )
        if update and update % self._settings.turn == 0:
            self._refresh_styles(generation, cases, update)
            self._judge(generation)
        with torch.set_grad_enabled(record):
            pairs = self._pairs(generation, cases, update)
        if record and generation.feedbacks == 0:
            guards.check_pairs(pairs, generation.translator.generator)
        seed = seed_for(self._seed, "synthetic dropout", update)
        second: list[Unrolled] = []
        measured |= make_update(
            learner,
            *self._real(cases, update),
            self._plan,
            self._seed,
            self._machine,
            more_loss=more_loss(learner, pairs, seed, self._machine),
            before_step=lambda: second.append(record_segmenter(learner, pairs, seed, self._plan)) if record else None,
        )
        return measured, UnrolledStages(pairs, second[0], first) if record else None

    def feedback(
        self, learner: Learner, generation: Generation, unrolled: UnrolledStages, update: int
    ) -> tuple[Hypergradient, float]:
        """The hypergradient of the update that was unrolled, and the error on the cases held out in it."""
        cotangent, error = held_out_gradient(learner, *self.held_out(update), self._machine)
        made, variables, weights = unrolled.pairs.made(), generation.variables(), generation.weights()
        method = self._settings.method
        return hypergradient(cotangent, unrolled.second, made, variables, weights, unrolled.first, method), error

    def examples(self, generation: Generation) -> list[Example]:
        """A few real cases and what the generator makes of them now; always the same draws."""
        if generation.pretrained < self._settings.pretraining:
            self._refresh_styles(generation, self._everyone, 0)
        cases = self._everyone[:EXAMPLES]
        images, masks = self._images(cases), np.stack([self._patches[case][1] for case in cases])
        shown, pool = self._shown(cases), self._pool(cases)
        generator, draws = generation.translator.generator, generator_for(self._seed, "examples", 0)
        with torch.no_grad():
            rebuilt = generator(shown, generation.translator.encoder(self._machine.send(images), shown)[0])
            pairs = synthesise(generator, generation.knobs, pool, len(cases), self._plan, self._machine, draws)
        made = (rebuilt, pairs.plain, pairs.mask.argmax(1).byte())
        arrays = [images.numpy(), masks, *(tensor.float().cpu().numpy() for tensor in made)]
        return [Example(*one) for one in zip(*arrays, strict=True)]

    def source(self, generation: Generation, held_out: Sequence[Prepared]) -> PairSource:
        """What pairs are made from once training is over; the styles of all cases are taken anew for it.

        held_out: cases that nothing was trained on; they tell how near to training images others come.
        """
        self._refresh_styles(generation, self._everyone, self._plan.updates)
        images = self._images(self._everyone)
        others = [self._patch(case, len(self._cases) + number)[0] for number, case in enumerate(held_out)]
        groups = [sorted(set(self._groups)).index(group) for group in self._groups]
        unseen = describe_images(torch.stack(others) if others else images[:0])
        return PairSource(
            generation.translator.generator,
            generation.knobs,
            [case.name for case in self._cases],
            [mask for _, mask in self._patches],
            self._pool(self._everyone).plausibility,
            CopyTest(describe_images(images), groups, unseen, self._plan.flip_axes),
        )

    def held_out(self, update: int) -> tuple[Tensor, Tensor]:
        """Images and masks of the cases held out in an update, changed at random as those of stage II are."""
        cases = self._folds.held_out(update)
        return self._batches(cases, f"held out {self._folds.turn(update)}", len(cases))[update]

    def _stage_one(
        self, generation: Generation, cases: Sequence[int], purpose: str, *, architecture: bool
    ) -> tuple[Measured, Unrolled | None]:
        stage = self._stage(generation, cases, purpose)
        steered = generation.architecture() if architecture else {}
        measured, unrolled = train_translator(stage, generation.translator_optimiser, self._machine, steered)
        measured |= train_discriminator(stage, generation.discriminator_optimiser, self._machine)
        generation.updates += 1
        generation.l1 = measured["l1"]
        return measured, unrolled

    def _stage(self, generation: Generation, cases: Sequence[int], purpose: str) -> StageOne:
        batches = self._batches(cases, f"stage I {purpose}", self._settings.batch_size, "space")
        image, mask = batches[generation.updates]
        return StageOne(
            generation.translator,
            generation.discriminator,
            image,
            self._machine.send(real_pairs(image, mask, self._plan.classes)),
            self._settings,
            seed_for(self._seed, "stage I styles", generation.updates),
        )

    def _stage_three(self, learner: Learner, generation: Generation, unrolled: UnrolledStages, update: int) -> Measured:
        """Steer the generator, and all that pairs are made with, by the error on the cases held out now."""
        is_first = generation.feedbacks == 0
        if is_first:
            guards.check_variables(generation.variables(), generation.knob_optimiser)
        found, error = self.feedback(learner, generation, unrolled, update)
        guards.check_finite(found, error, update)
        if is_first:
            guards.check_gradients(found, generation.variables(), generation.architecture())
        feedbacks = math.ceil(self._searched / self._settings.every)
        steer(generation, found, self._settings.radius / feedbacks)
        generation.feedbacks += 1
        return {"held_out_loss": error, **measure(found, generation)}

    def _judge(self, generation: Generation) -> None:
        """Raise GeneratorError where the generator is of no use to a segmenter."""
        with torch.no_grad():
            draws = generator_for(self._seed, "judged styles", 0)
            mask, looks = self._shown([0] * STYLES_COMPARED), (self._everyone * STYLES_COMPARED)[:STYLES_COMPARED]
            styles = generation.knobs.styles.sample(mask, looks, self._everyone, draws)
            generated = generation.translator.generator(mask, styles)
        guards.check_health(generated.cpu(), self._images(self._everyone), generation.l1)

    def _refresh_styles(self, generation: Generation, cases: Sequence[int], update: int) -> None:
        """Take the styles of the cases that may be used now, in new views, by the encoder as it is now."""
        for view in range(generation.knobs.styles.views):
            image, mask = self._view(cases, view, update)
            shown = self._machine.send(real_pairs(image, mask, self._plan.classes))
            with torch.no_grad():
                mean, log_variance = generation.translator.encoder(self._machine.send(image), shown)
                generation.knobs.styles.learn(cases, view, mean, log_variance, shown)

    def _view(self, cases: Sequence[int], view: int, update: int) -> tuple[Tensor, Tensor]:
        """The cases' patches and masks: as they are in view 0, moved at random in any other."""
        image, mask = self._images(cases), torch.from_numpy(np.stack([self._patches[case][1] for case in cases]))
        if view == 0:
            return image, mask
        draws = generator_for(self._seed, f"view {view}", update)
        return augment_space(image, mask, draws, flip_axes=(), spacing=self._plan.spacing)

    def _images(self, cases: Sequence[int]) -> Tensor:
        """The cases' patches, `(case, channel, *patch)`, on the CPU."""
        return torch.stack([self._patches[case][0] for case in cases])

    def _shown(self, cases: Sequence[int]) -> Tensor:
        """Their masks as networks are shown them, `(case, class, *patch)`, on the device."""
        masks = torch.from_numpy(np.stack([self._patches[case][1] for case in cases]))
        return self._machine.send(real_pairs(self._patches[0][0], masks, self._plan.classes))

    def _pairs(self, generation: Generation, cases: Sequence[int], update: int) -> Pairs:
        draws = generator_for(self._seed, "synthetic pairs", update)
        generator, pool = generation.translator.generator, self._pool(cases)
        return synthesise(generator, generation.knobs, pool, self._synthetic, self._plan, self._machine, draws)

    def _pool(self, cases: Sequence[int]) -> MaskPool:
        """The masks of these cases, and what these alone say of plausible ones."""
        key = tuple(cases)
        if key not in self._plausible:
            masks = [self._patches[case][1] for case in cases]
            self._plausible[key] = Plausibility.learn(masks, self._plan.classes)
        return MaskPool([mask for _, mask in self._patches], cases, self._plausible[key])

    def _real(self, cases: Sequence[int], update: int) -> tuple[Tensor, Tensor]:
        purpose = f"stage II {self._folds.turn(update)}"
        return self._batches(cases, purpose, self._plan.batch_size - self._synthetic)[update]

    @property
    def _synthetic(self) -> int:
        """How many images of an update are synthetic."""
        return round(self._settings.share * self._plan.batch_size)

    @property
    def _everyone(self) -> list[int]:
        return list(range(len(self._cases)))

    def _batches(
        self, cases: Sequence[int], purpose: str, size: int, changes: Literal["plan", "space"] = "plan"
    ) -> Batches:
        chosen = [self._cases[case] for case in cases]
        return Batches(chosen, self._plan, self._seed, self._machine, batch_size=size, purpose=purpose, changes=changes)

    def _patch(self, case: Prepared, number: int) -> tuple[Tensor, NDArray[np.uint8]]:
        """A patch around the object of a case, always the same: the whole picture, or part of a large volume."""
        plan = self._plan.model_copy(update={"foreground_share": 1.0})
        image, mask = cut_patch(case, plan, generator_for(self._seed, "patch", number))
        return image, mask.numpy()


def steer(generation: Generation, found: Hypergradient, reach: float) -> None:
    """Move architecture and knobs by their optimiser, the generator's weights by a step of fixed relative length.

    reach: that length, as a share of the weights' own. All steps together stay within a trust region: each shows the
    way for one update of the segmenter alone, and a generator that follows far makes objects easy to tell, not real.
    """
    for name, variable in generation.variables().items():
        variable.grad = found.total(name)
    generation.knob_optimiser.step()
    generation.knob_optimiser.zero_grad(set_to_none=True)
    weights = generation.weights()
    moved = {name: gradient for name, gradient in found.weights.items() if gradient is not None}
    factor = reach * norm_of({name: weights[name].detach() for name in moved}) / norm_of(moved).clamp(min=1e-30)
    with torch.no_grad():
        for name, gradient in moved.items():
            weights[name] -= factor * gradient


def measure(found: Hypergradient, generation: Generation) -> Measured:
    """What the record keeps of a feedback: the length of every term, and what it has led to."""
    architecture = generation.architecture()
    knobs = {name: found.direct.get(name) for name in generation.variables() if name not in architecture}
    return {
        "direct_norm": norm_of({name: found.direct.get(name) for name in architecture}).item(),
        "indirect_norm": norm_of(found.indirect).item(),
        "weights_norm": norm_of(found.weights).item(),
        **{f"norm_{name}": norm_of({name: gradient}).item() for name, gradient in knobs.items()},
        "architecture_entropy": generation.translator.generator.architecture_entropy().item(),
        **generation.knobs.values(),
    }
