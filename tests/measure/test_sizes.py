"""What is measured of a predicted label map, and the table of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_rows import read_rows
from numpy.typing import NDArray

from genseg.base.files import atomic_write_csv
from genseg.base.lengths import SpacingUnit
from genseg.measure.sizes import Measurement, measure, measurement_cells, measurement_columns
from genseg.read.case import Case

CLASSES = ("background", "organ", "vessel")
UNITS: tuple[SpacingUnit, SpacingUnit] = ("mm", "px")
ANISOTROPIC = (0.5, 0.75, 2.5)


def case_of(
    mask: NDArray[Any],
    spacing: tuple[float, ...] = (),
    affine: Any = None,
    name: str = "case",
    unit: SpacingUnit = "mm",
) -> Case:
    spacing = spacing or (1.0,) * mask.ndim
    if affine is None and mask.ndim == 3:
        affine = np.diag([*spacing, 1.0])
    return Case(name, np.zeros((1, *mask.shape), np.uint8), None, spacing, affine, "", "", "", spacing_unit=unit)


def box(shape: tuple[int, ...], *sides: slice) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[sides] = 1
    return mask


def organ(case: Case, mask: NDArray[np.uint8]) -> Measurement:
    return measure(case, mask, CLASSES)[0]


def longest_by_trial(mask: NDArray[Any], steps: Any) -> float:
    """The largest distance between the middles of any two voxel faces."""
    faces = np.concatenate([np.eye(mask.ndim), -np.eye(mask.ndim)]) / 2
    points = (np.argwhere(mask)[:, None] + faces).reshape(-1, mask.ndim) @ np.asarray(steps).T
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def test_a_picture_of_unknown_spacing_is_measured_in_pixels() -> None:
    mask = box((8, 9), slice(2, 5), slice(3, 4))
    assert organ(case_of(mask, unit="px"), mask) == Measurement(
        "case", "organ", "px", 3, 1, 3.0, None, 3.0, (3.0, 3.0), (2, 3), (4, 3)
    )


def test_a_picture_of_known_spacing_is_measured_in_millimetres() -> None:
    mask = box((8, 9), slice(2, 5), slice(3, 4))
    found = organ(case_of(mask, (0.5, 0.25)), mask)
    assert (found.unit, found.voxels, found.volume_ml) == ("mm", 3, None)
    assert found.area == pytest.approx(3 * 0.125)
    assert found.longest_extent == pytest.approx(1.5)
    assert found.centroid == (3.0, 3.0)


def test_a_volume_is_measured_in_millilitres_and_millimetres() -> None:
    mask = box((8, 9, 10), slice(2, 6), slice(3, 4), slice(0, 10))
    found = organ(case_of(mask, ANISOTROPIC), mask)
    assert (found.unit, found.voxels, found.area) == ("mm", 40, None)
    assert found.volume_ml == pytest.approx(40 * 0.5 * 0.75 * 2.5 / 1000)
    assert found.longest_extent == pytest.approx(math.hypot(3 * 0.5, 10 * 2.5))
    assert (found.centroid, found.first, found.last) == ((3.5, 3.0, 4.5), (2, 3, 0), (5, 3, 9))


@pytest.mark.fault(63)
def test_a_volume_of_unknown_spacing_has_no_volume_and_lengths_in_voxels() -> None:
    mask = box((8, 9, 10), slice(2, 6), slice(3, 4), slice(0, 10))
    found = organ(case_of(mask, (1.0, 1.0, 5.0), unit="px"), mask)
    assert (found.unit, found.voxels, found.volume_ml) == ("px", 40, None)
    assert found.longest_extent == pytest.approx(math.hypot(3, 10))


@pytest.mark.fault(63)
def test_cells_are_measured_in_micrometres() -> None:
    mask = box((8, 9, 10), slice(2, 6), slice(3, 4), slice(0, 10))
    found = organ(case_of(mask, (0.0002, 0.0002, 0.002)), mask)
    assert found.unit == "um"
    assert found.longest_extent == pytest.approx(math.hypot(3 * 0.2, 10 * 2.0))
    assert found.volume_ml == pytest.approx(40 * 0.2 * 0.2 * 2.0 * 1e-12)
    picture = box((8, 9), slice(2, 5), slice(3, 4))
    found = organ(case_of(picture, (0.0002, 0.0003)), picture)
    assert (found.unit, found.area) == ("um", pytest.approx(3 * 0.2 * 0.3))


@pytest.mark.fault(64)
def test_a_picture_of_one_millimetre_a_pixel_is_told_from_one_of_unknown_spacing() -> None:
    mask = box((8, 9), slice(2, 5), slice(3, 4))
    assert [organ(case_of(mask, unit=unit), mask).unit for unit in UNITS] == list(UNITS)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_longest_extent_is_that_of_all_pairs_of_points(rank: int, seed: int) -> None:
    mask = (np.random.default_rng(seed).random((7, 6, 5)[:rank]) < 0.1).astype(np.uint8)
    mask[2, 3] = 1
    spacing = ANISOTROPIC[:rank]
    assert organ(case_of(mask, spacing), mask).longest_extent == pytest.approx(longest_by_trial(mask, np.diag(spacing)))


@pytest.mark.parametrize("sides", [(slice(3, 4),) * 3, (slice(0, 5), slice(1, 2), slice(1, 2)), (slice(0, 5),) * 3])
def test_a_single_voxel_a_line_and_the_whole_volume_have_an_extent(sides: tuple[slice, ...]) -> None:
    mask = box((5, 5, 5), *sides)
    expected = longest_by_trial(mask, np.diag(ANISOTROPIC))
    assert organ(case_of(mask, ANISOTROPIC), mask).longest_extent == pytest.approx(expected)


def test_longest_extent_of_many_corners() -> None:
    i, j, k = np.mgrid[-30:31, -40:41, -30:31]
    mask = ((i / 30) ** 2 + (j / 40) ** 2 + (k / 30) ** 2 <= 1).astype(np.uint8)
    assert organ(case_of(mask), mask).longest_extent == pytest.approx(81)


def test_an_oblique_or_sheared_volume_is_measured_as_it_lies(volume_affines: list[NDArray[np.float64]]) -> None:
    mask = (np.random.default_rng(3).random((6, 5, 4)) < 0.3).astype(np.uint8)
    turned = np.array([[0.8, -0.6, 0.3, 9], [0.6, 0.8, 0, -7], [0, 0, 1, 1], [0, 0, 0, 1]]) @ np.diag([0.7, 1, 2.5, 1])
    for affine in (turned, *volume_affines[::7]):
        spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0))
        found = organ(case_of(mask, spacing, affine), mask)
        assert found.volume_ml == pytest.approx(np.count_nonzero(mask) * 0.7 * 2.5 / 1000)
        assert found.longest_extent == pytest.approx(longest_by_trial(mask, affine[:3, :3]))


def test_classes_are_measured_each_by_itself() -> None:
    mask = box((8, 8), slice(0, 4), slice(0, 4))
    mask[2:6, 2:6] = 2
    first, second = measure(case_of(mask), mask, CLASSES)
    assert (first.class_name, first.voxels, first.last) == ("organ", 12, (3, 3))
    assert (second.class_name, second.voxels, second.first) == ("vessel", 16, (2, 2))


@pytest.mark.parametrize(("rank", "objects"), [(2, 2), (3, 2)])
def test_what_touches_at_a_corner_is_one_object(rank: int, objects: int) -> None:
    mask = np.zeros((7,) * rank, np.uint8)
    for corner in (0, 1, 2, 5):
        mask[(corner,) * rank] = 1
    assert organ(case_of(mask), mask).objects == objects


def test_an_object_around_another_of_the_same_class_is_a_second_one() -> None:
    mask = box((9, 9), slice(0, 9), slice(0, 9))
    mask[2:7, 2:7] = 0
    mask[4, 4] = 1
    found = organ(case_of(mask), mask)
    assert (found.objects, found.voxels, found.centroid) == (2, 81 - 25 + 1, (4.0, 4.0))


@pytest.mark.parametrize("rank", [2, 3])
def test_an_absent_class_has_no_size_and_no_place(rank: int) -> None:
    mask = np.zeros((4, 5, 6)[:rank], np.uint8)
    for found in measure(case_of(mask), mask, CLASSES):
        assert (found.voxels, found.objects) == (0, 0)
        assert (found.area, found.volume_ml) == ((0.0, None) if rank == 2 else (None, 0.0))
        assert (found.longest_extent, found.centroid, found.first, found.last) == (None,) * 4


def test_mask_of_another_size_is_refused() -> None:
    mask = np.zeros((4, 5), np.uint8)
    with pytest.raises(ValueError, match=r"\(5, 4\)"):
        measure(case_of(mask), mask.T, CLASSES)


def write(path: Path, rows: Sequence[Measurement], rank: int) -> None:
    atomic_write_csv(path, measurement_columns(rank), (measurement_cells(row, rank) for row in rows))


def test_table_of_pictures(tmp_path: Path) -> None:
    mask = box((8, 9), slice(2, 5), slice(3, 4))
    rows = [row for name in "ab" for row in measure(case_of(mask, (0.1, 0.3), name=name), mask, CLASSES)]
    write(tmp_path / "a.csv", rows, 2)
    first, second, third, _ = read_rows(tmp_path / "a.csv")
    assert first == {
        **{"case": "a", "class": "organ", "unit": "mm", "pixels": "3", "objects": "1", "area": "0.09"},
        **{"longest_extent": "0.3605551275", "centroid_row": "3.0", "centroid_column": "3.0"},
        **{"first_row": "2", "first_column": "3", "last_row": "4", "last_column": "3"},
    }
    assert (second["class"], second["pixels"], second["area"]) == ("vessel", "0", "0.0")
    assert (second["longest_extent"], second["centroid_row"], second["last_column"]) == ("", "", "")
    assert third["case"] == "b"


def test_table_of_volumes(tmp_path: Path) -> None:
    mask = box((8, 9, 10), slice(2, 6), slice(3, 4), slice(0, 10))
    write(tmp_path / "a.csv", measure(case_of(mask, ANISOTROPIC), mask, CLASSES), 3)
    row = read_rows(tmp_path / "a.csv")[0]
    assert list(row)[:7] == ["case", "class", "unit", "voxels", "objects", "volume_ml", "longest_extent"]
    assert (row["volume_ml"], row["centroid_k"], row["first_i"], row["last_k"]) == ("0.0375", "4.5", "2", "9")


@pytest.mark.parametrize("rank", [2, 3])
def test_a_table_of_nothing_has_its_columns(tmp_path: Path, rank: int) -> None:
    write(tmp_path / "a.csv", [], rank)
    lines = (tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert len(lines[0].split(",")) == 7 + 3 * rank


def test_names_are_shown_and_never_run(tmp_path: Path) -> None:
    mask = box((4, 4), slice(1, 2), slice(1, 2))
    rows = measure(case_of(mask, name="=1+1"), mask, ("background", 'Größe, "肝"'))
    write(tmp_path / "a.csv", rows, 2)
    row = read_rows(tmp_path / "a.csv")[0]
    assert (row["case"], row["class"]) == ("'=1+1", 'Größe, "肝"')


def test_large_areas_keep_their_last_digit(tmp_path: Path) -> None:
    mask = np.zeros((4, 4), np.uint8)
    empty = organ(case_of(mask), mask)
    sizes = [12_345_678.0, 12_345_679.0]
    rows = [Measurement(**{**vars(empty), "area": size}) for size in sizes]
    write(tmp_path / "a.csv", rows, 2)
    found = [float(row["area"]) for row in read_rows(tmp_path / "a.csv")]
    assert [after - before for before, after in pairwise(found)] == [1.0]
