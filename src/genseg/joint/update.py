"""The joint update: stages I, II and III on the tensors of one batch, from top to bottom.

Letters as in the paper (Zhang et al., Nature Communications 2025, doi 10.1038/s41467-025-61754-6): A, the generator's
architecture; W, its weights; S, the segmenter's; x, all that synthetic pairs consist of; s, the share that they have in
stage II's loss. The paper's gamma is s / (1 - s).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from genseg.compute.device import Machine
from genseg.compute.randomness import seed_for
from genseg.config import Plan
from genseg.joint import guards
from genseg.joint.generation import Generation, settings_of
from genseg.joint.hypergradient import Hypergradient, hypergradient
from genseg.joint.patches import Patches
from genseg.joint.schedule import steered_updates
from genseg.joint.stages import (
    held_out_gradient,
    judge,
    real_loss,
    real_slope,
    record_stage_two,
    steer,
    synthetic_loss,
    take_styles,
    train_stage_one,
)
from genseg.joint.steps import Tensors
from genseg.joint.synthesis import NewMasks, synthesise
from genseg.segmenters.learner import Learner, descend, prepare_update, take_step

RealPairs = tuple[Tensor, Tensor]
"""Images `(batch, channel, *spatial)`, and their masks `(batch, *spatial)`: class indices or `IGNORE`."""


@dataclass(frozen=True)
class JointBatch:
    """What one joint update is made on; all images have one size.

    real: pairs for stage II. new_masks: masks that its synthetic pairs are made from. draws: of their styles and
    intensities; it is used up. to_generate: pairs for stage I, None where it is not due. held_out: pairs for stage III,
    which reach no other stage; None where nothing is to be steered. views: pairs that the styles of `new_masks.cases`
    are taken anew from, made one after the other as they are needed. judged_on: what the generator is judged by;
    None where it is trusted.
    """

    real: RealPairs
    new_masks: NewMasks
    draws: Generator
    to_generate: RealPairs | None = None
    held_out: RealPairs | None = None
    views: Iterable[RealPairs] = ()
    judged_on: Patches | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a joint update.

    measured: of stages II and I, by name. held_out_loss: the error that stage III steers by, and found, its gradient;
    None where nothing was steered.
    """

    measured: dict[str, float]
    held_out_loss: float | None = None
    found: Hypergradient | None = None


def joint_update(
    learner: Learner, generation: Generation, batch: JointBatch, plan: Plan, seed: int, machine: Machine
) -> Outcome:
    """One update of the segmenter, with stages I and III where the batch has pairs for them.

    Raises CutLinkError where stage III finds a link cut, NotFiniteError where the segmenter's loss or the hypergradient
    is not finite, GeneratorError where the generator is of no use or its loss is not finite, ValueError where the plan
    has no generation.
    """
    settings, update = settings_of(plan), learner.update
    is_steered, is_first = batch.held_out is not None, generation.feedbacks == 0
    measured: dict[str, float] = {}

    # Stage I. The generator learns to make real images from their masks: W' = step(W, grad_W L_I(W; A)).
    stage_one = None
    if batch.to_generate is not None:
        measured, stage_one = train_stage_one(
            generation, *batch.to_generate, plan, seed, machine, is_recorded=is_steered
        )
    take_styles(generation, batch.new_masks.cases, batch.views, plan, machine)
    if batch.judged_on is not None:
        judge(generation, batch.judged_on, seed)

    # Stage II. The segmenter learns from real pairs and from synthetic ones, x = (G(m'; W', A), m', weights, s):
    # S' = step(S, grad_S [2 (1 - s) L_real(S) + 2 s L_synthetic(S; x)]).
    with torch.set_grad_enabled(is_steered):
        pairs = synthesise(
            generation.translator.generator, generation.steered, batch.new_masks, plan, machine, batch.draws
        )
    if is_steered and is_first:
        guards.check_pairs(pairs, generation.translator.generator)
        guards.check_variables(generation.variables(), generation.steering_optimiser)
    prepare_update(learner, plan, seed)
    loss = descend(real_loss(learner, *batch.real, pairs.share, machine))
    slope = real_slope(learner.segmenter, pairs.share) if is_steered else {}
    dropout = seed_for(seed, "synthetic dropout", update)
    weights: Tensors = dict(learner.segmenter.named_parameters())
    with machine.autocast(plan.rank):
        of_pairs = synthetic_loss(learner.segmenter, dropout, weights, **pairs.detached())
    loss = loss + descend(of_pairs)
    stage_two = record_stage_two(learner, pairs, dropout, plan, slope) if is_steered else None
    measured |= take_step(learner, loss, plan, machine)
    if stage_two is None or batch.held_out is None:
        return Outcome(measured)

    # Stage III. All that the pairs were made with moves down the error of S' on held-out pairs, by its gradient through
    # the steps that were taken: v = grad_S' L_held-out(S') goes on to x by equation (1) of `hypergradient`, from x to
    # W', A and the steered parameters (direct), and by stage I's step from W' to A (indirect).
    v, error = held_out_gradient(learner, *batch.held_out, machine)
    found = hypergradient(
        v, stage_two, pairs.made(), generation.variables(), generation.weights(), stage_one, settings.hypergradient
    )
    guards.check_finite(found, error, update)
    generation.alive = guards.check_gradients(found, pairs, error, generation.alive)
    steer(generation, found, settings.radius / len(steered_updates(plan)))
    generation.feedbacks += 1
    return Outcome(measured, error, found)
