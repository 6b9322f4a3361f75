"""Level sets: they are the mask, and growth moves edges by the amount it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from genseg.masks.growth import OBJECT_NUMBERS, draw_growth, grow, level_sets, no_growth, soft_mask
from genseg.read.case import IGNORE

EVEN = (1.0, 1.0, 1.0)


def _values(growth: float = 0.0, contour: float = 0.0) -> dict[str, Tensor]:
    return {"growth": torch.tensor(growth), "contour": torch.tensor(contour)}


def _grown(mask: NDArray[np.uint8], growth: float, *numbers: float, classes: int = 2) -> NDArray[np.int64]:
    """Class indices after growth, `numbers` for the first objects and 0 for the others."""
    objects = (numbers + (0.0,) * OBJECT_NUMBERS)[:OBJECT_NUMBERS]
    draw = replace(no_growth(mask.ndim), objects=objects)
    sets = level_sets(mask, classes, EVEN[: mask.ndim])
    return grow(sets, draw, _values(growth)).argmax(0).numpy()


def _box(shape: tuple[int, ...], *slices: slice, label: int = 1) -> NDArray[np.uint8]:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[slices] = label
    return mask


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_level_sets_are_the_mask(rank: int, classes: int, scene) -> None:
    mask = np.minimum(scene(rank), classes - 1)
    soft = soft_mask(level_sets(mask, classes, EVEN[:rank]).distances)
    assert soft.shape == (classes, *mask.shape)
    np.testing.assert_array_equal(soft.argmax(0).numpy(), mask)
    torch.testing.assert_close(soft.sum(0), torch.ones(mask.shape))


@pytest.mark.parametrize("rank", [2, 3])
def test_soft_only_at_edges(rank: int, scene) -> None:
    mask = scene(rank)
    largest = soft_mask(level_sets(mask, 3, EVEN[:rank]).distances).amax(0).numpy()
    inner = ndimage.minimum_filter(mask, 3) == ndimage.maximum_filter(mask, 3)
    assert largest[inner].min() > 0.9999
    assert largest.min() > 0.95


def test_distance_is_zero_between_the_pixels_of_an_edge() -> None:
    distances = level_sets(_box((6, 8), slice(None), slice(0, 3)), 2, EVEN[:2]).distances
    expected = torch.tensor([2.5, 1.5, 0.5, -0.5, -1.5, -2.5, -3.5, -4.5])
    torch.testing.assert_close(distances[1], expected.expand(6, 8))
    torch.testing.assert_close(distances[0], -distances[1])


def test_ignored_pixels_are_background() -> None:
    mask = _box((8, 8), slice(2, 5), slice(2, 5))
    ignored = np.where(mask == 0, np.uint8(IGNORE), mask)
    for classes in (2, 3):
        one, other = (level_sets(some, classes, EVEN[:2]) for some in (ignored, mask))
        assert torch.equal(one.distances, other.distances)
        assert one.centre == other.centre


@pytest.mark.parametrize(("label", "classes"), [(0, 2), (1, 2), (0, 3), (2, 3)])
def test_a_single_class_everywhere_stays_everywhere(label: int, classes: int) -> None:
    mask = np.full((6, 8), label, dtype=np.uint8)
    assert (_grown(mask, 0.3, *[-1.0] * OBJECT_NUMBERS, classes=classes) == label).all()


@pytest.mark.parametrize("number", [-1.0, -0.5, 0.5, 1.0])
@pytest.mark.parametrize("rank", [2, 3])
def test_growth_is_a_share_of_the_radius(rank: int, number: float) -> None:
    size, radius = 31, 8
    places = np.linalg.norm(np.indices((size,) * rank) - size // 2, axis=0)
    ball = (places <= radius).astype(np.uint8)
    grown = _grown(ball, 0.5, number)
    assert grown.sum() == pytest.approx((places <= radius * (1 + number * 0.5)).sum(), rel=0.12)


def test_each_object_grows_by_its_own_number_and_radius() -> None:
    mask = _box((20, 40), slice(8, 12), slice(5, 15)) | _box((20, 40), slice(5, 15), slice(25, 35))
    grown = _grown(mask, 0.5, 1.0, -1.0)
    # Numbered in reading order: the square, 4.5 px from its innermost pixels to its edge, then the bar, with 1.5 px.
    assert (grown[:, 20:].sum(0) > 0).sum() == 14
    assert (grown[:, :20].sum(1) > 0).sum() == 2


def test_where_objects_meet_the_stronger_wins() -> None:
    mask = _box((20, 40), slice(5, 15), slice(10, 20)) | _box((20, 40), slice(5, 15), slice(20, 30), label=2)
    grown = _grown(mask, 0.5, 0.5, -0.5, classes=3)
    row = grown[10]
    # One edge moves out and the other in by 0.5 * 0.5 * 4.5 px, the one between them by both.
    assert [(row == label).sum() for label in (1, 2)] == [13, 7]
    assert 0 not in row[row.nonzero()[0].min() : row.nonzero()[0].max()]


def test_radius_is_in_pixels_of_the_finest_axis() -> None:
    mask = _box((9, 30), slice(3, 6), slice(5, 25))
    assert level_sets(mask, 2, (4.0, 1.0)).radii.tolist() == [7.5]
    assert level_sets(mask, 2, (1.0, 1.0)).radii.tolist() == [1.5]


@pytest.mark.parametrize("rank", [2, 3])
def test_contour_moves_edges_out_here_and_in_there(rank: int) -> None:
    size, radius = {2: 61, 3: 31}[rank], {2: 20, 3: 11}[rank]
    places = np.linalg.norm(np.indices((size,) * rank) - size // 2, axis=0)
    sets = level_sets((places <= radius).astype(np.uint8), 2, EVEN[:rank])
    grown = grow(sets, draw_growth(rank, Generator().manual_seed(0)), _values(contour=0.3)).argmax(0).numpy()
    out, back = (grown == 1) & (places > radius), (grown == 0) & (places <= radius)
    assert out.sum() > 20
    assert back.sum() > 20
    # A uniform field of the largest number would move the edge by 0.3 radii.
    assert places[out].max() <= radius * 1.3 + 1.5
    assert places[back].min() >= radius * 0.7 - 1.5


def test_a_draw_is_numbers_from_minus_one_to_one() -> None:
    draw = draw_growth(2, Generator().manual_seed(3))
    numbers = np.array(draw.objects + draw.contour)
    assert -1 <= numbers.min() < -0.8 < 0.8 < numbers.max() <= 1
    assert draw == draw_growth(2, Generator().manual_seed(3))


def test_a_mask_changed_in_place_is_measured_again() -> None:
    mask = _box((8, 8), slice(2, 5), slice(2, 5))
    before = level_sets(mask, 2, EVEN[:2])
    assert level_sets(mask.copy(), 2, EVEN[:2]) is before
    mask[6, 6] = 1
    assert len(level_sets(mask, 2, EVEN[:2]).radii) == 2
    assert len(before.radii) == 1
