"""Movement of masks: each number does what it says, about the objects' own centre, in millimetres."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor

from genseg.masks.growth import level_sets, soft_mask
from genseg.masks.spatial import SpatialDraw, draw_spatial, move, no_movement

NAMES = ("rotation", "scale", "shear", "translation", "elastic")


def _still(rank: int) -> SpatialDraw:
    return no_movement(rank)


def _moved(
    mask: NDArray[np.uint8], draw: SpatialDraw, classes: int = 2, step: tuple[float, ...] | None = None, **values: float
) -> NDArray[np.int64]:
    """Class indices of the moved mask; ranges not given are 0."""
    return _soft(mask, draw, classes, step, **values).argmax(0).numpy()


def _soft(
    mask: NDArray[np.uint8], draw: SpatialDraw, classes: int, step: tuple[float, ...] | None = None, **values: float
) -> Tensor:
    step = step or (1.0,) * mask.ndim
    sets = level_sets(mask, classes, step)
    tensors = {name: torch.tensor(values.get(name, 0.0)) for name in NAMES}
    return soft_mask(move(sets.distances, draw, tensors, sets.centre, step))


def _box(shape: tuple[int, ...], *slices: slice) -> NDArray[np.uint8]:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[slices] = 1
    return mask


def _centre(mask: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.array([places.mean() for places in mask.nonzero()])


@pytest.mark.parametrize("rank", [2, 3])
def test_nothing_drawn_changes_nothing(rank: int, scene) -> None:
    np.testing.assert_array_equal(_moved(scene(rank), _still(rank), 3), scene(rank))


@pytest.mark.parametrize("rank", [2, 3])
def test_translation_is_a_share_of_the_size(rank: int, scene) -> None:
    size = scene(rank).shape[0]
    numbers = (0.5, -1.0, 1.0)[:rank]
    moved = _moved(scene(rank), replace(_still(rank), translation=numbers), 3, translation=2 / size)
    expected = np.roll(scene(rank), (1, -2, 2)[:rank], axis=range(rank))
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize(("rank", "pair", "axes"), [(2, 0, (0, 1)), (3, 0, (0, 1)), (3, 1, (0, 2)), (3, 2, (1, 2))])
def test_a_quarter_turn_in_each_plane(rank: int, pair: int, axes: tuple[int, int]) -> None:
    shape = (21,) * rank
    mask = _box(shape, *(slice(4, 12), slice(8, 12), slice(9, 14))[:rank])
    mask[(4, 12, 11)[:rank]] = 1
    draw = replace(_still(rank), rotation=tuple(float(other == pair) for other in range(len(_still(rank).rotation))))
    moved = _moved(mask, draw, rotation=math.pi / 2)
    turned = np.rot90(mask, -1, axes)
    # About the object's own centre, so that the turn of the whole image has to be brought back there.
    shift = np.round(_centre(mask) - _centre(turned)).astype(int)
    expected = np.roll(turned, tuple(shift), axis=tuple(range(rank)))
    assert (moved != expected).sum() <= 0.1 * mask.sum()
    np.testing.assert_allclose(_centre(moved), _centre(mask), atol=0.5)


def test_rotation_is_rigid_in_millimetres() -> None:
    # 8 x 24 mm on pixels of 2 x 1 mm.
    mask = _box((24, 40), slice(10, 14), slice(8, 32))
    moved = _moved(mask, replace(_still(2), rotation=(1.0,)), step=(2.0, 1.0), rotation=math.pi / 2)
    rows, columns = (np.ptp(places) + 1 for places in moved.nonzero())
    assert (rows, columns) == (12, 8)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("number", [-1.0, 1.0])
def test_scale_is_the_logarithm_of_a_factor(rank: int, number: float) -> None:
    size = 30
    places = np.linalg.norm(np.indices((size,) * rank) - size / 2 - 0.5, axis=0)
    moved = _moved((places < 8).astype(np.uint8), replace(_still(rank), scale=(number,)), scale=math.log(1.5))
    assert moved.sum() == pytest.approx((places < 8 * 1.5**number).sum(), rel=0.1)
    np.testing.assert_allclose(_centre(moved), size / 2 + 0.5, atol=0.2)


def test_edges_stay_crisp_when_enlarged() -> None:
    mask = _box((32, 32), slice(12, 20), slice(12, 20))
    soft = _soft(mask, replace(_still(2), scale=(1.0,)), 2, scale=0.6)
    row = soft[1, 16]
    # One pixel on either side; an edge 1.8 times as wide takes in two.
    assert ((row > 0.02) & (row < 0.98)).sum() <= 2


@pytest.mark.parametrize(("rank", "pair", "axes"), [(2, 0, (0, 1)), (3, 0, (0, 1)), (3, 1, (0, 2)), (3, 2, (1, 2))])
def test_shear_moves_layers_sideways(rank: int, pair: int, axes: tuple[int, int]) -> None:
    mask = _box((30,) * rank, *(slice(5, 25), slice(5, 25), slice(5, 25))[:rank])
    draw = replace(_still(rank), shear=tuple(float(other == pair) for other in range(len(_still(rank).shear))))
    moved = np.moveaxis(_moved(mask, draw, shear=0.25), axes, (0, 1))
    starts = [_centre(moved[:, layer])[0] for layer in (6, 15, 24)]
    assert abs(starts[2] - starts[0]) == pytest.approx(18 * 0.25, abs=0.75)
    assert moved.sum() == pytest.approx(mask.sum(), rel=0.05)


@pytest.mark.parametrize(("rank", "axis"), [(2, 0), (2, 1), (3, 0), (3, 2)])
def test_elastic_is_in_half_sizes_along_each_axis(rank: int, axis: int) -> None:
    mask = _box((16, 20, 12)[:rank], *(slice(6, 9), slice(8, 12), slice(5, 8))[:rank])
    # The same displacement everywhere, along one axis, moves everything: from where the new pixel looks, backwards.
    points = np.zeros((rank, len(_still(rank).elastic) // rank))
    points[axis] = 1
    moved = _moved(mask, replace(_still(rank), elastic=tuple(points.ravel())), elastic=4 / mask.shape[axis])
    np.testing.assert_array_equal(moved, np.roll(mask, -2, axis=axis))


@pytest.mark.parametrize("rank", [2, 3])
def test_elastic_moves_edges_by_no_more_than_it_says(rank: int) -> None:
    size, radius = {2: 64, 3: 32}[rank], {2: 20, 3: 10}[rank]
    places = np.linalg.norm(np.indices((size,) * rank) - (size - 1) / 2, axis=0)
    mask = (places < radius).astype(np.uint8)
    draw = replace(_still(rank), elastic=draw_spatial(rank, Generator().manual_seed(1)).elastic)
    changed = _moved(mask, draw, elastic=0.12) != mask
    assert changed.sum() > 0.02 * mask.sum()
    # Half the size, along each axis at most.
    assert np.abs(places[changed] - radius).max() <= 0.12 * size / 2 * math.sqrt(rank) + 1


def test_outside_of_the_old_image_is_background() -> None:
    mask = _box((20, 20), slice(8, 12), slice(1, 4))
    moved = _moved(mask, replace(_still(2), translation=(0.0, 1.0)), translation=0.5)
    np.testing.assert_array_equal(moved, np.roll(mask, 10, axis=1))


def test_an_object_cut_by_the_border_is_rounded_off() -> None:
    mask = _box((40, 40), slice(15, 24), slice(0, 10))
    moved = _moved(mask, replace(_still(2), translation=(0.0, 1.0)), translation=0.5)
    np.testing.assert_array_equal(moved[:, 20:30], mask[:, :10])
    # The middle of the cut lies 4.5 px from the nearest edge: so far the object goes on, narrower and narrower.
    widths = moved[:, :20].sum(0)
    assert widths[:15].sum() == 0
    assert widths[16] > 0
    assert (np.diff(widths) >= 0).all()
    assert widths[15] < widths[19] < 9
