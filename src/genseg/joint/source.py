"""What a finished run leaves behind of its generator: all that synthetic pairs are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.generators.copies import CopyTest
from genseg.generators.generator import ImageGenerator
from genseg.generators.registry import restore_generator
from genseg.joint.generation import SteeredParameters, begin_steered
from genseg.joint.steps import Tensors
from genseg.joint.synthesis import MaskPool, Pairs, make_masks, synthesise
from genseg.masks.plausible import Plausibility


@dataclass(frozen=True)
class PairSource:
    """A trained generator with all that pairs are made from beside it.

    names: of the training cases, and behind them of unlabelled images that lent their surroundings. masks: `(*patch)`
    uint8 class indices of each training case. copies: what tells whether a generated image is one of all these.
    """

    generator: ImageGenerator
    steered: SteeredParameters
    names: Sequence[str]
    masks: Sequence[NDArray[np.uint8]]
    plausibility: Plausibility
    copies: CopyTest

    def make(self, count: int, plan: Plan, machine: Machine, seed: int, number: int) -> Pairs:
        """Batch `number` of `count` pairs, with images as the generator gives them and no graph."""
        labelled = len(self.masks)
        pool = MaskPool(self.masks, range(labelled), self.plausibility, range(labelled, len(self.names)))
        draws = generator_for(seed, "generated pairs", number)
        bare = plan.model_copy(update={"augmentation": "none"})
        with torch.no_grad():
            new = make_masks(pool, self.steered.ranges, count, bare, draws)
            return synthesise(self.generator, self.steered, new, bare, machine, draws)

    def tensors(self) -> Tensors:
        """All that is numbers in arrays, by name; "knobs" is the name of the steered parameters in files."""
        return {
            **{f"generator.{name}": tensor for name, tensor in self.generator.state_dict().items()},
            **{f"knobs.{name}": tensor for name, tensor in self.steered.state_dict().items()},
            "masks": torch.from_numpy(np.stack(self.masks)),
            "images.training": self.copies.training,
            "images.held_out": self.copies.held_out,
        }

    def describe(self) -> dict[str, Any]:
        """All else, as JSON values."""
        return {
            "architecture": self.generator.describe(),
            "plausibility": self.plausibility.to_json(),
            "cases": list(self.names),
            "groups": list(self.copies.groups),
        }

    @classmethod
    def restore(
        cls, tensors: Mapping[str, Tensor], described: Mapping[str, Any], plan: Plan, machine: Machine
    ) -> PairSource:
        """The inverse of `tensors` and `describe`.

        Raises KeyError, TypeError, ValueError, RuntimeError or RunError where they are not what these gave.
        """
        names, labelled = described["cases"], len(tensors["masks"])
        with torch.random.fork_rng():
            generator = restore_generator(described["architecture"])
        steered = begin_steered(plan, labelled, len(names) - labelled)
        for module, part in ((generator, "generator."), (steered, "knobs.")):
            module.load_state_dict(
                {key.removeprefix(part): one for key, one in tensors.items() if key.startswith(part)}
            )
            module.eval()
        machine.place(generator, plan.rank)
        steered.to(machine.device)
        copies = CopyTest(tensors["images.training"], described["groups"], tensors["images.held_out"], plan.flip_axes)
        masks = list(tensors["masks"].numpy())
        return cls(generator, steered, names, masks, Plausibility.from_json(described["plausibility"]), copies)
