"""Synthetic pairs: real masks changed, a style drawn, an image generated, its intensities changed like a real one's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from genseg.batches.augment import augment_intensity, flip
from genseg.compute.device import Machine
from genseg.config import Plan
from genseg.joint.knobs import Knobs
from genseg.joint.steps import Tensors
from genseg.masks.make import MaskRecipe, new_masks
from genseg.masks.plausible import Plausibility


@dataclass(frozen=True)
class MaskPool:
    """Real masks that new ones may be made from.

    masks: `(*patch)` uint8 class indices of every training case. cases: positions of those that may be used now.
    """

    masks: Sequence[NDArray[np.uint8]]
    cases: Sequence[int]
    plausibility: Plausibility


@dataclass(frozen=True)
class Pairs:
    """Synthetic pairs with the graph that leads to knobs, architecture and generator weights.

    image: `(batch, channel, *spatial)`; plain: the same before its intensities were changed; mask: `(batch, class,
    *spatial)`, soft; weight: `(batch,)`; share: a scalar. recipes: how each mask came about, from the masks that were
    allowed.
    """

    image: Tensor
    plain: Tensor
    mask: Tensor
    weight: Tensor
    share: Tensor
    recipes: Sequence[MaskRecipe] = ()

    def made(self) -> Tensors:
        """What stage II's loss takes, by name, with its graph."""
        return {"image": self.image, "mask": self.mask, "weight": self.weight, "share": self.share}

    def leaves(self) -> Tensors:
        """The same cut off from its graph: where hypergradients are handed over from stage II to what came before."""
        return {name: tensor.detach().requires_grad_() for name, tensor in self.made().items()}


def synthesise(
    generator: nn.Module,
    knobs: Knobs,
    pool: MaskPool,
    count: int,
    plan: Plan,
    machine: Machine,
    draws: Generator,
) -> Pairs:
    """Make `count` pairs; everything random comes from `draws`."""
    masks = [pool.masks[case] for case in pool.cases]
    mask, recipes = new_masks(
        masks,
        knobs.ranges,
        pool.plausibility,
        count,
        classes=plan.classes,
        spacing=plan.spacing,
        generator=draws,
    )
    mask = machine.send(mask)
    parents = [pool.cases[recipe.mask] for recipe in recipes]
    style = knobs.styles.sample(mask, parents, pool.cases, draws)
    with machine.autocast(plan.rank):
        plain: Tensor = generator(mask, style)
    plain, mask = flip(plain, mask, plan.flip_axes, draws)
    image = plain if plan.augmentation == "none" else augment_intensity(plain, draws, is_colour=plan.is_colour)
    weight = knobs.pair_weights(parents)
    return Pairs(image, plain, mask, weight, knobs.share(), recipes)
