"""Pairs are mirrored as a whole: the object stays where it is in its surroundings."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import torch
from joint_problem import make_problem
from torch import Tensor, nn

from genseg.compute.randomness import generator_for
from genseg.joint import synthesis as synthesis_module
from genseg.joint.synthesis import make_masks, synthesise
from genseg.masks.make import MaskRecipe, draw_recipe

COUNT = 24


class _Ramp(nn.Module):
    """Brighter from row to row, and bright where the object is."""

    def forward(self, mask: Tensor, _: Tensor) -> Tensor:
        rows = torch.linspace(-0.5, 0.5, mask.shape[2], dtype=mask.dtype)[:, None]
        return mask[:, 1:] + rows


def _same_masks(*_: Any, **__: Any) -> tuple[Tensor, list[MaskRecipe]]:
    """An object in the upper left corner, again and again."""
    mask = torch.zeros(COUNT, 2, 16, 16, dtype=torch.float64)
    mask[:, 1, 2:5, 3:7] = 1
    mask[:, 0] = 1 - mask[:, 1]
    return mask, [draw_recipe(1, 2, generator_for(0, "recipe", 0))] * COUNT


def test_mask_and_image_are_mirrored_together_along_the_plan_s_axes() -> None:
    problem = make_problem()
    loop, generation, plan = problem.loop, problem.generation, problem.plan
    assert plan.flip_axes == (0,)
    with patch.object(synthesis_module, "new_masks", _same_masks):
        pool, draws = loop._patches.pool(loop._patches.everyone), generator_for(0, "pairs", 0)
        new = make_masks(pool, generation.steered.ranges, COUNT, plan, draws)
        pairs = synthesise(_Ramp(), generation.steered, new, plan, loop._machine, draws)
    mask, _ = _same_masks()
    image = _Ramp()(mask, mask)
    upright = (pairs.mask == mask).flatten(1).all(1)
    assert 4 < upright.sum() < COUNT - 4
    assert torch.equal(pairs.plain[upright], image[upright])
    assert torch.equal(pairs.mask[~upright], mask[~upright].flip(2))
    assert torch.equal(pairs.plain[~upright], image[~upright].flip(2))
