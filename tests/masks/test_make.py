"""New masks: recipes are records, masks are crisp and plausible, and every range has a true gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from genseg.masks.growth import no_growth
from genseg.masks.make import Change, Graft, MaskRecipe, draw_recipe, new_masks, realise
from genseg.masks.plausible import Plausibility
from genseg.masks.ranges import REACHES, MaskRanges
from genseg.masks.spatial import no_movement
from genseg.read.case import IGNORE

SPACING = {2: (1.5, 1.0), 3: (1.0, 1.0, 2.0)}


def _seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _masks(scene, rank: int) -> list[NDArray[np.uint8]]:
    return [scene(rank, shift) for shift in (-2, 0, 1)]


def _recipe(rank: int, grafted: bool, seed: int = 0) -> MaskRecipe:
    generator = _seeded(seed)
    while True:
        recipe = draw_recipe(3, rank, generator)
        if recipe.graft is None if not grafted else recipe.graft is not None and recipe.graft.replaced is None:
            return recipe


def _make(
    scene, rank: int, count: int, seed: int = 0, ranges: MaskRanges | None = None
) -> tuple[Tensor, list[MaskRecipe]]:
    masks = _masks(scene, rank)
    return new_masks(
        masks,
        ranges or MaskRanges(rank, {"rotation": 0.2}),
        Plausibility.learn(masks, 3),
        count,
        classes=3,
        spacing=SPACING[rank],
        generator=_seeded(seed),
    )


def _unchanged(rank: int) -> Change:
    return Change(no_movement(rank), no_growth(rank))


@pytest.mark.parametrize("rank", [2, 3])
def test_recipes_depend_on_the_seed_alone(rank: int) -> None:
    assert [draw_recipe(5, rank, _seeded(4)) for _ in range(2)] == [draw_recipe(5, rank, _seeded(4))] * 2
    assert draw_recipe(5, rank, _seeded(4)) != draw_recipe(5, rank, _seeded(5))


def test_recipes_use_every_mask_and_never_paste_one_into_itself() -> None:
    generator = _seeded()
    recipes = [draw_recipe(4, 2, generator) for _ in range(200)]
    grafts = [recipe.graft for recipe in recipes if recipe.graft]
    assert {recipe.mask for recipe in recipes} == set(range(4)) == {graft.mask for graft in grafts}
    assert all(recipe.graft is None or recipe.graft.mask != recipe.mask for recipe in recipes)
    assert 30 < len(grafts) < 70
    assert 5 < sum(graft.replaced is None for graft in grafts) < len(grafts) - 5


def test_a_single_mask_has_no_grafts() -> None:
    generator = _seeded()
    assert all(draw_recipe(1, 2, generator).graft is None for _ in range(40))


@pytest.mark.parametrize("name", REACHES[2])
@pytest.mark.parametrize("grafted", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_gradient_of_every_range_is_that_of_finite_differences(rank: int, grafted: bool, name: str, scene) -> None:
    masks, recipe = _masks(scene, rank), _recipe(rank, grafted)
    ranges = MaskRanges(rank, {"rotation": 0.3}).double()
    parameter = getattr(ranges, name)
    weights = torch.randn(3, *masks[0].shape, dtype=torch.float64, generator=_seeded(1))

    def loss() -> Tensor:
        return (realise(recipe, masks, ranges, 3, SPACING[rank]) * weights).sum()

    loss().backward()
    step, original = 1e-6, parameter.detach().clone()
    with torch.no_grad():
        above, below = (loss().item() for sign in (1, -1) if parameter.copy_(original + sign * step) is not None)
    difference = (above - below) / (2 * step)
    assert abs(difference) > 1e-3
    assert parameter.grad.item() == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_recipe_can_be_realised_with_other_ranges(rank: int, scene) -> None:
    masks, recipe = _masks(scene, rank), _recipe(rank, False)
    nearly_none = dict.fromkeys(REACHES[rank], 0.0001)
    near, far = (realise(recipe, masks, MaskRanges(rank, initial), 3, None) for initial in (nearly_none, None))
    np.testing.assert_array_equal(near.argmax(0).numpy(), masks[recipe.mask])
    assert (far.argmax(0) != near.argmax(0)).sum() > 10


@pytest.mark.parametrize("replaced", [None, 0.0, 1.0])
def test_a_graft_adds_an_object_or_replaces_one(replaced: float | None) -> None:
    host, other = np.zeros((2, 24, 24), dtype=np.uint8)
    host[2:6, 2:6], host[14:20, 14:20] = 1, 2
    other[3:7, 14:18] = 1
    expected = host + other
    if replaced is not None:
        expected[host == (1, 2)[int(replaced)]] = 0
    recipe = MaskRecipe(0, _unchanged(2), Graft(1, 0.5, replaced, _unchanged(2)))
    made = realise(recipe, [host, other], MaskRanges(2), 3, None)
    np.testing.assert_array_equal(made.argmax(0).numpy(), expected)


@pytest.mark.parametrize("rank", [2, 3])
def test_new_masks_are_plausible_soft_masks(rank: int, scene) -> None:
    masks = _masks(scene, rank)
    made, recipes = _make(scene, rank, 6)
    assert made.shape == (6, 3, *masks[0].shape)
    assert len(recipes) == 6
    assert made.min() >= 0
    torch.testing.assert_close(made.sum(1), torch.ones(6, *masks[0].shape))
    plausibility = Plausibility.learn(masks, 3)
    assert [plausibility.objections(one.argmax(0).to(torch.uint8).numpy()) for one in made] == [[]] * 6
    assert len({one.argmax(0).numpy().tobytes() for one in made}) == 6


@pytest.mark.parametrize("rank", [2, 3])
def test_new_masks_are_soft_only_near_edges(rank: int, scene) -> None:
    made, _ = _make(scene, rank, 6)
    for one in made:
        labels = one.argmax(0).numpy()
        inner = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
        largest = one.detach().amax(0).numpy()
        # Away from edges a pixel is soft only where a speck is about to appear or a gap to close.
        assert (largest[inner] > 0.95).mean() > 0.998
        assert largest[~inner].mean() > 0.85


@pytest.mark.parametrize("rank", [2, 3])
def test_new_masks_repeat_and_are_what_their_recipes_say(rank: int, scene) -> None:
    ranges = MaskRanges(rank, {"rotation": 0.2})
    made, recipes = _make(scene, rank, 3, ranges=ranges)
    again, recipes_again = _make(scene, rank, 3, ranges=ranges)
    assert recipes == recipes_again
    assert torch.equal(made, again)
    realised = [realise(recipe, _masks(scene, rank), ranges, 3, SPACING[rank]) for recipe in recipes]
    assert torch.equal(made, torch.stack(realised))
    assert _make(scene, rank, 3, seed=1)[1] != recipes


def test_new_masks_carry_the_gradient_of_every_range(scene) -> None:
    ranges = MaskRanges(2, {"rotation": 0.2})
    made, _ = _make(scene, 2, 3, ranges=ranges)
    (made[:, 1] * torch.randn(made[:, 1].shape, generator=_seeded(2))).sum().backward()
    assert all(parameter.grad is not None and parameter.grad != 0 for parameter in ranges.parameters())


def test_where_nothing_drawn_is_plausible_a_real_mask_is_taken(scene) -> None:
    masks = _masks(scene, 2)
    nowhere = Plausibility(tuple({"area": (2.0, 3.0)} for _ in range(2)))
    made, recipes = new_masks(masks, MaskRanges(2), nowhere, 8, classes=3, spacing=None, generator=_seeded())
    for one, recipe in zip(made, recipes, strict=True):
        assert recipe.graft is None
        np.testing.assert_array_equal(one.argmax(0).numpy(), masks[recipe.mask])


def test_ignored_pixels_become_background(scene) -> None:
    masks = _masks(scene, 2)
    ignored = [np.where(mask == 0, np.uint8(IGNORE), mask) for mask in masks]
    for grafted in (False, True):
        recipe = _recipe(2, grafted)
        one, other = (realise(recipe, some, MaskRanges(2), 3, None) for some in (masks, ignored))
        assert torch.equal(one, other)


def test_an_empty_mask_stays_empty() -> None:
    empty = np.zeros((16, 16), dtype=np.uint8)
    assert (realise(_recipe(2, False), [empty] * 3, MaskRanges(2), 2, None).argmax(0) == 0).all()


def test_type_follows_the_ranges(scene) -> None:
    masks, recipe = _masks(scene, 2), _recipe(2, True)
    single, double = (realise(recipe, masks, ranges, 3, None) for ranges in (MaskRanges(2), MaskRanges(2).double()))
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    torch.testing.assert_close(single.double(), double, atol=1e-3, rtol=0)
