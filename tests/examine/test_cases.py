"""Files to cases: channels merged, image and mask compared, labels mapped, cases kept in memory."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.orientations import axcodes2ornt, ornt_transform
from PIL import Image

from genseg.base.free_memory import memory_budget
from genseg.errors import DataError, FaultCode
from genseg.examine.cases import (
    LEAST_SIDE,
    CaseStore,
    LoadOptions,
    read_raw_case,
    to_case,
)
from genseg.labels import LabelMap
from genseg.read import ReadOptions
from genseg.read.case import Case, CaseFiles
from genseg.read.turning import displacement

LABELS = LabelMap(("background", "lesion"), {0: 0, 255: 1}, {})
NOISE = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)


def _picture(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def _volume(path: Path, pixels: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(pixels, np.eye(4) if affine is None else affine), path)
    return path


def _files(image: Path | tuple[Path, ...], mask: Path | None = None, name: str = "a") -> CaseFiles:
    return CaseFiles(name, image if isinstance(image, tuple) else (image,), mask, name)


def _square(height: int = 32, width: int = 24) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[8:16, 8:16] = 255
    return mask


@pytest.fixture
def pair(tmp_path: Path) -> CaseFiles:
    """An RGB picture of 32 x 24 pixels with a mask of 0 and 255."""
    return _files(_picture(tmp_path / "a.png", NOISE[:32, :24]), _picture(tmp_path / "m.png", _square()))


def _faults(files: CaseFiles) -> dict[FaultCode, str]:
    with pytest.raises(DataError) as caught:
        read_raw_case(files)
    return {fault.code: str(fault) for fault in caught.value.faults}


def test_case_has_pixels_as_stored_and_mask_as_classes(pair: CaseFiles) -> None:
    case = to_case(read_raw_case(pair), LABELS, None)
    np.testing.assert_array_equal(case.image, np.moveaxis(NOISE[:32, :24], -1, 0))
    assert case.image.dtype == np.uint8
    assert case.mask is not None
    np.testing.assert_array_equal(case.mask, _square() // 255)
    assert (case.name, case.patient, case.warnings) == ("a", "a", ())


def test_without_labels_a_case_has_no_mask(pair: CaseFiles) -> None:
    assert to_case(read_raw_case(pair), None, None).mask is None
    assert to_case(read_raw_case(_files(pair.images)), LABELS, None).mask is None


def test_channel_files_become_channels_in_their_order(tmp_path: Path) -> None:
    t1, t2 = np.full((10, 10, 10), 3, np.int16), np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    paths = (_volume(tmp_path / "a_0000.nii.gz", t1), _volume(tmp_path / "a_0001.nii.gz", t2))
    image = read_raw_case(_files(paths)).image
    np.testing.assert_array_equal(image.pixels, np.stack([t1, t2]))
    assert image.sha256 not in {read_raw_case(_files(path)).image.sha256 for path in paths}
    assert image.warnings == ()


@pytest.mark.fault(3)
def test_mask_of_another_size_stops_with_both_sizes(tmp_path: Path, pair: CaseFiles) -> None:
    mask = _picture(tmp_path / "small.png", _square(31, 24))
    text = _faults(_files(pair.images, mask))[FaultCode.SIZE_MISMATCH]
    assert "31 x 24" in text
    assert "32 x 24" in text
    assert "small.png" in text
    assert "swapped" not in text


@pytest.mark.fault(3)
def test_mask_that_would_fit_with_axes_swapped_is_told_so(tmp_path: Path, pair: CaseFiles) -> None:
    mask = _picture(tmp_path / "turned.png", _square().T.copy())
    assert "axes swapped" in _faults(_files(pair.images, mask))[FaultCode.SIZE_MISMATCH]


@pytest.mark.fault(9)
def test_image_turned_by_exif_is_named_as_the_reason(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(NOISE[:32, :24]).save(tmp_path / "a.jpg", exif=exif)
    mask = _picture(tmp_path / "m.png", _square())
    assert "EXIF" in _faults(_files(tmp_path / "a.jpg", mask))[FaultCode.SIZE_MISMATCH]
    turned = _picture(tmp_path / "turned.png", _square(24, 32))
    raw = read_raw_case(_files(tmp_path / "a.jpg", turned))
    assert [fault.code for fault in raw.warnings] == [FaultCode.ROTATED_BY_TAG]


def test_all_faults_of_a_case_come_at_once(tmp_path: Path) -> None:
    first = _volume(tmp_path / "a_0000.nii.gz", np.arange(8000.0).reshape(20, 20, 20))
    other_size = _volume(tmp_path / "a_0001.nii.gz", np.arange(4000.0).reshape(20, 20, 10))
    (tmp_path / "a_0002.nii.gz").write_bytes(b"")
    moved = np.eye(4)
    moved[0, 3] = 5.0
    mask = _volume(tmp_path / "mask.nii.gz", np.ones((20, 20, 20), np.uint8), moved)
    faults = _faults(_files((first, other_size, tmp_path / "a_0002.nii.gz"), mask))
    assert set(faults) == {FaultCode.SIZE_MISMATCH, FaultCode.EMPTY_FILE, FaultCode.GEOMETRY_MISMATCH}


@pytest.mark.fault(22)
@pytest.mark.parametrize(
    ("shift", "spacing", "stops"),
    [(0.0, 1.0, False), (0.005, 0.1, False), (0.02, 0.1, True), (0.009, 1.0, False), (0.011, 1.0, True)],
)
def test_affines_may_differ_by_a_hundredth_of_a_voxel(
    tmp_path: Path, shift: float, spacing: float, stops: bool
) -> None:
    affine = np.diag([spacing, spacing, spacing, 1.0])
    moved = affine.copy()
    moved[1, 3] += shift
    image = _volume(tmp_path / "a.nii.gz", np.arange(1000.0).reshape(10, 10, 10), affine)
    files = _files(image, _volume(tmp_path / "m.nii.gz", np.ones((10, 10, 10), np.uint8), moved))
    if not stops:
        assert read_raw_case(files).mask is not None
        return
    text = _faults(files)[FaultCode.GEOMETRY_MISMATCH]
    assert f"{shift:.3g} mm" in text
    assert "0.01 mm" in text


@pytest.mark.fault(22)
def test_mirrored_mask_stops_with_both_orientations(tmp_path: Path) -> None:
    image = _volume(tmp_path / "a.nii.gz", np.arange(1000.0).reshape(10, 10, 10))
    mask = _volume(tmp_path / "m.nii.gz", np.ones((10, 10, 10), np.uint8), np.diag([-1.0, 1.0, 1.0, 1.0]))
    text = _faults(_files(image, mask))[FaultCode.GEOMETRY_MISMATCH]
    assert "LAS" in text
    assert "RAS" in text
    assert "18 mm" in text


@pytest.mark.fault(22)
def test_displacement_is_the_largest_over_the_volume() -> None:
    angle = np.deg2rad(1.0)
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    voxels = np.array([(*place, 1) for place in np.ndindex(11, 7, 5)])
    everywhere = np.linalg.norm((voxels @ (np.eye(4) - turned).T)[:, :3], axis=1)
    assert displacement((11, 7, 5), np.eye(4), turned) == pytest.approx(everywhere.max())
    assert displacement((11, 7, 5), turned, turned) == 0.0


@pytest.mark.fault(14)
@pytest.mark.parametrize("shape", [(1, 1), (LEAST_SIDE - 1, 64), (64, LEAST_SIDE - 1)])
def test_image_too_small_to_hold_anything_stops(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = _picture(tmp_path / "a.png", np.resize(NOISE[..., 0], shape))
    assert " x ".join(map(str, shape)) in _faults(_files(path))[FaultCode.TOO_SMALL]


@pytest.mark.fault(13, 56)
def test_each_channel_of_a_file_may_be_saturated(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 60000, (2, 24, 32)).astype(np.uint16)
    pixels[0, :20] = 4095
    pixels[0] = pixels[0].clip(0, 4095)
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(pixels, 0, -1), photometric="minisblack", planarconfig="contig")
    (fault,) = read_raw_case(_files(tmp_path / "a.tif")).image.warnings
    assert fault.code is FaultCode.SATURATED_IMAGE
    assert "of channel 0 have the highest value, 4095" in fault.found


@pytest.mark.fault(3)
def test_channels_and_mask_are_compared_though_the_first_channel_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a_0000.nii.gz").write_bytes(b"")
    second = _volume(tmp_path / "a_0001.nii.gz", np.arange(1000.0).reshape(10, 10, 10))
    third = _volume(tmp_path / "a_0002.nii.gz", np.arange(900.0).reshape(10, 10, 9))
    mask = _volume(tmp_path / "m.nii.gz", np.ones((10, 9, 10), np.uint8))
    with pytest.raises(DataError) as caught:
        read_raw_case(_files((tmp_path / "a_0000.nii.gz", second, third), mask))
    assert [Path(fault.file).name for fault in caught.value.faults] == ["a_0000.nii.gz", "a_0002.nii.gz", "m.nii.gz"]


@pytest.mark.fault(14)
def test_volume_of_one_slice_is_used_with_a_notice(tmp_path: Path) -> None:
    path = _volume(tmp_path / "a.nii.gz", np.arange(400.0).reshape(20, 20, 1))
    image = read_raw_case(_files(path)).image
    assert image.spatial == (20, 20, 1)
    assert [(fault.code, fault.stops) for fault in image.warnings] == [(FaultCode.SINGLE_SLICE, False)]


@pytest.mark.fault(13)
@pytest.mark.parametrize(
    ("white", "codes"),
    [(0, [FaultCode.CONSTANT_IMAGE]), (15, []), (17, [FaultCode.SATURATED_IMAGE]), (32, [FaultCode.CONSTANT_IMAGE])],
)
def test_constant_and_saturated_images_get_a_warning(tmp_path: Path, white: int, codes: list[FaultCode]) -> None:
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:white] = 255
    image = read_raw_case(_files(_picture(tmp_path / "a.png", pixels))).image
    assert [fault.code for fault in image.warnings] == codes
    assert not any(fault.stops for fault in image.warnings)


@pytest.mark.fault(21)
def test_not_finite_pixels_stop_unless_a_value_is_chosen(tmp_path: Path) -> None:
    pixels = np.arange(1000.0).reshape(10, 10, 10)
    pixels[5, 5, 5] = np.nan
    files = _files(_volume(tmp_path / "a.nii.gz", pixels))
    assert set(_faults(files)) == {FaultCode.NOT_FINITE}
    raw = read_raw_case(files, LoadOptions(ReadOptions(nan_to="min")))
    assert raw.image.pixels[0, 5, 5, 5] == 0


@pytest.mark.fault(10)
def test_grey_is_repeated_to_rgb_and_other_channel_counts_stop(tmp_path: Path, pair: CaseFiles) -> None:
    grey = read_raw_case(_files(_picture(tmp_path / "grey.png", NOISE[..., 0])))
    np.testing.assert_array_equal(to_case(grey, None, 3).image, np.stack([NOISE[..., 0]] * 3))
    with pytest.raises(DataError) as caught:
        to_case(read_raw_case(pair), None, 1)
    assert [fault.code for fault in caught.value.faults] == [FaultCode.CHANNEL_MISMATCH]


@pytest.mark.fault(12)
def test_value_outside_the_map_stops_with_its_voxel_count_and_file(tmp_path: Path, pair: CaseFiles) -> None:
    mask = _square()
    mask[0, :3] = 7
    raw = read_raw_case(_files(pair.images, _picture(tmp_path / "seven.png", mask)))
    with pytest.raises(DataError, match=r"seven\.png.*\b3\b") as caught:
        to_case(raw, LABELS, None)
    assert [fault.code for fault in caught.value.faults] == [FaultCode.UNEXPECTED_LABEL]


def test_repair_reads_stray_values_as_the_nearest(tmp_path: Path, pair: CaseFiles) -> None:
    mask = _square()
    mask[0, :3], mask[9, 9] = 7, 250
    raw = read_raw_case(_files(pair.images, _picture(tmp_path / "stray.png", mask)))
    case = to_case(raw, LABELS, None, mask_repair="nearest")
    assert case.mask is not None
    np.testing.assert_array_equal(case.mask, _square() // 255)


@pytest.fixture
def entries(tmp_path: Path) -> list[CaseFiles]:
    """Five labelled pictures of 768 bytes of pixels and 768 bytes of mask each."""
    mask = _picture(tmp_path / "mask.png", _square())
    return [
        _files(_picture(tmp_path / f"{n}.png", NOISE[n : n + 32, :24, 0]), mask, name=f"case {n}") for n in range(5)
    ]


def test_store_is_a_sequence_of_cases(entries: list[CaseFiles]) -> None:
    store = CaseStore(entries, LABELS)
    assert len(store) == 5
    assert [case.name for case in store] == list(store.names) == [f"case {n}" for n in range(5)]
    assert store[-1].name == "case 4"
    assert store[1:3].names == ("case 1", "case 2")
    assert store.select(["case 3", "case 0"]).names == ("case 3", "case 0")
    with pytest.raises(IndexError):
        store[5]
    with pytest.raises(KeyError):
        store.select(["case 9"])


def test_store_decodes_once_within_its_budget(entries: list[CaseFiles]) -> None:
    store = CaseStore(entries, LABELS)
    first = store[0]
    assert store[0] is first
    assert store[:2][0] is first
    assert store.select(["case 0"])[0] is first


@pytest.mark.parametrize(("budget", "kept"), [(0, 0), (1535, 0), (1536, 1), (3 * 1536, 3)])
def test_store_reads_again_what_its_budget_does_not_hold(entries: list[CaseFiles], budget: int, kept: int) -> None:
    store = CaseStore(entries, LABELS, budget=budget)
    once, again = list(store), list(store)
    assert sum(a is b for a, b in zip(once, again, strict=True)) == kept
    assert all(_equal(a, b) for a, b in zip(once, again, strict=True))


def test_memory_budget_is_a_plausible_share_of_a_machine() -> None:
    assert 2**24 < memory_budget() < 2**44


def _equal(one: Case, other: Case) -> bool:
    return np.array_equal(one.image, other.image) and one.sha256 == other.sha256


@pytest.mark.fault(98)
def test_keeping_a_case_again_takes_no_more_of_the_budget(tmp_path: Path) -> None:
    files = []
    for number in range(3):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(path)
        files.append(CaseFiles(path.stem, (path,), None, path.stem))
    store = CaseStore(files, None, budget=250)
    for _ in range(3):
        store.keep(read_raw_case(files[0]))
    first, second, third = store[0], store[1], store[2]
    assert store[0] is first
    assert store[1] is second
    assert store[2] is not third


def _turned(path: Path, voxels: np.ndarray, affine: np.ndarray, axes: str) -> Path:
    """The same volume with its voxel axes in these directions."""
    volume = nib.Nifti1Image(voxels, affine)
    turn = ornt_transform(nib.io_orientation(affine), axcodes2ornt(axes))
    nib.save(volume.as_reoriented(turn), path)
    return path


OBLIQUE = np.array([[0.68, -0.21, 0.1, -40.0], [0.2, 0.95, -0.4, 12.0], [-0.05, 0.3, 2.4, 7.0], [0, 0, 0, 1]])
AXES_OF_IMAGE = "RAS"
AXES = ["".join(step) for order in permutations(("LR", "PA", "IS")) for step in product(*order)]


@pytest.mark.parametrize("axes", AXES)
def test_masks_and_channels_whose_axes_run_otherwise_are_turned_onto_the_image(tmp_path: Path, axes: str) -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(size=(2, 10, 12, 14)).astype(np.float32)
    truth = random.integers(0, 3, (10, 12, 14)).astype(np.uint8)
    images = (
        _volume(tmp_path / "a_0000.nii.gz", first, OBLIQUE),
        _turned(tmp_path / "a_0001.nii.gz", second, OBLIQUE, axes),
    )
    raw = read_raw_case(_files(images, _turned(tmp_path / "m.nii.gz", truth, OBLIQUE, axes)))
    assert raw.mask is not None
    assert np.array_equal(raw.mask.pixels[0], truth)
    assert np.array_equal(raw.image.pixels, np.stack([first, second]))
    assert raw.mask.affine == pytest.approx(raw.image.affine, abs=1e-4)
    assert raw.mask.spacing == pytest.approx(raw.image.spacing, rel=1e-4)
    turned = [fault for fault in raw.warnings if fault.code is FaultCode.GEOMETRY_MISMATCH]
    assert [(Path(fault.file).name, fault.stops) for fault in turned] == (
        [] if axes == AXES_OF_IMAGE else [("a_0001.nii.gz", False), ("m.nii.gz", False)]
    )
    assert all(f"axes {axes}" in fault.found for fault in turned)


def test_a_mask_of_another_grid_stops_with_what_its_file_says(tmp_path: Path) -> None:
    image = _volume(tmp_path / "a.nii.gz", np.arange(1680.0).reshape(10, 12, 14), OBLIQUE)
    moved = OBLIQUE.copy()
    moved[0, 3] += 0.5
    mask = _turned(tmp_path / "m.nii.gz", np.ones((10, 12, 14), np.uint8), moved, "SPL")
    text = _faults(_files(image, mask))[FaultCode.SIZE_MISMATCH]
    assert "size 14 x 12 x 10" in text
