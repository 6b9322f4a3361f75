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
from genseg.joint.generation import SteeredParameters
from genseg.joint.steps import Tensors
from genseg.masks.make import MaskRecipe, new_masks
from genseg.masks.plausible import Plausibility
from genseg.masks.ranges import MaskRanges


@dataclass(frozen=True)
class MaskPool:
    """Real masks that new ones may be made from.

    masks: `(*patch)` uint8 class indices of every training case. cases: positions of those that may be used now.
    surroundings: positions, behind all masks, of unlabelled images whose surroundings may be used.
    """

    masks: Sequence[NDArray[np.uint8]]
    cases: Sequence[int]
    plausibility: Plausibility
    surroundings: Sequence[int] = ()


@dataclass(frozen=True)
class NewMasks:
    """Masks that images are to be generated for.

    mask: `(batch, class, *spatial)`, soft, with the graph that leads to their ranges. recipes: how each came about.
    parents: position of the training case that each was made from. cases: positions of those whose styles may be used.
    """

    mask: Tensor
    recipes: Sequence[MaskRecipe]
    parents: Sequence[int]
    cases: Sequence[int]


@dataclass(frozen=True)
class Pairs:
    """Synthetic pairs with the graph that leads to steered parameters, architecture and generator weights.

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

    def detached(self) -> Tensors:
        """The same cut off from its graph."""
        return {name: tensor.detach() for name, tensor in self.made().items()}

    def leaves(self) -> Tensors:
        """The same as leaves: where hypergradients are handed over from stage II to what came before."""
        return {name: tensor.requires_grad_() for name, tensor in self.detached().items()}


def make_masks(pool: MaskPool, ranges: MaskRanges, count: int, plan: Plan, draws: Generator) -> NewMasks:
    """Change real masks, within `ranges`, into `count` plausible new ones; everything random comes from `draws`."""
    mask, recipes = new_masks(
        [pool.masks[case] for case in pool.cases],
        ranges,
        pool.plausibility,
        count,
        classes=plan.classes,
        spacing=plan.spacing,
        generator=draws,
    )
    return NewMasks(mask, recipes, [pool.cases[recipe.mask] for recipe in recipes], (*pool.cases, *pool.surroundings))


def synthesise(
    generator: nn.Module, steered: SteeredParameters, new: NewMasks, plan: Plan, machine: Machine, draws: Generator
) -> Pairs:
    """Generate an image for each of the new masks; everything random comes from `draws`."""
    mask = machine.send(new.mask)
    style = steered.styles.sample(mask, new.parents, new.cases, draws)
    with machine.autocast(plan.rank):
        plain: Tensor = generator(mask, style)
    plain, mask = flip(plain, mask, plan.flip_axes, draws)
    image = plain if plan.augmentation == "none" else augment_intensity(plain, draws, is_colour=plan.is_colour)
    return Pairs(image, plain, mask, steered.pair_weights(new.parents), steered.share(), new.recipes)
