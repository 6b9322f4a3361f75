"""Updates of all that a plan trains, on tensors that have a shape and no memory: how much memory they would take."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.joint.generation import Generation, settings_of
from genseg.joint.schedule import JUDGED, steered_updates
from genseg.joint.synthesis import NewMasks
from genseg.joint.update import JointBatch, joint_update
from genseg.masks.make import MaskRecipe, draw_recipe, realise
from genseg.masks.ranges import MaskRanges
from genseg.runs.state import begin_training
from genseg.segmenters.learner import Learner, make_update
from genseg.training.dummy import made_up_cases
from genseg.training.live_bytes import LiveBytes
from genseg.training.views import encode, has_views

ROUNDS = 2
"""Updates without feedback that are rehearsed: optimisers have no moments in the first."""


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
    parts = [_Updates(one, is_steered, _recipes(one), cases, machine) for one, is_steered in _kinds(plan)]
    if state.generation is not None:
        state.generation.feedbacks = 1  # the guards of the first look at values, and there are none
        for part in parts:
            part.new_masks(state.generation.steered.ranges)  # so that what is kept for the next time has a content
    without_memory = FakeTensorMode(allow_non_fake_inputs=True)
    with FakeCopyMode(without_memory):
        state = copy.deepcopy(state)
    live = LiveBytes()
    with without_memory, live:
        live.hold(chain.from_iterable((*one.parameters(), *one.buffers()) for one in state.modules().values()))
        for part in parts:
            if state.generation is None:
                part.alone(state.learner)
            else:
                part.together(state.learner, state.generation)
    return Rehearsal(live.peak, live.now)


def _kinds(plan: Plan) -> list[tuple[Plan, bool]]:
    """Updates that may hold most, as plans of one size each, and whether they are steered.

    Stage III holds far more than other updates; where images grow, it may come with smaller ones alone.
    """
    steered = range(0) if plan.generation is None else steered_updates(plan)
    largest = max((plan.size_at(update) for update in steered), key=math.prod, default=None)
    sizes = {} if largest is None else {largest: True}
    sizes.setdefault(plan.patch_size, False)
    return [(plan.model_copy(update={"patch_size": size, "growing": 0.0}), sizes[size]) for size in sizes]


def _recipes(plan: Plan) -> list[MaskRecipe]:
    draws = [generator_for(0, "rehearsal", number) for number in range(plan.most_synthetic)]
    return [draw_recipe(len(_real_masks(plan)), plan.rank, draw) for draw in draws]


def _real_masks(plan: Plan) -> list[NDArray[np.uint8]]:
    """What new masks are made from."""
    return [case.mask for case in made_up_cases(1, plan) if case.mask is not None]


@dataclass(frozen=True)
class _Updates:
    """Updates on images of one size.

    plan: with that size as its own. is_steered: whether stage III follows. recipes: of as many new masks as an update
    has at most, drawn once.
    """

    plan: Plan
    is_steered: bool
    recipes: Sequence[MaskRecipe]
    cases: int
    machine: Machine

    def new_masks(self, ranges: MaskRanges) -> Tensor:
        """`(batch, class, *spatial)`, soft."""
        masks, plan = _real_masks(self.plan), self.plan
        return torch.stack([realise(one, masks, ranges, plan.classes, plan.spacing) for one in self.recipes])

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

    def together(self, learner: Learner, generation: Generation) -> None:
        """Joint updates; styles are taken anew in the first."""
        for number in range(1 if self.is_steered else ROUNDS):
            batch = self._batch(generation, takes_styles=number == 0)
            joint_update(learner, generation, batch, self.plan, 0, self.machine)

    def _batch(self, generation: Generation, *, takes_styles: bool) -> JointBatch:
        """What `JointLoop.batch` gives; a generator without values is not judged."""
        settings = settings_of(self.plan)
        with torch.set_grad_enabled(self.is_steered):
            mask = self.new_masks(generation.steered.ranges)
        new = NewMasks(mask, self.recipes, [0] * len(mask), range(self.cases))
        held_out = max(JUDGED, math.ceil(self.cases * settings.held_out))
        return JointBatch(
            real=self._real(self.plan.batch_size - len(mask)),
            new_masks=new,
            draws=torch.Generator(),
            to_generate=self._real(settings.batch_size),
            held_out=self._real(held_out) if self.is_steered else None,
            views=(self._real(self.cases) for _ in range(takes_styles)),
        )

    def _real(self, count: int) -> tuple[Tensor, Tensor]:
        image = torch.randn(count, self.plan.channels, *self.plan.patch_size)
        return self.machine.send(image), torch.zeros(count, *self.plan.patch_size, dtype=torch.uint8)
