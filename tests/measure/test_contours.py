"""Outlines of predicted objects, and the table of their points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_rows import read_rows
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from genseg.base.files import atomic_write_csv
from genseg.measure.contours import Contour, contour_columns, contour_rows, trace_contours
from genseg.read.case import Case

CLASSES = ("background", "organ", "vessel")
OBLIQUE = np.array([[0.8, -0.6, 0, 9], [0.6, 0.8, 0, -7], [0, 0, 1, 1 / 3], [0, 0, 0, 1]]) @ np.diag([0.7, 1, 2.5, 1])


def case_of(mask: NDArray[Any], name: str = "case") -> Case:
    affine = OBLIQUE if mask.ndim == 3 else None
    return Case(name, np.zeros((1, *mask.shape), np.uint8), None, (1.0,) * mask.ndim, affine, "", "", "")


def trace(mask: NDArray[np.uint8]) -> list[Contour]:
    return trace_contours(case_of(mask), mask, CLASSES)


def inside(contours: list[Contour], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """The pixels within the outlines of one slice, without those within the outlines of holes."""
    region = np.zeros(shape, bool)
    for contour in sorted(contours, key=lambda one: one.hole):
        filled = polygon2mask(shape, contour.points[:, :2])
        region = region & ~filled if contour.hole else region | filled
    return region


def random_blobs(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Blobs of two classes, some of them on the border, some with holes."""
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return np.digitize(noise, np.quantile(noise, [0.5, 0.8])).astype(np.uint8)


def test_a_pixel_is_outlined_halfway_to_its_neighbours() -> None:
    mask = np.zeros((5, 6), np.uint8)
    mask[2, 3] = 1
    (contour,) = trace(mask)
    assert {tuple(point) for point in contour.points} == {(1.5, 3), (2.5, 3), (2, 2.5), (2, 3.5)}
    assert (contour.class_name, contour.object_number, contour.contour_number) == ("organ", 1, 1)
    assert (contour.hole, contour.positions) == (False, None)


@pytest.mark.parametrize("rank", [2, 3])
def test_outlines_are_closed_even_where_all_is_foreground(rank: int) -> None:
    mask = np.ones((4, 5, 3)[:rank], np.uint8)
    contours = trace(mask)
    assert len(contours) == (1 if rank == 2 else 3)
    for contour in contours:
        np.testing.assert_array_equal(contour.points[0], contour.points[-1])
        assert contour.points[:, :2].min(axis=0).tolist() == [-0.5, -0.5]
        assert contour.points[:, :2].max(axis=0).tolist() == [3.5, 4.5]


@pytest.mark.parametrize("seed", range(3))
def test_a_picture_comes_back_from_its_outlines(seed: int) -> None:
    mask = random_blobs((40, 36), seed)
    contours = trace(mask)
    assert any(contour.hole for contour in contours)
    for index, name in enumerate(CLASSES[1:], 1):
        own = [contour for contour in contours if contour.class_name == name]
        found = np.zeros(mask.shape, bool)
        for number in {contour.object_number for contour in own}:
            found |= inside([contour for contour in own if contour.object_number == number], mask.shape)
        np.testing.assert_array_equal(found, mask == index)


def test_a_volume_comes_back_from_its_outlines_slice_by_slice() -> None:
    mask = random_blobs((14, 12, 5), 1)
    contours = trace(mask)
    for index, name in enumerate(CLASSES[1:], 1):
        found = np.zeros(mask.shape, bool)
        for contour in contours:
            assert len(set(contour.points[:, 2])) == 1
        for number in {contour.object_number for contour in contours if contour.class_name == name}:
            for k in range(mask.shape[2]):
                rings = [c for c in contours if (c.class_name, c.object_number, c.points[0, 2]) == (name, number, k)]
                found[..., k] |= inside(rings, mask.shape[:2])
        np.testing.assert_array_equal(found, mask == index)


