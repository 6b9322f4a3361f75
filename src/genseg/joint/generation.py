"""What the joint loop trains and steers beside the segmenter, and what it knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from genseg.compute.device import Machine
from genseg.compute.randomness import seed_for
from genseg.config import BOUNDED, LARGEST_SHARE, GenerationPlan, Plan
from genseg.generators.discriminator import PatchDiscriminator
from genseg.generators.generator import ImageGenerator
from genseg.generators.registry import STYLE_SIZE, build_generator
from genseg.generators.style import StyleDistribution, StyleEncoder, sample_style, style_divergence
from genseg.joint.steps import Tensors
from genseg.masks.ranges import UPRIGHT, MaskRanges

VIEWS = 4
"""Of each real image that styles come from: one as it is, the others moved at random."""

L1_BATCHES = 8
"""Batches of stage I that `Generation.l1` is a mean over: one of four images differs by a tenth from the next."""

BETAS = (0.5, 0.999)
"""Source: Radford et al., DCGAN, ICLR 2016."""


class Translator(nn.Module):
    """What stage I trains: the generator, and the encoder that tells it the style of a real image."""

    def __init__(self, generator: ImageGenerator, encoder: StyleEncoder) -> None:
        super().__init__()
        self.generator = generator
        self.encoder = encoder

    def forward(self, mask: Tensor, image: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
        """The image of `mask` in the style of `image`, and the cost of that style, a scalar.

        The surroundings are hidden not only where an object lies, but also where the next image has one: else a hole in
        the style would tell where the object is.
        """
        holes = mask[:, 1:].sum(1, keepdim=True).roll(1, 0)
        mean, log_variance = self.encoder(image, mask, holes)
        generated = self.generator(mask, sample_style(mean, log_variance, draws))
        return generated, style_divergence(mean, log_variance)


class SteeredParameters(nn.Module):
    """What stage III steers on the way from real masks to synthetic pairs, beside the generator itself: ranges of the
    masks, temperature of the styles, weight of each real mask's descendants, share of the synthetic pairs.

    All are stored as unconstrained parameters. cases: how many real masks there are. share: where the share begins,
    below `LARGEST_SHARE`.
    """

    def __init__(self, ranges: MaskRanges, styles: StyleDistribution, cases: int, share: float) -> None:
        super().__init__()
        self.ranges = ranges
        self.styles = styles
        self.pair_logits = nn.Parameter(torch.zeros(cases))
        self.share_logit = nn.Parameter(torch.logit(torch.tensor(share / LARGEST_SHARE)))

    def share(self) -> Tensor:
        """How much synthetic pairs count in stage II, as a share of all images, in 0..`LARGEST_SHARE`."""
        return LARGEST_SHARE * self.share_logit.sigmoid()

    def pair_weights(self, cases: Sequence[int]) -> Tensor:
        """How much the pairs made from these real masks count among synthetic ones, `(len(cases),)`; 1 on average."""
        return (len(self.pair_logits) * self.pair_logits.softmax(0))[list(cases)]

    def values(self) -> dict[str, float]:
        """What the record keeps of them."""
        ranges = {f"range_{name}": value.item() for name, value in self.ranges.values().items()}
        weights = self.pair_weights(range(len(self.pair_logits))).detach()
        spread = {"least_pair_weight": weights.min().item(), "largest_pair_weight": weights.max().item()}
        return {**ranges, "temperature": self.styles.temperature.item(), "share": self.share().item(), **spread}


@dataclass
class Generation:
    """Generator, style encoder, discriminator, steered parameters, and their optimisers.

    updates: of stage I. pretrained: those of them before the segmenter's first. feedbacks: of stage III. l1: how
    far generated images were from real ones lately; see `count_update`. alive: links that gradients of feedback were
    seen to come through, by name. off: why the generator was switched off; empty while it is on.
    """

    translator: Translator
    discriminator: PatchDiscriminator
    steered: SteeredParameters
    translator_optimiser: torch.optim.AdamW
    discriminator_optimiser: torch.optim.AdamW
    steering_optimiser: torch.optim.AdamW
    updates: int = 0
    pretrained: int = 0
    feedbacks: int = 0
    l1: float = 0.0
    alive: list[str] = field(default_factory=list)
    off: str = ""

    def count_update(self, l1: float) -> None:
        """Count an update of stage I. l1: of its batch; of the first `L1_BATCHES` the mean is taken, then it fades."""
        self.updates += 1
        self.l1 += (l1 - self.l1) / min(self.updates, L1_BATCHES)

    def kernels(self) -> list[list[int]]:
        """Sizes of the kernels that each cell of the generator still weighs."""
        return [cell.kernels for cell in self.translator.generator.cells()]

    def keep(self, kernels: Sequence[Sequence[int]]) -> None:
        """Keep these kernels alone, one a cell where the search is over; optimisers begin anew where that is a change.

        Raises ValueError where they are not among those that are left.
        """
        if [list(kept) for kept in kernels] != self.kernels():
            for cell, kept in zip(self.translator.generator.cells(), kernels, strict=True):
                cell.keep(kept)
            self._begin_optimisers()

    def decide(self) -> None:
        """End the search: each cell keeps its strongest candidate, and the optimisers begin anew."""
        self.translator.generator.discretise()
        self._begin_optimisers()

    def _begin_optimisers(self) -> None:
        self.translator_optimiser = _adamw(list(self.weights().values()), _rate(self.translator_optimiser))
        self.steering_optimiser = _adamw(list(self.variables().values()), _rate(self.steering_optimiser))

    def architecture(self) -> Tensors:
        """The generator's architecture logits by name."""
        logits = self.translator.generator.architecture()
        return {f"architecture.{number}": one for number, one in enumerate(logits)}

    def variables(self) -> Tensors:
        """Everything that stage III steers by its optimiser, by name."""
        return {**self.architecture(), **dict(self.steered.named_parameters())}

    def weights(self) -> Tensors:
        """What stage I trains, by the names it has in the translator."""
        logits = {id(one) for one in self.architecture().values()}
        return {name: one for name, one in self.translator.named_parameters() if id(one) not in logits}


