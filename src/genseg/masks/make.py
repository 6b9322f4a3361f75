"""New masks from real ones: draw what to change, judge the outcome, keep it as a tensor that a gradient runs through.

A recipe is a record of numbers. It can be realised again, with other ranges, and the mask that it gives is
differentiable in the ranges: how far a range reaches times the recipe's number is how far the mask is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from genseg.masks.compose import drop_object, keep_object, paste
from genseg.masks.growth import GrowthDraw, draw_growth, grow, level_sets, no_growth, soft_mask
from genseg.masks.plausible import Plausibility
from genseg.masks.ranges import MaskRanges
from genseg.masks.spatial import SpatialDraw, draw_spatial, move, no_movement

GRAFTS = 0.25
"""Share of the masks that take an object from another mask."""

ATTEMPTS = 10
"""Recipes drawn for one mask before a real mask is taken as it is."""


@dataclass(frozen=True)
class Change:
    """Numbers by which one real mask is changed."""

    spatial: SpatialDraw
    growth: GrowthDraw

    @property
    def is_none(self) -> bool:
        """Whether all numbers are 0."""
        rank = len(self.spatial.translation)
        return self == Change(no_movement(rank), no_growth(rank))


@dataclass(frozen=True)
class Graft:
    """An object of another mask to paste. chosen, replaced: in [0, 1], which object to take, and which to put it for.

    mask: position of the other mask. replaced: None where the object comes in addition.
    """

    mask: int
    chosen: float
    replaced: float | None
    change: Change


@dataclass(frozen=True)
class MaskRecipe:
    """How one new mask comes about. mask: position of the real mask that it is made from."""

    mask: int
    change: Change
    graft: Graft | None

    @property
    def is_changed(self) -> bool:
        """Whether the mask differs from the real one that it is made from."""
        return self.graft is not None or not self.change.is_none


def draw_recipe(count_of_masks: int, rank: int, generator: Generator) -> MaskRecipe:
    """One recipe, drawn evenly; a quarter of them take an object from another mask, where there is another."""
    mask = _below(count_of_masks, generator)
    change = _draw_change(rank, generator)
    if count_of_masks < 2 or _number(generator) >= GRAFTS:
        return MaskRecipe(mask, change, None)
    other = (mask + 1 + _below(count_of_masks - 1, generator)) % count_of_masks
    chosen, replaced, adds = (_number(generator) for _ in range(3))
    graft = Graft(other, chosen, None if adds < 0.5 else replaced, _draw_change(rank, generator))
    return MaskRecipe(mask, change, graft)


def realise(
    recipe: MaskRecipe,
    masks: Sequence[NDArray[np.uint8]],
    ranges: MaskRanges,
    classes: int,
    spacing: Sequence[float] | None,
) -> Tensor:
    """The mask that a recipe describes, `(class, *spatial)`, positive and summing to 1 over the classes.

    masks: real masks, `(*spatial)` class indices or `IGNORE`, which becomes background; all of one size.
    spacing: mm per voxel, equal along all axes where None. The result is differentiable in the parameters of `ranges`,
    and has their type and device.
    """
    values = ranges.values()
    mask, graft = masks[recipe.mask], recipe.graft
    if graft is None:
        return soft_mask(_changed(mask, recipe.change, values, classes, spacing))
    if graft.replaced is not None:
        mask = drop_object(mask, graft.replaced)
    host = _changed(mask, recipe.change, values, classes, spacing)
    pasted = _changed(keep_object(masks[graft.mask], graft.chosen), graft.change, values, classes, spacing)
    return soft_mask(paste(host, pasted))


def new_masks(
    masks: Sequence[NDArray[np.uint8]],
    ranges: MaskRanges,
    plausibility: Plausibility,
    count: int,
    *,
    classes: int,
    spacing: Sequence[float] | None,
    generator: Generator,
) -> tuple[Tensor, list[MaskRecipe]]:
    """Plausible new masks `(count, class, *spatial)` and their recipes; arguments and gradients as in `realise`.

    Whether a mask is plausible is a discrete choice, without gradient. Where no recipe of several is, the mask is a
    real one and has no gradient: its recipe's numbers are 0.

    Nothing is mirrored here: image and mask are, together, once the image is there. A mirrored mask in surroundings
    that are not would put left to the right, and parts that look alike could not be told by where they lie.
    """
    made = [_plausible_mask(masks, ranges, plausibility, classes, spacing, generator) for _ in range(count)]
    return torch.stack([mask for mask, _ in made]), [recipe for _, recipe in made]


def _plausible_mask(
    masks: Sequence[NDArray[np.uint8]],
    ranges: MaskRanges,
    plausibility: Plausibility,
    classes: int,
    spacing: Sequence[float] | None,
    generator: Generator,
) -> tuple[Tensor, MaskRecipe]:
    for _ in range(ATTEMPTS):
        recipe = draw_recipe(len(masks), masks[0].ndim, generator)
        made = realise(recipe, masks, ranges, classes, spacing)
        judged = made.detach().cpu().numpy().argmax(0).astype(np.uint8)
        if not plausibility.objections(judged):
            return made, recipe
    rank = masks[0].ndim
    unchanged = Change(no_movement(rank), no_growth(rank))
    recipe = MaskRecipe(recipe.mask, unchanged, None)
    return realise(recipe, masks, ranges, classes, spacing), recipe


def _changed(
    mask: NDArray[np.uint8],
    change: Change,
    values: Mapping[str, Tensor],
    classes: int,
    spacing: Sequence[float] | None,
) -> Tensor:
    """Level sets of a real mask after growth and movement."""
    step = [unit / min(spacing) for unit in spacing] if spacing else [1.0] * mask.ndim
    sets = level_sets(mask, classes, step)
    return move(grow(sets, change.growth, values), change.spatial, values, sets.centre, step)


def _draw_change(rank: int, generator: Generator) -> Change:
    return Change(draw_spatial(rank, generator), draw_growth(rank, generator))


def _number(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))


def _below(limit: int, generator: Generator) -> int:
    return int(torch.randint(limit, (), generator=generator))
