"""Outlines that were drawn around structures, and structures that look a little like them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from genseg.labels.outlines import outline_of

Pixels = NDArray[np.bool_]


def _blob(side: int, radius: float, seed: int = 0) -> Pixels:
    """A round region whose radius varies by some percent."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] - side / 2
    angle = np.arctan2(rows, columns)
    wave: Any = sum(0.03 * random.normal() * np.cos(k * angle + random.uniform(0, 6)) for k in (2, 3, 4))
    return np.hypot(rows, columns) < radius * (1 + wave)


def _line(region: Pixels, thickness: int) -> Pixels:
    """What a pen draws along the inner side of a region."""
    inside = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return region & (inside <= thickness)


@pytest.mark.fault(65)
@pytest.mark.parametrize(("side", "radius"), [(96, 30), (256, 100), (512, 200)])
@pytest.mark.parametrize("thickness", [1, 2, 3])
def test_closed_lines_are_outlines(side: int, radius: int, thickness: int) -> None:
    line = _line(_blob(side, radius), thickness)
    assert outline_of(line, ~line) == "hollow"


@pytest.mark.fault(65)
@pytest.mark.parametrize("thickness", [4, 5])
def test_thick_pens_are_told_in_large_pictures(thickness: int) -> None:
    region = _blob(512, 150)
    line = ndimage.binary_dilation(region, iterations=thickness) & ~region
    assert outline_of(line, ~line) == "hollow"


@pytest.mark.fault(65)
def test_small_gaps_several_lines_and_the_border_change_nothing() -> None:
    line = _line(_blob(200, 60), 2)
    line[98:102, :100] = False
    assert outline_of(line, ~line) == "hollow"
    several = np.zeros((200, 200), bool)
    for row, column in ((0, 0), (0, 100), (100, 50)):
        several[row : row + 100, column : column + 100] |= _line(_blob(100, 30, row + column), 1)
    assert outline_of(several, ~several) == "hollow"
    cut = _line(_blob(200, 60)[50:], 1)
    assert outline_of(cut, ~cut) == "hollow"


@pytest.mark.fault(65)
@pytest.mark.parametrize("radius", [3, 5, 8, 15, 30])
def test_filled_regions_and_anatomical_rings_are_none(radius: int) -> None:
    region = _blob(96, radius)
    assert outline_of(region, ~region) == "none"
    ring = _blob(96, radius + max(3, radius // 3)) & ~region
    assert outline_of(ring, ~ring) == "none"


@pytest.mark.fault(65)
def test_vessels_membranes_and_layers_are_none() -> None:
    random = np.random.default_rng(0)
    vessels = np.zeros((256, 256), bool)
    for _ in range(12):
        place, angle = np.array([128.0, 128.0]), random.uniform(0, 6)
        for _ in range(120):
            angle += random.normal() * 0.12
            place += np.sin(angle), np.cos(angle)
            row, column = place.clip(2, 253).astype(int)
            vessels[row - 1 : row + 1, column - 1 : column + 1] = True
    rows, columns = np.mgrid[:256, :256]
    seeds = random.integers(0, 256, (40, 2))
    cells = ((rows[..., None] - seeds[:, 0]) ** 2 + (columns[..., None] - seeds[:, 1]) ** 2).argmin(-1)
    membranes = (cells != np.roll(cells, 1, 0)) | (cells != np.roll(cells, 1, 1))
    layers = (rows % 40 < 3) & (rows > 60) & (rows < 180)
    for region in (vessels, membranes, layers):
        assert outline_of(region, ~region) == "none"


@pytest.mark.fault(65)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_volumes_are_judged_slice_by_slice(axis: int) -> None:
    places = np.mgrid[:40, :48, :48]
    ball = sum(((p - c) / r) ** 2 for p, c, r in zip(places, (20, 24, 24), (14, 20, 18), strict=True)) < 1
    drawn = np.moveaxis(np.stack([_line(part, 1) for part in np.moveaxis(ball, axis, 0)]), 0, axis)
    shell = ball & ~ndimage.binary_erosion(ball)
    assert outline_of(drawn, ~drawn) == outline_of(shell, ~shell) == "hollow"
    assert outline_of(ball, ~ball) == "none"


@pytest.mark.fault(65)
def test_what_a_line_encloses_tells_a_rim_from_a_hollow_mask() -> None:
    region = _blob(96, 30)
    line = _line(region, 2)
    assert outline_of(line, ~region) == "rim"
    assert outline_of(region & ~line, ~region) == "none"
    assert outline_of(np.zeros((40, 40), bool), np.ones((40, 40), bool)) == "none"
