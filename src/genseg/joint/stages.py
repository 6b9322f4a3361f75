"""What each of the three stages does in one update, in their order; `update.joint_update` puts them together.

Source: Zhang et al., Nature Communications 2025, doi 10.1038/s41467-025-61754-6: stage I trains the generator's weights
W, stage II the segmenter's weights S on real and synthetic pairs, stage III whatever the generator's weights and the
pairs were made with, by the segmenter's error on held-out pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for, seed_for
from genseg.config import GenerationPlan, Plan
from genseg.errors import GeneratorError
from genseg.generators.discriminator import PatchDiscriminator
from genseg.generators.losses import discriminator_loss, translation_loss
from genseg.joint import guards
from genseg.joint.generation import Generation, Translator, settings_of
from genseg.joint.hypergradient import Hypergradient, Unrolled, norm_of
from genseg.joint.patches import Patches, shown_mask
from genseg.joint.steps import Tensors, record_step
from genseg.joint.synthesis import Pairs
from genseg.read.case import IGNORE
from genseg.segmenters.learner import Learner, batch_loss
from genseg.segmenters.loss import segmentation_loss

STYLES_COMPARED = 4
"""Images of one mask that are compared to see whether styles make a difference."""

LARGEST_STEP = 3e-4
"""Longest step of the generator's weights by one feedback, as a share of their length.

