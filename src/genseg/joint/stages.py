"""The three stages, one update of each.

Source: Zhang et al., Nature Communications 2025, doi 10.1038/s41467-025-61754-6: stage I trains the generator's weights
W, stage II the segmenter's weights S on real and synthetic pairs, stage III whatever the generator's weights and the
pairs were made with, by the segmenter's error on held-out pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

from genseg.compute.device import Machine
from genseg.config import GenerationPlan, Plan
from genseg.errors import GeneratorError
from genseg.generators.discriminator import PatchDiscriminator
from genseg.generators.losses import discriminator_loss, translation_loss
from genseg.generators.style import StyleEncoder, sample_style, style_divergence
from genseg.generators.unet import MaskToImage
from genseg.joint.hypergradient import Unrolled
from genseg.joint.steps import Tensors, record_step
from genseg.joint.synthesis import Pairs
from genseg.segmenters.learner import Learner
from genseg.segmenters.loss import one_hot, segmentation_loss


class Translator(nn.Module):
    """What stage I trains: the generator, and the encoder that tells it the style of a real image."""

    def __init__(self, generator: MaskToImage, encoder: StyleEncoder) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder

    def forward(self, mask: Tensor, image: Tensor, draws: Generator) -> tuple[Tensor, Tensor]:
        """The image of `mask` in the style of `image`, and the cost of that style, a scalar.

        The surroundings are hidden not only where an object lies, but also where the next image has one: else a hole in
        the style would tell where the object is.
        """
        holes = mask[:, 1:].sum(1, keepdim=True).roll(1, 0)
        mean, log_variance = self.encoder(image, mask, holes)
        generated = self.generator(mask, sample_style(mean, log_variance, draws))
        return generated, style_divergence(mean, log_variance)


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
    stage: StageOne,
    optimiser: torch.optim.AdamW,
    critic_optimiser: torch.optim.AdamW,
    machine: Machine,
    architecture: Tensors,
) -> tuple[dict[str, float], Unrolled | None]:
    """One update of W and one of the discriminator, both by the same generated images; see the two functions below."""
    with machine.autocast(stage.rank):
        generated, divergence = stage.generate()
    measured, unrolled = train_translator(stage, generated, divergence, optimiser, machine, architecture)
    measured |= train_discriminator(stage, generated.detach(), critic_optimiser, machine)
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


def synthetic_loss(
    segmenter: nn.Module, seed: int, weights: Tensors, image: Tensor, mask: Tensor, weight: Tensor, share: Tensor
) -> Tensor:
    """The part of stage II's loss that is about synthetic pairs, as a function of everything that it depends on.

    The pairs are normalised by their own statistics and leave none behind: the running statistics, which prediction
    uses, are those of real images. seed: of the dropout.
    """
    torch.manual_seed(seed)
    buffers = {name: buffer.clone() for name, buffer in segmenter.named_buffers()}
    logits = functional_call(segmenter, {**weights, **buffers}, (image,))
    return 2 * share * segmentation_loss(logits, mask, weight)


@dataclass
class StageTwo:
    """What synthetic pairs add to one update of the segmenter; it has no gradient beyond the segmenter.

    seed: of the dropout. record: whether the step is to be differentiated in what the pairs consist of; then it is in
    `unrolled` once it was about to be taken.
    """

    learner: Learner
    pairs: Pairs
    seed: int
    plan: Plan
    machine: Machine
    record: bool
    unrolled: Unrolled | None = field(default=None, init=False)
    _slope: Tensors = field(default_factory=dict, init=False)

    @property
    def real_weight(self) -> float:
        """What the loss on real images is multiplied by; 1 where half of the images are synthetic.

        What synthetic pairs gain in weight the real ones lose. Were it a plain `L_real + gamma * L_synthetic`, the
        gradient of gamma would mostly say that a longer step is better, however the pairs look.
        """
        return 2 * (1 - self.pairs.share.item())

    def more_loss(self) -> Tensor:
        """The loss on the pairs; to be called when the segmenter holds the gradient of the loss on real images."""
        weights: Tensors = dict(self.learner.segmenter.named_parameters())
        if self.record:
            # The loss on real images is 2 (1 - share) times its mean: linear in the share.
            share = self.pairs.share.detach()
            self._slope = {name: -one.grad / (1 - share) for name, one in weights.items() if one.grad is not None}
        given = {name: tensor.detach() for name, tensor in self.pairs.made().items()}
        with self.machine.autocast(self.plan.rank):
            return synthetic_loss(self.learner.segmenter, self.seed, weights, **given)

    def before_step(self) -> None:
        """Record the step that the segmenter is about to take, where it is to be recorded.

        The loss that is differentiated once more is computed in float32, also where the step was taken in bfloat16: a
        mixed second derivative of eight bits of mantissa is mostly rounding while weights move fast. Measured on
        phantoms of 32 x 32 with the small U-Net, cosine of the generator's hypergradient with one that is computed in
        float32 throughout: .85, .99, 1.00 at updates 24, 32, 40 so, .86, .61, 1.00 in the step's bfloat16; its indirect
        term .98, .99, 1.00 and .96, .47, 1.00. The values of the two losses differ by less than .001.
        """
        if not self.record:
            return
        leaves, segmenter, seed = self.pairs.leaves(), self.learner.segmenter, self.seed
        step = record_step(segmenter, self.learner.optimiser, self.plan.clip_norm)

        # It must not know `self`, which will know it: such a circle would keep the memory of all this for long.
        def loss(weights: Tensors) -> Tensor:
            segmenter.train()
            return synthetic_loss(segmenter, seed, weights, **leaves)

        self.unrolled = Unrolled(step, loss, leaves, {"share": self._slope})


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


def real_pairs(image: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Masks `(batch, *spatial)` as `(batch, class, *spatial)` in the type of the images; 0 in all where `IGNORE`."""
    return one_hot(mask, image.new_empty(0, classes))
