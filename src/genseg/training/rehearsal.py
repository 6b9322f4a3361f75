"""Updates of all that a plan trains, on tensors that have a shape and no memory: how much memory they would take."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from genseg.batches.augment import augment_intensity
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import GenerationPlan, Plan
from genseg.joint.generation import Generation
from genseg.joint.hypergradient import Unrolled, hypergradient
from genseg.joint.loop import steered_updates
from genseg.joint.stages import (
    StageOne,
    StageTwo,
    held_out_gradient,
    real_pairs,
    train_stage_one,
)
from genseg.joint.synthesis import Pairs
from genseg.joint.waiting import JUDGED
from genseg.masks.make import draw_recipe, realise
from genseg.masks.ranges import MaskRanges
from genseg.runs.state import begin_training
from genseg.segmenters.learner import Learner, make_update
from genseg.training.dummy import made_up_cases
from genseg.training.live_bytes import LiveBytes
from genseg.training.views import encode, has_views

ROUNDS = 2
"""Updates without feedback that are rehearsed: optimisers have no moments in the first."""

NewMasks = Callable[[MaskRanges], Tensor]


@dataclass(frozen=True)
class Rehearsal:
    """Bytes of tensors. peak: the most that are alive at once: weights, moments, activations, hypergradients. state:
    those that stay between updates, most of which a checkpoint holds.
    """

    peak: int
    state: int


def rehearse(plan: Plan, cases: int, machine: Machine) -> Rehearsal:
    """What the plan's updates would take.

    cases: how many train. Nothing is computed, however large the plan: the count is that of the updates' own code. What
    a processor's kernels take beside their results comes on top.
    """
    machine = replace(machine, device=torch.device("cpu"))
    state = begin_training(plan, cases, 0, machine)
    parts = [_Part(one, _new_masks(one), is_steered) for one, is_steered in _kinds(plan)]
    if state.generation is not None:
        for part in parts:
            part.new_masks(state.generation.knobs.ranges)  # so that what is kept for the next time has a content
    without_memory = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(without_memory):
        state = copy.deepcopy(state)
    live = LiveBytes()
    with without_memory, live:
        live.hold(chain.from_iterable((*one.parameters(), *one.buffers()) for one in state.modules().values()))
        for part in parts:
            updates = _Updates(part.plan, cases, machine)
            if state.generation is None or plan.generation is None:
                updates.alone(state.learner)
            else:
                updates.together(state.learner, state.generation, plan.generation, part)
    return Rehearsal(live.peak, live.now)


@dataclass(frozen=True)
class _Part:
    """Updates on images of one size. plan: with that size as its own. is_steered: whether feedback comes with them."""

    plan: Plan
    new_masks: NewMasks
    is_steered: bool


def _kinds(plan: Plan) -> list[tuple[Plan, bool]]:
    """Updates that may hold most, as plans of one size each, and whether they are steered.

    Feedback holds far more than other updates; where images grow, it may come with smaller ones alone.
    """
    steered = range(0) if plan.generation is None else steered_updates(plan, plan.generation)
    largest = max((plan.size_at(update) for update in steered), key=math.prod, default=None)
    sizes = {} if largest is None else {largest: True}
    sizes.setdefault(plan.patch_size, False)
    return [(plan.model_copy(update={"patch_size": size, "growing": 0.0}), sizes[size]) for size in sizes]


def _new_masks(plan: Plan) -> NewMasks:
    """As many changed masks as an update has synthetic pairs at most, by draws that are made once."""
    masks = [case.mask for case in made_up_cases(1, plan) if case.mask is not None]
    draws = [generator_for(0, "rehearsal", number) for number in range(plan.most_synthetic)]
    recipes = [draw_recipe(len(masks), plan.rank, draw) for draw in draws]
    return lambda ranges: torch.stack(
        [realise(recipe, masks, ranges, plan.classes, plan.spacing) for recipe in recipes]
    )


@dataclass(frozen=True)
class _Updates:
    plan: Plan
    cases: int
    machine: Machine

    def alone(self, learner: Learner) -> None:
        for _ in range(ROUNDS):
            image, mask = self._real(self.plan.batch_size)
            make_update(learner, self._seen(learner, image), mask, self.plan, 0, self.machine)

    def _seen(self, learner: Learner, image: Tensor) -> Tensor | list[Tensor]:
        """The images, or their features where the encoder is frozen; the views that these come from are not counted."""
        if not has_views(self.plan):
            return image
        maps = encode(learner.segmenter, image[:1], self.machine)
        return [one.float().repeat(len(image), 1, 1, 1) for one in maps]

    def together(self, learner: Learner, generation: Generation, settings: GenerationPlan, part: _Part) -> None:
        """What `JointLoop` does of an update, in its order."""
        self._refresh_styles(generation)
        is_steered = part.is_steered
        for _ in range(1 if is_steered else ROUNDS):
            first = self._stage_one(generation, settings, generation.architecture() if is_steered else {})
            with torch.set_grad_enabled(is_steered):
                pairs = self._pairs(generation, part.new_masks)
            second = self._stage_two(learner, pairs, record=is_steered)
            if second is not None:
                held_out = self._real(max(JUDGED, math.ceil(self.cases * settings.waiting)))
                cotangent, _ = held_out_gradient(learner, *held_out, self.machine)
                variables, weights = generation.variables(), generation.weights()
                hypergradient(cotangent, second, pairs.made(), variables, weights, first, settings.hypergradient)

    def _refresh_styles(self, generation: Generation) -> None:
        image, mask = self._real(self.cases)
        shown = self._shown(image, mask)
        with torch.no_grad():
            mean, log_variance = generation.translator.encoder(image, shown)
            generation.knobs.styles.learn(range(self.cases), 0, mean, log_variance, shown)

    def _stage_one(
        self, generation: Generation, settings: GenerationPlan, steered: dict[str, Tensor]
    ) -> Unrolled | None:
        image, mask = self._real(settings.batch_size)
        shown = self._shown(image, mask)
        stage = StageOne(generation.translator, generation.discriminator, image, shown, settings, 0)
        optimisers = generation.translator_optimiser, generation.discriminator_optimiser
        return train_stage_one(stage, *optimisers, self.machine, steered)[1]

    def _pairs(self, generation: Generation, new_masks: NewMasks) -> Pairs:
        knobs, draws = generation.knobs, torch.Generator()
        mask = self.machine.send(new_masks(knobs.ranges))
        parents = [0] * len(mask)
        style = knobs.styles.sample(mask, parents, range(self.cases), draws)
        with self.machine.autocast(self.plan.rank):
            plain = generation.translator.generator(mask, style)
        is_plain = self.plan.augmentation == "none"
        image = plain if is_plain else augment_intensity(plain, draws, is_colour=self.plan.is_colour)
        return Pairs(image, plain, mask, knobs.pair_weights(parents), knobs.share())

    def _stage_two(self, learner: Learner, pairs: Pairs, *, record: bool) -> Unrolled | None:
        stage = StageTwo(learner, pairs, 0, self.plan, self.machine, record)
        make_update(
            learner,
            *self._real(self.plan.batch_size - len(pairs.mask)),
            self.plan,
            0,
            self.machine,
            more_loss=stage.more_loss,
            before_step=stage.before_step,
        )
        return stage.unrolled

    def _real(self, count: int) -> tuple[Tensor, Tensor]:
        image = torch.randn(count, self.plan.channels, *self.plan.patch_size)
        return self.machine.send(image), torch.zeros(count, *self.plan.patch_size, dtype=torch.uint8)

    def _shown(self, image: Tensor, mask: Tensor) -> Tensor:
        return self.machine.send(real_pairs(image, mask, self.plan.classes))