Where a training is short the trust region would be crossed in a few steps. Measured on phantoms of 64 x 64 after 150
updates of pretraining, with two feedbacks: steps of 5e-3 raise the L1 error of the next batch from .07 to .40 (.20 is
what the mean image has), of 1e-3 to .12, of 3e-4 to .08; without any it is .07.
"""


@dataclass(frozen=True)
class StageOne:
    """Stage I on one batch of real pairs, as a function of the translator's weights.

    image: `(batch, channel, *spatial)`. mask: `(batch, class, *spatial)`, 0 in all classes where nothing is known:
    there the real image takes the place of the generated one, and nothing is asked of the generator. seed: of the
    styles drawn.
    """

    translator: Translator
    discriminator: PatchDiscriminator
    image: Tensor
    mask: Tensor
    plan: GenerationPlan
    seed: int

    @property
    def rank(self) -> int:
        """Spatial dimensions of the images."""
        return self.image.ndim - 2

    def generate(self, weights: Tensors | None = None) -> tuple[Tensor, Tensor]:
        """Generated images, and the cost of their styles."""
        draws = torch.Generator().manual_seed(self.seed)
        called = (self.mask, self.image, draws)
        generated, divergence = (
            self.translator(*called) if weights is None else functional_call(self.translator, weights, called)
        )
        known = self.mask.sum(1, keepdim=True)
        return generated * known + self.image * (1 - known), divergence

    def loss(self, weights: Tensors | None = None, critic: Tensors | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The translator's loss and its parts; critic: weights of the discriminator, its present ones where None."""
        return self.loss_of(*self.generate(weights), critic)

    def loss_of(
        self, generated: Tensor, divergence: Tensor, critic: Tensors | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The same of images that were generated before, and the cost of their styles."""
        logits = functional_call(self.discriminator, critic or {}, (self.mask, generated))
        return translation_loss(self.plan.adversarial, logits, generated, self.image, divergence)


def train_stage_one(
    generation: Generation, image: Tensor, mask: Tensor, plan: Plan, seed: int, machine: Machine, *, is_recorded: bool
) -> tuple[dict[str, float], Unrolled | None]:
    """One update of W and one of the discriminator, both by the same generated images; see the two functions below.

    image, mask: real pairs, `(batch, channel, *spatial)` and `(batch, *spatial)` class indices or `IGNORE`.
    is_recorded: whether W's step is returned too, to be differentiated in the architecture; None where it is not, or
    nothing is known of any pixel: then nothing of the loss is about the generator.
    """
    stage = StageOne(
        generation.translator,
        generation.discriminator,
        image,
        machine.send(shown_mask(image, mask, plan.classes)),
        settings_of(plan),
        seed_for(seed, "stage I styles", generation.updates),
    )
    architecture = generation.architecture() if is_recorded and bool(stage.mask.any()) else {}
    with machine.autocast(stage.rank):
        generated, divergence = stage.generate()
    optimiser = generation.translator_optimiser
    measured, unrolled = train_translator(stage, generated, divergence, optimiser, machine, architecture)
    measured |= train_discriminator(stage, generated.detach(), generation.discriminator_optimiser, machine)
    generation.count_update(measured["l1"])
    return measured, unrolled


def train_translator(
    stage: StageOne,
    generated: Tensor,
    divergence: Tensor,
    optimiser: torch.optim.AdamW,
    machine: Machine,
    architecture: Tensors,
) -> tuple[dict[str, float], Unrolled | None]:
    """One update of W by what `stage.generate` gave, which has its graph.

    Where there are any logits in `architecture`, it is recorded to be differentiated in them. Raises GeneratorError
    when the loss or its gradient is not finite; then nothing has moved.
    """
    optimiser.zero_grad(set_to_none=True)
    with machine.autocast(stage.rank):
        loss, parts = stage.loss_of(generated, divergence)
    loss.backward(inputs=_weights(optimiser))  # the discriminator's own gradient is no part of this
    measured = {name: part.item() for name, part in parts.items()}
    unrolled = None
    if architecture:
        critic = {name: weight.detach().clone() for name, weight in stage.discriminator.named_parameters()}
        step = record_step(stage.translator, optimiser, stage.plan.clip_norm)

        def recorded_loss(weights: Tensors) -> Tensor:
            # In the arithmetic that the step's own gradient was computed in.
            with machine.autocast(stage.rank):
                return stage.loss(weights, critic)[0]

        unrolled = Unrolled(step, recorded_loss, architecture)
    norm = nn.utils.clip_grad_norm_(_weights(optimiser), stage.plan.clip_norm)
    _check_finite("generator", loss, norm)
    optimiser.step()
    return measured, unrolled


def train_discriminator(
    stage: StageOne, generated: Tensor, optimiser: torch.optim.AdamW, machine: Machine
) -> dict[str, float]:
    """One update of the discriminator on the batch's real images and on generated ones, which have no graph.

    Raises GeneratorError when the loss or its gradient is not finite; then nothing has moved.
    """
    optimiser.zero_grad(set_to_none=True)
    with machine.autocast(stage.rank):
        real_logits = stage.discriminator(stage.mask, stage.image)
        fake_logits = stage.discriminator(stage.mask, generated)
        loss = discriminator_loss(stage.plan.adversarial, real_logits, fake_logits)
    loss.backward()
    gradient = [one.grad for one in _weights(optimiser) if one.grad is not None]
    _check_finite("discriminator", loss, nn.utils.get_total_norm(gradient))
    optimiser.step()
    judged = {"real_logit": real_logits.mean().item(), "fake_logit": fake_logits.mean().item()}
    return {"discriminator": loss.item(), **judged}


def _weights(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [weight for group in optimiser.param_groups for weight in group["params"]]


def _check_finite(name: str, loss: Tensor, norm: Tensor) -> None:
    """Raise GeneratorError for a loss or a gradient that is not finite: a step down it would leave nothing to go on."""
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        raise GeneratorError(f"the {name}'s loss is {loss.item()} (gradient norm {norm.item()})")


def take_styles(
    generation: Generation,
    cases: Sequence[int],
    views: Iterable[tuple[Tensor, Tensor]],
    plan: Plan,
    machine: Machine,
) -> None:
    """Take the styles of these cases anew, by the encoder as it is now.

    views: images `(case, channel, *spatial)` and masks `(case, *spatial)` of all of them, as they are and moved. Of
    unlabelled ones, behind the labelled ones, all that might be an object is hidden: their masks are predicted.
    """
    lent = torch.tensor(list(cases)) >= len(generation.steered.pair_logits)
    for view, (image, mask) in enumerate(views):
        shown = machine.send(shown_mask(image, mask, plan.classes))
        unsure = ((mask == IGNORE) & lent.view(-1, *[1] * plan.rank).to(mask.device)).unsqueeze(1).to(shown)
        with torch.no_grad():
            mean, log_variance = generation.translator.encoder(machine.send(image), shown, unsure)
            generation.steered.styles.learn(cases, view, mean, log_variance, shown)


def judge(generation: Generation, patches: Patches, seed: int) -> None:
    """Raise GeneratorError where the generator is of no use to a segmenter: its images of one mask in several styles
    are compared with real ones.
    """
    with torch.no_grad():
        draws = generator_for(seed, "judged styles", 0)
        mask = patches.shown(patches.masks([0] * STYLES_COMPARED))
        looks = (patches.everyone * STYLES_COMPARED)[:STYLES_COMPARED]
        styles = generation.steered.styles.sample(mask, looks, patches.everyone, draws)
        generated = generation.translator.generator(mask, styles)
    guards.check_health(generated.cpu(), patches.images(patches.everyone), generation.l1)


def real_loss(learner: Learner, image: Tensor, mask: Tensor, share: Tensor, machine: Machine) -> Tensor:
    """The part of stage II's loss that is about real pairs: `2 (1 - share)` times their mean loss.

    What synthetic pairs gain in weight the real ones lose. Were it a plain `L_real + gamma * L_synthetic`, the gradient
    of gamma would mostly say that a longer step is better, however the pairs look.
    """
    return 2 * (1 - share.item()) * batch_loss(learner, image, mask, machine)


def synthetic_loss(
    segmenter: nn.Module, seed: int, weights: Tensors, image: Tensor, mask: Tensor, weight: Tensor, share: Tensor
) -> Tensor:
    """The part of stage II's loss that is about synthetic pairs, `2 share` times their mean loss, as a function of
    everything that it depends on.

    The pairs are normalised by their own statistics and leave none behind: the running statistics, which prediction
    uses, are those of real images. seed: of the dropout.
    """
    torch.manual_seed(seed)
    buffers = {name: buffer.clone() for name, buffer in segmenter.named_buffers()}
    logits = functional_call(segmenter, {**weights, **buffers}, (image,))
    return 2 * share * segmentation_loss(logits, mask, weight)


def real_slope(segmenter: nn.Module, share: Tensor) -> Tensors:
    """How the gradient of `real_loss`, which the segmenter holds, changes with the share.

    It is linear: `d/ds [2 (1 - s) g] = -2 g`, which is the gradient that is held over `-(1 - s)`.
    """
    held = {name: weight.grad for name, weight in segmenter.named_parameters()}
    return {name: -gradient / (1 - share.detach()) for name, gradient in held.items() if gradient is not None}


def record_stage_two(learner: Learner, pairs: Pairs, seed: int, plan: Plan, slope: Tensors) -> Unrolled:
    """The step that the segmenter is about to take, to be differentiated in what the pairs consist of.

    To be called when the segmenter holds the whole gradient. seed: of the dropout, as `synthetic_loss` had it. slope:
    see `real_slope`.

    The loss that is differentiated once more is computed in float32, also where the step was taken in bfloat16: a
    mixed second derivative of eight bits of mantissa is mostly rounding while weights move fast. Measured on
    phantoms of 32 x 32 with the small U-Net, cosine of the generator's hypergradient with one that is computed in
    float32 throughout: .85, .99, 1.00 at updates 24, 32, 40 so, .86, .61, 1.00 in the step's bfloat16; its indirect
    term .98, .99, 1.00 and .96, .47, 1.00. The values of the two losses differ by less than .001.
    """
    leaves, segmenter = pairs.leaves(), learner.segmenter
    step = record_step(segmenter, learner.optimiser, plan.clip_norm)

    def loss(weights: Tensors) -> Tensor:
        segmenter.train()
        return synthetic_loss(segmenter, seed, weights, **leaves)

    return Unrolled(step, loss, leaves, {"share": slope})


def held_out_gradient(learner: Learner, image: Tensor, mask: Tensor, machine: Machine) -> tuple[Tensors, float]:
    """Gradient and value of the error on held-out pairs at the segmenter's present weights.

    The segmenter works as in prediction: running statistics, no dropout.
    """
    learner.segmenter.eval()
    weights = {name: weight for name, weight in learner.segmenter.named_parameters() if weight.requires_grad}
    with machine.autocast(image.ndim - 2):
        loss = segmentation_loss(learner.segmenter(image), mask)
    gradient = torch.autograd.grad(loss, list(weights.values()))
    learner.segmenter.train()
    return dict(zip(weights, gradient, strict=True)), loss.item()


def steer(generation: Generation, found: Hypergradient, reach: float) -> None:
    """Stage III's step: move architecture and steered parameters by their optimiser, the generator's weights by a step
    of fixed relative length.

    Each feedback counts alike: the optimiser gets every hypergradient with elements of size 1 on average (their root
    mean square). As they come, they differ a hundredfold from one feedback to the next and become a hundredfold shorter
    while the segmenter learns, so that a few of them would decide everything.

    reach: that length, as a share of the weights' own; never more than `LARGEST_STEP`. All steps together stay within a
    trust region: each shows the way for one update of the segmenter alone, and a generator that follows far makes
    objects easy to tell, not real.
    """
    for name, variable in generation.variables().items():
        variable.grad = _normalised(found.total(name))
    generation.steering_optimiser.step()
    generation.steering_optimiser.zero_grad(set_to_none=True)
    weights = generation.weights()
    moved = {name: gradient for name, gradient in found.weights.items() if gradient is not None}
    factor = (
        min(reach, LARGEST_STEP)
        * norm_of({name: weights[name].detach() for name in moved})
        / norm_of(moved).clamp(min=1e-30)
    )
    with torch.no_grad():
        for name, gradient in moved.items():
            weights[name] -= factor * gradient


def _normalised(gradient: Tensor | None) -> Tensor | None:
    return None if gradient is None else gradient / gradient.square().mean().sqrt().clamp(min=1e-30)
