"""Faults of volumes and DICOM series, as a person meets them at the command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from _pytest.mark.structures import ParameterSet
from nibabel.nifti1 import Nifti1Header, Nifti1Image
from refusals import assert_refused

from benchmarks.robustness.dicom_files import PATIENT, write_dicom, write_series

Run = Callable[..., tuple[int, str, str]]
Plant = Callable[[Path], None]
FIRST = "phantom_001"
SIZE = 10


@pytest.fixture
def data(volume_phantoms: Path, tmp_path: Path) -> Path:
    """NIfTI volumes and masks to be changed."""
    return shutil.copytree(volume_phantoms, tmp_path / "data")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """Three DICOM series of ten slices, each a folder, and their masks in NIfTI."""
    folder = tmp_path / "series"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    random = np.random.default_rng(0)
    affine = np.array([[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    for name in "abc":
        write_series(folder / "images" / name, random.integers(0, 900, (SIZE, SIZE, SIZE), np.int16))
        mask = np.zeros((SIZE, SIZE, SIZE), np.uint8)
        mask[2:6, 2:6, 2:6] = 1
        nibabel.save(Nifti1Image(mask, affine), folder / "masks" / f"{name}.nii.gz")
    return folder


def _check(run: Run, data: Path, out: Path, *options: object) -> tuple[str, dict[str, Any]]:
    code, printed, error = run("check", data, "-o", out, *options)
    assert code == 0, error
    return printed, json.loads((out / "check.json").read_text())


def _warnings(findings: dict[str, Any]) -> list[str]:
    return [warning["code"] for warning in findings["warnings"]]


def _rewrite(path: Path, voxels: Any = None, affine: Any = None, **fields: Any) -> None:
    """Replace voxels, affine or header fields, as they are given, which nibabel itself may refuse to do."""
    stored = nibabel.load(path)
    voxels = np.asanyarray(stored.dataobj) if voxels is None else voxels
    image = Nifti1Image(voxels, stored.affine if affine is None else affine)
    content = bytearray(image.to_bytes())
    header = Nifti1Header(bytes(content[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    content[:348] = header.binaryblock
    path.with_name(f"{FIRST}.nii").write_bytes(content)
    path.unlink()


def _voxels(path: Path) -> np.ndarray:
    return np.asanyarray(nibabel.load(path).dataobj)


def _turn(path: Path) -> None:
    angle = np.deg2rad(3)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    _rewrite(path, affine=turn @ nibabel.load(path).affine)


def _flip(path: Path) -> None:
    _rewrite(path, affine=nibabel.load(path).affine @ np.diag([-1, 1, 1, 1]))


def _flatten(path: Path) -> None:
    _rewrite(path, srow_z=[0, 0, 0, 0])


def _contradict(path: Path) -> None:
    _rewrite(path, qform_code=1, qoffset_x=77)


def _planted(row: pytest.MarkDecorator, plant: Plant, code: str, *parts: str) -> ParameterSet:
    return pytest.param(plant, code, parts, marks=row, id=plant.__name__.removeprefix("_"))


def _add_an_axis(path: Path) -> None:
    _rewrite(path, np.stack([_voxels(path)] * 2, axis=-1))


def _make_complex(path: Path) -> None:
    _rewrite(path, _voxels(path).astype(np.complex64))


def _make_rgb(path: Path) -> None:
    _rewrite(path, np.zeros((20, 20, 20), [("R", "u1"), ("G", "u1"), ("B", "u1")]))


def _give_no_spacing(path: Path) -> None:
    _rewrite(path, pixdim=[1, 1, 0, 1, 0, 0, 0, 0])


def _give_negative_spacing(path: Path) -> None:
    _rewrite(path, pixdim=[1, 1, -2, 1, 0, 0, 0, 0])


def _draw_fractions(path: Path) -> None:
    _rewrite(path, _voxels(path).astype(np.float32) * np.float32(0.5))


IMAGES = [
    _planted(pytest.mark.fault(24), _add_an_axis, "undeclared-channels", "20 x 20 x 20 x 2", "Declare the channels"),
    _planted(pytest.mark.fault(24), _make_complex, "unsupported-pixels", "complex64"),
    _planted(pytest.mark.fault(24), _make_rgb, "unsupported-pixels", "RGB"),
    _planted(pytest.mark.fault(25), _give_no_spacing, "bad-spacing", "spacing 1 x 0 x 1 mm"),
    _planted(pytest.mark.fault(25), _give_negative_spacing, "bad-spacing", "spacing 1 x -2 x 1 mm"),
]
MASKS = [
    _planted(pytest.mark.fault(22), _turn, "geometry-mismatch", "mm from where", "within 0.01 mm"),
    _planted(pytest.mark.fault(22), _flip, "geometry-mismatch", "axes LAS where the image has RAS"),
    _planted(pytest.mark.fault(22), _flatten, "bad-affine", "singular"),
    _planted(pytest.mark.fault(22), _contradict, "bad-affine", "sform and qform", "up to 77 mm", "within 0.1 mm"),
    _planted(pytest.mark.fault(26), _draw_fractions, "mask-not-integer", "Export the mask as labels"),
]


@pytest.mark.parametrize(("plant", "code", "parts"), IMAGES)
def test_a_volume_without_a_clear_meaning_stops(
    plant: Plant, code: str, parts: tuple[str, ...], run: Run, data: Path, tmp_path: Path
) -> None:
    plant(data / "images" / f"{FIRST}.nii.gz")
    assert_refused(run, data, tmp_path / "out", code, FIRST, *parts)


@pytest.mark.parametrize(("plant", "code", "parts"), MASKS)
def test_a_mask_that_does_not_lie_on_its_image_or_holds_no_labels_stops(
    plant: Plant, code: str, parts: tuple[str, ...], run: Run, data: Path, tmp_path: Path
) -> None:
    plant(data / "labels" / f"{FIRST}.nii.gz")
    assert_refused(run, data, tmp_path / "out", code, FIRST, *parts)


@pytest.mark.fault(21)
def test_not_finite_voxels_become_the_smallest_on_request_and_are_counted(run: Run, data: Path, tmp_path: Path) -> None:
    path = data / "images" / f"{FIRST}.nii.gz"
    voxels = _voxels(path).astype(np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    _rewrite(path, voxels)
    assert_refused(run, data, tmp_path / "out", "not-finite", FIRST, "3 of 8000 voxels", "--nan-to min")
    printed, findings = _check(run, data, tmp_path / "out", "--nan-to", "min")
    assert _warnings(findings) == ["not-finite"]
    assert "They became the smallest finite value" in " ".join(printed.split())


@pytest.mark.fault(25)
def test_volumes_that_no_body_has_are_warned_of(run: Run, data: Path, tmp_path: Path) -> None:
    for folder in ("images", "labels"):
        path = data / folder / f"{FIRST}.nii.gz"
        affine = nibabel.load(path).affine / 1000
        affine[3, 3] = 1
        _rewrite(path, affine=affine)
    printed, findings = _check(run, data, tmp_path / "out")
    assert _warnings(findings) == ["bad-spacing", "bad-spacing"]
    assert "Check the unit of its spacing." in printed


@pytest.mark.fault(26)
def test_scaled_integers_and_labels_nearly_whole_are_read(run: Run, data: Path, tmp_path: Path) -> None:
    _rewrite(data / "images" / f"{FIRST}.nii.gz", scl_slope=300, scl_inter=-9)
    mask = data / "labels" / f"{FIRST}.nii.gz"
    _rewrite(mask, _voxels(mask) - 0.0004)
    _, findings = _check(run, data, tmp_path / "out")
    assert (_warnings(findings), findings["labels"]["values"]) == ([], {"0": 0, "1": 1, "2": 2})
    assert findings["statistics"]["by_channel"][0]["values"]["high"] > np.iinfo(np.int16).max


def _edit(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def _lose_a_slice(folder: Path) -> None:
    (folder / "96.dcm").unlink()


def _move_a_slice(folder: Path) -> None:
    _edit(folder / "96.dcm", ImagePositionPatient=[10, 20, 38.5])


def _add_another_series(folder: Path) -> None:
    for number in (95, 96):
        _edit(folder / f"{number}.dcm", SeriesInstanceUID="9.9.9")


def _turn_a_slice(folder: Path) -> None:
    _edit(folder / "96.dcm", ImageOrientationPatient=[1, 0, 0, 0, 0, 1])


def _tilt(folder: Path) -> None:
    for index in range(SIZE):
        _edit(folder / f"{99 - index}.dcm", ImagePositionPatient=[10, 20 + 0.5 * index, 30 + 2.5 * index])


def _use_an_identity_twice(folder: Path) -> None:
    _edit(folder / "98.dcm", SOPInstanceUID=pydicom.dcmread(folder / "97.dcm").SOPInstanceUID)


def _add_a_film(folder: Path) -> None:
    _edit(folder / "96.dcm", NumberOfFrames=3)


def _cut_a_slice_short(folder: Path) -> None:
    path = folder / "96.dcm"
    path.write_bytes(path.read_bytes()[:-20])


SERIES = [
    _planted(pytest.mark.fault(27), _lose_a_slice, "series-incomplete", "5.000 mm", "a slice every 2.500 mm"),
    _planted(pytest.mark.fault(27), _move_a_slice, "series-incomplete", "96.dcm"),
    _planted(pytest.mark.fault(27), _add_another_series, "series-mixed", "2 series", "8 files like", "2 files like"),
    _planted(pytest.mark.fault(27), _turn_a_slice, "series-orientation", "96.dcm"),
    _planted(pytest.mark.fault(27), _tilt, "series-tilted", "0.500 mm sideways", "--tilt straighten"),
    _planted(pytest.mark.fault(27), _use_an_identity_twice, "series-duplicate", "97.dcm", "98.dcm"),
    _planted(pytest.mark.fault(27), _add_a_film, "series-mixed", "96.dcm"),
    _planted(pytest.mark.fault(27), _cut_a_slice_short, "unreadable", "96.dcm"),
]


@pytest.mark.parametrize(("plant", "code", "parts"), SERIES)
def test_a_series_that_is_no_single_straight_stack_stops(
    plant: Plant, code: str, parts: tuple[str, ...], run: Run, series: Path, tmp_path: Path
) -> None:
    plant(series / "images" / "b")
    assert_refused(run, series, tmp_path / "out", code, str(series / "images" / "b"), *parts)


@pytest.mark.fault(27)
def test_copies_and_localizers_are_left_out_of_a_series_and_said(run: Run, series: Path, tmp_path: Path) -> None:
    folder = series / "images" / "b"
    shutil.copy(folder / "96.dcm", folder / "copy.dcm")
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "9.9.9"}
    write_dicom(folder / "scout.dcm", np.zeros((4, 5), np.uint16), **scout)
    printed, findings = _check(run, series, tmp_path / "out")
    assert sorted(_warnings(findings)) == ["series-duplicate", "series-localizer"]
    assert "1 files that are localizers" in printed
    assert PATIENT not in printed
