"""What the joint loop trains beside the segmenter, and what it knows of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from genseg.compute.device import Machine
from genseg.compute.randomness import seed_for
from genseg.config import BOUNDED, GenerationPlan, Plan
from genseg.generators.discriminator import PatchDiscriminator
from genseg.generators.registry import STYLE_SIZE, build_generator
from genseg.generators.style import StyleDistribution, StyleEncoder
from genseg.joint.knobs import Knobs
from genseg.joint.stages import Translator
from genseg.joint.steps import Tensors
from genseg.masks.ranges import UPRIGHT, MaskRanges

VIEWS = 4
"""Of each real image that styles come from: one as it is, the others moved at random."""

L1_BATCHES = 8
"""Batches of stage I that `Generation.l1` is a mean over: one of four images differs by a tenth from the next."""

BETAS = (0.5, 0.999)
"""Source: Radford et al., DCGAN, ICLR 2016."""


@dataclass
class Generation:
    """Generator, style encoder, discriminator, knobs, and their optimisers.

    updates: of stage I. pretrained: those of them before the segmenter's first. feedbacks: of stage III. l1: how
    far generated images were from real ones lately; see `count_update`. alive: links that gradients of feedback were
    seen to come through, by name. off: why the generator was switched off; empty while it is on.
    """

    translator: Translator
    discriminator: PatchDiscriminator
    knobs: Knobs
    translator_optimiser: torch.optim.AdamW
    discriminator_optimiser: torch.optim.AdamW
    knob_optimiser: torch.optim.AdamW
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
        self.knob_optimiser = _adamw(list(self.variables().values()), _rate(self.knob_optimiser))

    def architecture(self) -> Tensors:
        """The generator's architecture logits by name."""
        logits = self.translator.generator.architecture()
        return {f"architecture.{number}": one for number, one in enumerate(logits)}

    def variables(self) -> Tensors:
        """Everything that feedback steers by its optimiser, by name."""
        return {**self.architecture(), **dict(self.knobs.named_parameters())}

    def weights(self) -> Tensors:
        """What stage I trains, by the names it has in the translator."""
        logits = {id(one) for one in self.architecture().values()}
        return {name: one for name, one in self.translator.named_parameters() if id(one) not in logits}


def begin_generation(plan: Plan, generation: GenerationPlan, cases: int, seed: int, machine: Machine) -> Generation:
    """Generation as it is before the first update; random weights depend on `seed` alone. cases: training cases."""
    torch.manual_seed(seed_for(seed, "generation", 0))
    bounded = [rule.rule in BOUNDED for rule in plan.intensity]
    generator = build_generator(generation.generator, plan.rank, plan.classes, plan.channels, bounded)
    translator = Translator(generator, StyleEncoder(plan.rank, plan.channels, STYLE_SIZE))
    discriminator = PatchDiscriminator(plan.rank, plan.classes, plan.channels)
    knobs = begin_knobs(plan, cases, generation.share).to(machine.device)
    for module in (translator, discriminator):
        machine.place(module, plan.rank)
    return Generation(
        translator,
        discriminator,
        knobs,
        _adamw([*generator.weights(), *translator.encoder.parameters()], generation.learning_rate),
        _adamw(list(discriminator.parameters()), generation.learning_rate),
        _adamw([*generator.architecture(), *knobs.parameters()], generation.knob_rate),
    )


def begin_knobs(plan: Plan, cases: int, share: float = 0.5) -> Knobs:
    """The knobs before the first feedback. cases: training cases. share: where that of synthetic pairs begins."""
    upright = plan.rank == 2 and not plan.flip_axes
    styles = StyleDistribution(cases, VIEWS, plan.rank, plan.classes, STYLE_SIZE)
    return Knobs(MaskRanges(plan.rank, UPRIGHT if upright else None), styles, cases, share)


def _rate(optimiser: torch.optim.Optimizer) -> float:
    return float(optimiser.param_groups[0]["lr"])


def _adamw(weights: list[Tensor] | list[torch.nn.Parameter], rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW(weights, lr=rate, betas=BETAS, weight_decay=0.0, fused=True)
