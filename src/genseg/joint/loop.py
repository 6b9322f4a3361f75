"""The loop: stage I alone for a while, then I, II and III in turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from genseg.batches.draw import Batches, Changes
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for, seed_for
from genseg.config import GenerationPlan, Plan
from genseg.drawing.pairs import Example
from genseg.errors import GeneratorError, SettingsError
from genseg.generators.copies import CopyTest, describe_images
from genseg.joint import guards
from genseg.joint.generation import Generation
from genseg.joint.hypergradient import Hypergradient, Unrolled, hypergradient
from genseg.joint.patches import Patches, cut_around_object
from genseg.joint.source import PairSource
from genseg.joint.stages import (
    StageOne,
    StageTwo,
    held_out_gradient,
    real_pairs,
    train_stage_one,
)
from genseg.joint.steering import measure, steer
from genseg.joint.synthesis import Pairs, synthesise
from genseg.joint.waiting import JUDGED, WaitingCases
from genseg.prepare.preprocess import Prepared
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

    training: cases that may train. groups: the patient of each; see `WaitingCases`. Raises SettingsError where there
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
        self.searched = _searched(plan, generation)
        """The update that ends the search."""
        self.steered = steered_updates(plan, generation)
        """The updates that end with a feedback."""
        self._waiting = WaitingCases(groups, generation.waiting, self.searched, seed)
        if self.searched and not self._waiting.most:
            raise SettingsError(
                f"arm: {generation.arm} holds patients out and needs two or more to train on; found one, or "
                "images that are all nearly the same; use --arm separate or strong-augmentation"
            )
        cut = [cut_around_object(case, plan, seed, number) for number, case in enumerate(self._cases)]
        self._patches = Patches(cut, plan, seed, machine)

    def pretrain(self, generation: Generation) -> Measured:
        """One update of stage I before the segmenter's first; after the last of them the generator is judged.

        Raises GeneratorError where it has diverged or collapsed, here and in `advance`.
        """
        size = self._plan.pretraining_size_at(generation.pretrained)
        measured, _ = self._stage_one(generation, self._patches.everyone, "pretraining", size, architecture=False)
        generation.pretrained += 1
        if generation.pretrained == self._settings.pretraining:
            self._refresh_styles(generation, self._patches.everyone, 0)
            self._judge(generation, 0)
        return measured

    def advance(self, learner: Learner, generation: Generation) -> tuple[Measured, Measured]:
        """One update of the segmenter, with stages I and III where they are due.

        Returns what was measured of it, and of stage III where there was one. Raises CutLinkError where feedback finds
        a link cut, NotFiniteError where a loss or the feedback is not finite.
        """
        update = learner.update
        if self._settings.arm == "joint" and update == self.searched:
            generation.decide()
        measured, unrolled = self.unroll(learner, generation, record=update in self.steered)
        return measured, {} if unrolled is None else self._stage_three(learner, generation, unrolled, update)

    def trains_generator(self, update: int) -> bool:
        """Whether stage I is due in an update of the segmenter."""
        return self._settings.arm != "separate" and update % self._settings.every == 0

    def takes_styles(self, update: int) -> bool:
        """Whether the styles of real images are taken anew in an update: every so often, and where images grow."""
        grows = self._plan.size_at(update) != self._plan.size_at(update - 1)
        return update > 0 and (grows or update % self._settings.refresh == 0)

    def unroll(
        self, learner: Learner, generation: Generation, *, record: bool
    ) -> tuple[Measured, UnrolledStages | None]:
        """Stage I where it is due, and stage II; with `record`, what is needed to differentiate through both.

        Raises CutLinkError where the first recorded pairs have no way back to the generator, GeneratorError where
        feedback has left pairs no share, or the generator is of no use.
        """
        update, cases = learner.update, self._waiting.training(learner.update)
        synthetic = self._synthetic(generation)
        measured: Measured = {}
        first: Unrolled | None = None
        if self.trains_generator(update):
            size = self._plan.size_at(update)
            measured, first = self._stage_one(generation, cases, f"of {len(cases)}", size, architecture=record)
        if self.takes_styles(update):
            self._refresh_styles(generation, cases, update)
            self._judge(generation, update)
        with torch.set_grad_enabled(record):
            pairs = self._pairs(generation, cases, update, synthetic)
        if record and generation.feedbacks == 0:
            guards.check_pairs(pairs, generation.translator.generator)
        seed = seed_for(self._seed, "synthetic dropout", update)
        second = StageTwo(learner, pairs, seed, self._plan, self._machine, record)
        measured |= make_update(
            learner,
            *self._real(cases, update, self._plan.batch_size - synthetic),
            self._plan,
            self._seed,
            self._machine,
            weight=second.real_weight,
            more_loss=second.more_loss,
            before_step=second.before_step,
        )
        return measured, None if second.unrolled is None else UnrolledStages(pairs, second.unrolled, first)

    def feedback(
        self, learner: Learner, generation: Generation, unrolled: UnrolledStages, update: int
    ) -> tuple[Hypergradient, float]:
        """The hypergradient of the update that was unrolled, and the error on the cases held out in it."""
        cotangent, error = held_out_gradient(learner, *self.held_out(update), self._machine)
        made, variables, weights = unrolled.pairs.made(), generation.variables(), generation.weights()
        method = self._settings.hypergradient
        return hypergradient(cotangent, unrolled.second, made, variables, weights, unrolled.first, method), error

    def examples(self, generation: Generation, update: int) -> list[Example]:
        """A few real cases and what the generator makes of them now; always the same draws.

        update: of the segmenter, the one that was made last; images have its size.
        """
        if generation.pretrained < self._settings.pretraining:
            self._refresh_styles(generation, self._patches.everyone, update)
        patches = self._patches_at(update)
        cases = patches.everyone[:EXAMPLES]
        images, masks = patches.images(cases), patches.masks(cases)
        shown, pool = patches.shown(masks), patches.pool(cases)
        generator, draws = generation.translator.generator, generator_for(self._seed, "examples", 0)
        with torch.no_grad():
            rebuilt = generator(shown, generation.translator.encoder(self._machine.send(images), shown)[0])
            pairs = synthesise(generator, generation.knobs, pool, len(cases), self._plan, self._machine, draws)
        made = (rebuilt, pairs.plain, pairs.mask.argmax(1).byte())
        arrays = [images.numpy(), masks.numpy(), *(tensor.float().cpu().numpy() for tensor in made)]
        return [Example(*one) for one in zip(*arrays, strict=True)]

    def source(self, generation: Generation, held_out: Sequence[Prepared]) -> PairSource:
        """What pairs are made from once training is over; the styles of all cases are taken anew for it.

        held_out: cases that nothing was trained on; they tell how near to training images others come.
        """
        self._refresh_styles(generation, self._patches.everyone, self._plan.updates)
        images, pool = self._patches.images(self._patches.everyone), self._patches.pool(self._patches.everyone)
        others = [
            cut_around_object(case, self._plan, self._seed, len(self._cases) + number)[0]
            for number, case in enumerate(held_out)
        ]
        groups = [sorted(set(self._groups)).index(group) for group in self._groups]
        unseen = describe_images(torch.stack(others) if others else images[:0])
        return PairSource(
            generation.translator.generator,
            generation.knobs,
            [case.name for case in self._cases],
            pool.masks,
            pool.plausibility,
            CopyTest(describe_images(images), groups, unseen, self._plan.flip_axes),
        )

    def held_out(self, update: int) -> tuple[Tensor, Tensor]:
        """Images and masks of the cases held out in an update, changed at random as those of stage II are."""
        cases = self._waiting.held_out(update)
        size = self._plan.size_at(update)
        return self._batches(cases, "held out", max(JUDGED, len(cases)), size)[update]

    def _patches_at(self, update: int) -> Patches:
        """The cases at the size that images have in an update of the segmenter."""
        return self._patches.at(self._plan.size_at(update))

    def _stage_one(
        self, generation: Generation, cases: Sequence[int], purpose: str, size: tuple[int, ...], *, architecture: bool
    ) -> tuple[Measured, Unrolled | None]:
        stage = self._stage(generation, cases, purpose, size)
        # Where nothing is known of any pixel, nothing of the loss is about the generator.
        steered = generation.architecture() if architecture and bool(stage.mask.any()) else {}
        optimisers = generation.translator_optimiser, generation.discriminator_optimiser
        measured, unrolled = train_stage_one(stage, *optimisers, self._machine, steered)
        generation.count_update(measured["l1"])
        return measured, unrolled

    def _stage(self, generation: Generation, cases: Sequence[int], purpose: str, size: tuple[int, ...]) -> StageOne:
        batches = self._batches(cases, f"stage I {purpose}", self._settings.batch_size, size, "space")
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
        generation.alive = guards.check_gradients(found, unrolled.pairs, error, generation.alive)
        steer(generation, found, self._settings.radius / len(self.steered))
        generation.feedbacks += 1
        return {"held_out_loss": error, **measure(found, generation)}

    def _judge(self, generation: Generation, update: int) -> None:
        """Raise GeneratorError where the generator is of no use to a segmenter."""
        patches = self._patches_at(update)
        with torch.no_grad():
            draws = generator_for(self._seed, "judged styles", 0)
            mask = patches.shown(patches.masks([0] * STYLES_COMPARED))
            looks = (patches.everyone * STYLES_COMPARED)[:STYLES_COMPARED]
            styles = generation.knobs.styles.sample(mask, looks, patches.everyone, draws)
            generated = generation.translator.generator(mask, styles)
        guards.check_health(generated.cpu(), patches.images(patches.everyone), generation.l1)

    def _refresh_styles(self, generation: Generation, cases: Sequence[int], update: int) -> None:
        """Take the styles of the cases that may be used now, in new views, by the encoder as it is now."""
        patches = self._patches_at(update)
        for view in range(generation.knobs.styles.views):
            image, mask = patches.view(cases, view, update)
            shown = patches.shown(mask)
            with torch.no_grad():
                mean, log_variance = generation.translator.encoder(self._machine.send(image), shown)
                generation.knobs.styles.learn(cases, view, mean, log_variance, shown)

    def _synthetic(self, generation: Generation) -> int:
        """How many images of an update are synthetic now. Raises GeneratorError where feedback has left none."""
        wanted = round(generation.knobs.share().item() * self._plan.batch_size)
        if wanted == 0:
            raise GeneratorError(
                "the error on held-out cases says that generated pairs do not help here: their share of an update's "
                f"images, {self._settings.share:g} at first, has fallen below half an image"
            )
        return min(wanted, self._plan.most_synthetic)

    def _pairs(self, generation: Generation, cases: Sequence[int], update: int, count: int) -> Pairs:
        draws = generator_for(self._seed, "synthetic pairs", update)
        generator, pool = generation.translator.generator, self._patches_at(update).pool(cases)
        return synthesise(generator, generation.knobs, pool, count, self._plan, self._machine, draws)

    def _real(self, cases: Sequence[int], update: int, count: int) -> tuple[Tensor, Tensor]:
        return self._batches(cases, f"stage II of {len(cases)}", count, self._plan.size_at(update))[update]

    def _batches(
        self, cases: Sequence[int], purpose: str, count: int, size: tuple[int, ...], changes: Changes = "plan"
    ) -> Batches:
        """Batches of `count` images of this size."""
        return Batches(
            [self._cases[case] for case in cases],
            self._plan,
            self._seed,
            self._machine,
            batch_size=count,
            purpose=purpose,
            changes=changes,
            size=size,
        )


def _searched(plan: Plan, generation: GenerationPlan) -> int:
    """The update that ends the search; a frozen generator needs nobody held out."""
    return 0 if generation.arm == "separate" else max(1, round(generation.search * plan.updates))


def steered_updates(plan: Plan, generation: GenerationPlan) -> range:
    """The updates that end with a feedback: every so many of those in which cases are held out, one at least.

    None before the rate has risen: the segmenter's running statistics are hardly those of images until then, it cannot
    predict, and its error says nothing of the pairs.
    """
    if generation.arm != "joint":
        return range(0)
    every, searched = generation.every, _searched(plan, generation)
    first = min(math.ceil(plan.warm_up * plan.updates / every), (searched - 1) // every)
    return range(first * every, searched, every)