def test_positions_are_those_of_the_affine() -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1:4, 2:4, 3] = 1
    (contour,) = trace(mask)
    assert contour.positions is not None
    homogeneous = np.column_stack([contour.points, np.ones(len(contour.points))])
    np.testing.assert_allclose(contour.positions, (homogeneous @ OBLIQUE.T)[:, :3])
    assert set(contour.points[:, 2]) == {3.0}


def test_a_ring_has_an_outer_and_an_inner_outline() -> None:
    mask = np.ones((7, 7), np.uint8)
    mask[2:5, 2:5] = 0
    outer, inner = sorted(trace(mask), key=lambda contour: contour.hole)
    assert (outer.hole, inner.hole) == (False, True)
    assert (outer.object_number, inner.object_number) == (1, 1)
    assert {outer.contour_number, inner.contour_number} == {1, 2}


def test_pixels_that_touch_at_a_corner_share_an_outline() -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[1, 1] = mask[2, 2] = mask[3, 1] = 1
    assert len(trace(mask)) == 1


def test_objects_are_numbered_within_their_class() -> None:
    mask = np.zeros((9, 9), np.uint8)
    mask[0, 0] = mask[4, 4] = 1
    mask[8, 8] = 2
    found = [(contour.class_name, contour.object_number, contour.contour_number) for contour in trace(mask)]
    assert found == [("organ", 1, 1), ("organ", 2, 1), ("vessel", 1, 1)]


def test_an_object_that_a_slice_cuts_into_two_keeps_its_number() -> None:
    mask = np.zeros((7, 3, 2), np.uint8)
    mask[1:6, 1, 0] = 1
    mask[1, 1, 1] = mask[5, 1, 1] = 1
    found = [(contour.object_number, contour.contour_number, contour.points[0, 2]) for contour in trace(mask)]
    assert found == [(1, 1, 0), (1, 2, 1), (1, 3, 1)]


@pytest.mark.parametrize("rank", [2, 3])
def test_an_empty_mask_has_no_outline(rank: int) -> None:
    assert trace(np.zeros((4, 5, 1)[:rank], np.uint8)) == []


def test_mask_of_another_size_is_refused() -> None:
    mask = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        trace_contours(case_of(mask), mask.T, CLASSES)


def test_table_of_a_picture(tmp_path: Path) -> None:
    mask = np.ones((5, 5), np.uint8)
    mask[2, 2] = 0
    contours = trace_contours(case_of(mask, "=1+1"), mask, ("background", "肝"))
    atomic_write_csv(tmp_path / "a.csv", contour_columns(2), contour_rows(contours))
    rows = read_rows(tmp_path / "a.csv")
    assert list(rows[0]) == ["case", "class", "object", "contour", "hole", "row", "column"]
    assert {(row["case"], row["class"], row["object"]) for row in rows} == {("'=1+1", "肝", "1")}
    assert [row["hole"] for row in rows].count("yes") == 5
    assert [[float(row["row"]), float(row["column"])] for row in rows] == [
        point for contour in contours for point in contour.points.tolist()
    ]


def test_table_of_a_volume(tmp_path: Path) -> None:
    mask = np.zeros((6, 5, 4), np.uint8)
    mask[1:4, 2:4, 2:] = 1
    contours = trace(mask)
    atomic_write_csv(tmp_path / "a.csv", contour_columns(3), contour_rows(iter(contours)))
    rows = read_rows(tmp_path / "a.csv")
    assert list(rows[0])[5:] == ["i", "j", "k", "x_mm", "y_mm", "z_mm"]
    found = [[float(row[f"{axis}_mm"]) for axis in "xyz"] for row in rows]
    positions = [contour.positions for contour in contours if contour.positions is not None]
    np.testing.assert_allclose(found, np.vstack(positions), rtol=1e-6)
    assert max(len(row["z_mm"]) for row in rows) <= 9


@pytest.mark.parametrize(("rank", "columns"), [(2, 7), (3, 11)])
def test_a_table_of_nothing_has_its_columns(tmp_path: Path, rank: int, columns: int) -> None:
    atomic_write_csv(tmp_path / "a.csv", contour_columns(rank), contour_rows([]))
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert len(lines[0].split(",")) == columns
