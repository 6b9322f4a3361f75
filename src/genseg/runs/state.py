"""Everything that training changes, and that a checkpoint therefore holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from genseg.compute.device import Machine
from genseg.config import Plan
from genseg.joint.generation import Generation, begin_generation
from genseg.segmenters.learner import Learner, begin


@dataclass
class TrainingState:
    """The segmenter in training, and the generator side where the plan has one."""

    learner: Learner
    generation: Generation | None = None

    @property
    def update(self) -> int:
        """How many updates were made in all: of the generator before the segmenter's first, and of the segmenter."""
        return self.learner.update + (0 if self.generation is None else self.generation.pretrained)

    def modules(self) -> dict[str, nn.Module]:
        """Everything that has weights, by name."""
        found: dict[str, nn.Module] = {"segmenter": self.learner.segmenter, "average": self.learner.average}
        if self.generation is not None:
            trained = {"translator": self.generation.translator, "discriminator": self.generation.discriminator}
            found |= trained | {"knobs": self.generation.steered}  # by the name that it has in files
        return found

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Every optimiser, by name."""
        found: dict[str, torch.optim.Optimizer] = {"optimiser": self.learner.optimiser}
        if self.generation is not None:
            names = ("translator_optimiser", "discriminator_optimiser")
            found |= {name: getattr(self.generation, name) for name in names}
            found["knob_optimiser"] = self.generation.steering_optimiser  # by the name that it has in files
        return found

    def counters(self) -> dict[str, Any]:
        """All that is no tensor, as JSON values."""
        counted: dict[str, Any] = {"updates": self.learner.update, "rate_factor": self.learner.rate_factor}
        if self.generation is not None:
            counted |= {f"generation_{name}": getattr(self.generation, name) for name in GENERATION_COUNTERS}
            counted["kernels"] = self.generation.kernels()
        return counted

    def restore_counters(self, counted: Mapping[str, Any]) -> None:
        """Take over what `counters` gave; before the tensors, for the generator's shape depends on it."""
        self.learner.update, self.learner.rate_factor = counted["updates"], counted["rate_factor"]
        if self.generation is not None:
            for name in GENERATION_COUNTERS:
                setattr(self.generation, name, counted[f"generation_{name}"])
            self.generation.keep(counted["kernels"])


GENERATION_COUNTERS = ("updates", "pretrained", "feedbacks", "l1", "alive", "off")


def begin_training(plan: Plan, cases: int, seed: int, machine: Machine, surroundings: int = 0) -> TrainingState:
    """The state before the first update; random weights depend on `seed` alone. cases: labelled ones that train.
    surroundings: see `begin_steered`.
    """
    learner = begin(plan, seed, machine)
    if plan.generation is None:
        return TrainingState(learner)
    return TrainingState(learner, begin_generation(plan, cases, seed, machine, surroundings))


def total_updates(plan: Plan) -> int:
    """How many updates a run makes in all."""
    return plan.updates + plan.pretraining