def settings_of(plan: Plan) -> GenerationPlan:
    """The part of a plan that is about generation. Raises ValueError where it has none."""
    if plan.generation is None:
        raise ValueError("generation: none in this plan; pairs are made only where it has one")
    return plan.generation


def begin_generation(plan: Plan, cases: int, seed: int, machine: Machine, surroundings: int = 0) -> Generation:
    """Generation as it is before the first update; random weights depend on `seed` alone. cases, surroundings: as in
    `begin_steered`.
    """
    generation = settings_of(plan)
    torch.manual_seed(seed_for(seed, "generation", 0))
    bounded = [rule.rule in BOUNDED for rule in plan.intensity]
    generator = build_generator(generation.generator, plan.rank, plan.classes, plan.channels, bounded)
    translator = Translator(generator, StyleEncoder(plan.rank, plan.channels, STYLE_SIZE))
    discriminator = PatchDiscriminator(plan.rank, plan.classes, plan.channels)
    steered = begin_steered(plan, cases, surroundings, generation.share).to(machine.device)
    for module in (translator, discriminator):
        machine.place(module, plan.rank)
    return Generation(
        translator,
        discriminator,
        steered,
        _adamw([*generator.weights(), *translator.encoder.parameters()], generation.learning_rate),
        _adamw(list(discriminator.parameters()), generation.learning_rate),
        _adamw([*generator.architecture(), *steered.parameters()], generation.steering_rate),
    )


def begin_steered(plan: Plan, cases: int, surroundings: int = 0, share: float = 0.5) -> SteeredParameters:
    """The steered parameters as they are at first.

    cases: labelled ones that train. surroundings: unlabelled images that lend theirs. share: where that of synthetic
    pairs begins.
    """
    upright = plan.rank == 2 and not plan.flip_axes
    styles = StyleDistribution(cases + surroundings, VIEWS, plan.rank, plan.classes, STYLE_SIZE)
    return SteeredParameters(MaskRanges(plan.rank, UPRIGHT if upright else None), styles, cases, share)


def _rate(optimiser: torch.optim.Optimizer) -> float:
    return float(optimiser.param_groups[0]["lr"])


def _adamw(weights: list[Tensor] | list[nn.Parameter], rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=0.0, fused=True)
