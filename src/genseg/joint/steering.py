"""Stage III's step, and what the record keeps of it."""

from __future__ import annotations

import torch
from torch import Tensor

from genseg.joint.generation import Generation
from genseg.joint.hypergradient import Hypergradient, norm_of

LARGEST_STEP = 3e-4
"""Longest step of the generator's weights by one feedback, as a share of their length.

Where a training is short the trust region would be crossed in a few steps. Measured on phantoms of 64 x 64 after 150
updates of pretraining, with two feedbacks: steps of 5e-3 raise the L1 error of the next batch from .07 to .40 (.20 is
what the mean image has), of 1e-3 to .12, of 3e-4 to .08; without any it is .07.
"""


def steer(generation: Generation, found: Hypergradient, reach: float) -> None:
    """Move architecture and knobs by their optimiser, the generator's weights by a step of fixed relative length.

    Each feedback counts alike: the optimiser gets every hypergradient with elements of size 1 on average (their root
    mean square). As they come, they differ a hundredfold from one feedback to the next and become a hundredfold shorter
    while the segmenter learns, so that a few of them would decide everything.

    reach: that length, as a share of the weights' own; never more than `LARGEST_STEP`. All steps together stay within a
    trust region: each shows the way for one update of the segmenter alone, and a generator that follows far makes
    objects easy to tell, not real.
    """
    for name, variable in generation.variables().items():
        variable.grad = _normalised(found.total(name))
    generation.knob_optimiser.step()
    generation.knob_optimiser.zero_grad(set_to_none=True)
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


def measure(found: Hypergradient, generation: Generation) -> dict[str, float]:
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
