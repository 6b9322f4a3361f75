from __future__ import annotations

import contextlib
import gzip
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header, Nifti1Image, Nifti1Pair
from nibabel.nifti2 import Nifti2Image
from nibabel.orientations import inv_ornt_aff

from benchmarks.robustness.dicom_files import PATIENT
from genseg.errors import DataError, Fault, FaultCode
from genseg.read import ReadOptions, is_scan_file, read_image, read_mask
from genseg.read.geometry import spacing_of

FaultsOf = Callable[..., tuple[Fault, ...]]

VOLUME = np.arange(24 * 5, dtype=np.int16).reshape(4, 5, 6) - 20
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 3.0, 0, -40], [0, 0, 4.0, 50], [0, 0, 0, 1]])


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


def save(path: Path, voxels: Any = VOLUME, affine: Any = AFFINE, units: str = "mm") -> Path:
    image = Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(units)
    image.header["descrip"] = PATIENT
    nibabel.save(image, path)
    return path


def patch(path: Path, **fields: Any) -> Path:
    """Write header fields as they are given, which nibabel would refuse to do."""
    data = bytearray(path.read_bytes())
    header = Nifti1Header(bytes(data[:348]), check=False)
    for field, value in fields.items():
        header[field] = value
    data[:348] = header.binaryblock
    path.write_bytes(data)
    return path


def all_orientations() -> list[np.ndarray[Any, Any]]:
    """Rotations and flips of the axes: 6 orders by 8 signs."""
    found = []
    for order in ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]):
        for signs in np.ndindex(2, 2, 2):
            found.append(np.column_stack([order, 1 - 2 * np.array(signs)]))
    return found


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("image_class", [Nifti1Image, Nifti2Image])
def test_voxels_affine_and_spacing_as_stored(tmp_path: Path, suffix: str, image_class: Any) -> None:
    path = tmp_path / f"a{suffix}"
    nibabel.save(image_class(VOLUME, AFFINE), path)
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, VOLUME[None])
    assert scan.pixels.dtype == np.int16
    assert scan.pixels.flags.writeable
    assert scan.affine is not None
    np.testing.assert_array_equal(scan.affine, AFFINE)
    assert (scan.spacing, scan.modality, scan.warnings) == ((2.0, 3.0, 4.0), "", ())
    assert is_scan_file(path)


@pytest.mark.fault(23)
@pytest.mark.parametrize("orientation", all_orientations())
def test_all_48_orientations_place_each_voxel_alike(tmp_path: Path, orientation: Any) -> None:
    voxels = nibabel.orientations.apply_orientation(VOLUME, orientation)
    affine = AFFINE @ inv_ornt_aff(orientation, VOLUME.shape)
    scan = read_image(save(tmp_path / "a.nii", voxels, affine))
    assert scan.affine is not None
    index = np.array(np.unravel_index(np.argmax(scan.pixels[0]), scan.spatial))
    np.testing.assert_allclose(
        scan.affine[:3, :3] @ index + scan.affine[:3, 3], AFFINE[:3, :3] @ [3, 4, 5] + AFFINE[:3, 3]
    )
    assert sorted(scan.spacing) == [2.0, 3.0, 4.0]


def test_big_endian_file_comes_in_native_order(tmp_path: Path) -> None:
    header = Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(Nifti1Image(VOLUME, AFFINE, header), tmp_path / "a.nii")
    scan = read_image(tmp_path / "a.nii")
    assert scan.pixels.dtype.isnative
    np.testing.assert_array_equal(scan.pixels[0], VOLUME)


@pytest.mark.fault(26)
def test_slope_and_intercept_give_float32(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii"), scl_slope=0.5, scl_inter=-1024)
    scan = read_image(path)
    assert scan.pixels.dtype == np.float32
    np.testing.assert_allclose(scan.pixels[0], VOLUME * 0.5 - 1024)


@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (0, 0), (0, 7), (np.nan, np.nan)])
def test_no_scale_keeps_integers(tmp_path: Path, slope: float, intercept: float) -> None:
    scan = read_image(patch(save(tmp_path / "a.nii"), scl_slope=slope, scl_inter=intercept))
    assert scan.pixels.dtype == np.int16
    np.testing.assert_array_equal(scan.pixels[0], VOLUME)


@pytest.mark.fault(26)
def test_8_bit_voxels_do_not_overflow_when_scaled(tmp_path: Path) -> None:
    path = patch(save(tmp_path / "a.nii", np.full((4, 5, 6), 200, np.uint8)), scl_slope=2, scl_inter=0)
    assert np.all(read_image(path).pixels == 400)


@pytest.mark.fault(25)
@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001), ("mm", 1), ("unknown", 1)])
def test_units_become_mm(tmp_path: Path, unit: str, factor: float) -> None:
    affine = AFFINE / factor
    affine[3, 3] = 1
    scan = read_image(save(tmp_path / "a.nii", affine=affine, units=unit))
    np.testing.assert_allclose(scan.spacing, (2, 3, 4), rtol=1e-6)
    np.testing.assert_allclose(scan.affine, AFFINE, rtol=1e-6)
    assert scan.warnings == ()


@pytest.mark.fault(25)
def test_metres_called_millimetres_warn(tmp_path: Path) -> None:
    affine = np.diag([0.001, 0.001, 0.001, 1])
    assert codes(read_image(save(tmp_path / "a.nii", affine=affine)).warnings) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(25)
@pytest.mark.parametrize("zoom", [0.0, -1.0, np.nan, np.inf])
def test_impossible_spacing_stops(tmp_path: Path, zoom: float, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nii")
    faults = faults_of(patch(path, pixdim=[1, 2, zoom, 4, 0, 0, 0, 0]))
    assert codes(faults) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(25)
def test_two_spacings_that_differ_warn_and_the_affine_is_used(tmp_path: Path) -> None:
    scan = read_image(patch(save(tmp_path / "a.nii"), pixdim=[1, 1, 1, 1, 0, 0, 0, 0]))
    assert scan.spacing == (2.0, 3.0, 4.0)
    assert codes(scan.warnings) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(22)
@pytest.mark.parametrize("row", [[0, 0, 0, 5], [-2, 0, 0, 5], [np.nan, 0, 0, 5]])
def test_singular_or_nan_affine_stops(tmp_path: Path, row: list[float], faults_of: FaultsOf) -> None:
    path = patch(save(tmp_path / "a.nii"), srow_y=row)
    assert codes(faults_of(path)) == [FaultCode.BAD_AFFINE]


@pytest.mark.fault(22)
@pytest.mark.parametrize(("shift", "stops"), [(0.01, False), (5.0, True)])
def test_sform_and_qform_must_agree(tmp_path: Path, shift: float, stops: bool, faults_of: FaultsOf) -> None:
    image = Nifti1Image(VOLUME, AFFINE)
    moved = AFFINE.copy()
    moved[0, 3] += shift
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "a.nii")
    if stops:
        faults = faults_of(tmp_path / "a.nii")
        assert codes(faults) == [FaultCode.BAD_AFFINE]
        assert "5 mm" in faults[0].found
    else:
        np.testing.assert_array_equal(read_image(tmp_path / "a.nii").affine, AFFINE)


@pytest.mark.fault(22)
def test_a_flip_between_sform_and_qform_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    image = Nifti1Image(VOLUME, AFFINE)
    image.set_qform(AFFINE @ np.diag([-1, 1, 1, 1]), 1)
    nibabel.save(image, tmp_path / "a.nii")
    assert codes(faults_of(tmp_path / "a.nii")) == [FaultCode.BAD_AFFINE]


def test_a_qform_that_leaves_its_side_open_is_right_handed(tmp_path: Path) -> None:
    image = Nifti1Image(VOLUME, np.diag([2.0, 3.0, 4.0, 1.0]))
    image.set_qform(image.affine, 1)
    image.set_sform(None, 0)
    nibabel.save(image, tmp_path / "a.nii")
    pixdim = image.header["pixdim"].copy()
    pixdim[0] = 0
    assert np.array_equal(read_image(patch(tmp_path / "a.nii", pixdim=pixdim)).affine, np.diag([2.0, 3.0, 4.0, 1.0]))


def test_qform_alone_is_used(tmp_path: Path) -> None:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = AFFINE.copy()
    affine[:3, :3] = turn @ AFFINE[:3, :3]
    image = Nifti1Image(VOLUME, affine)
    image.set_sform(None, 0)
    image.set_qform(affine, 1)
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(read_image(tmp_path / "a.nii").affine, affine, atol=1e-4)


@pytest.mark.fault(24)
@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1), (4, 5, 1, 1), (4, 5)])
def test_trailing_ones_are_dropped_and_missing_axes_added(tmp_path: Path, shape: tuple[int, ...]) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    scan = read_image(save(tmp_path / "a.nii", voxels))
    assert scan.pixels.shape == (1, *shape[:3], 1)[:4]
    np.testing.assert_array_equal(scan.pixels.ravel(), voxels.ravel())
    assert len(scan.spacing) == 3


@pytest.mark.fault(24)
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (4, 5, 6, 1, 3)])
def test_fourth_axis_is_channels_only_when_declared(
    tmp_path: Path, shape: tuple[int, ...], faults_of: FaultsOf
) -> None:
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    path = save(tmp_path / "a.nii", voxels)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNDECLARED_CHANNELS]
    assert "4 x 5 x 6" in faults[0].found
    scan = read_image(path, ReadOptions(channels_last_axis=True))
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(voxels.reshape(4, 5, 6, 3), -1, 0))
    assert len(scan.spacing) == 3


@pytest.mark.fault(24)
def test_two_more_axes_stop_even_when_channels_are_declared(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6, 2, 3), np.int16))
    assert codes(faults_of(path, options=ReadOptions(channels_last_axis=True))) == [FaultCode.UNDECLARED_CHANNELS]


@pytest.mark.fault(24)
@pytest.mark.parametrize("dtype", [[("R", "u1"), ("G", "u1"), ("B", "u1")], np.complex64])
def test_rgb_and_complex_stop(tmp_path: Path, dtype: Any, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6), dtype))
    assert codes(faults_of(path)) == [FaultCode.UNSUPPORTED_PIXELS]


def test_all_faults_of_the_header_come_at_once(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nii", np.zeros((4, 5, 6, 2), np.complex64))
    faults = faults_of(patch(path, pixdim=[1, 2, 0, 4, 0, 0, 0, 0]))
    assert codes(faults) == [FaultCode.UNSUPPORTED_PIXELS, FaultCode.UNDECLARED_CHANNELS, FaultCode.BAD_SPACING]


@pytest.mark.fault(21)
def test_not_finite_voxels_stop_with_their_count_or_become_the_minimum(tmp_path: Path, faults_of: FaultsOf) -> None:
    voxels = VOLUME.astype(np.float32)
    voxels[0, 0, 0], voxels[1, 1, 1] = np.nan, -np.inf
    path = save(tmp_path / "a.nii", voxels)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.NOT_FINITE]
    assert faults[0].found.startswith("2 of 120 voxels")
    scan = read_image(path, ReadOptions(nan_to="min"))
    assert scan.pixels[0, 0, 0, 0] == scan.pixels[0, 1, 1, 1] == -19


@pytest.mark.fault(26)
def test_labels_nearly_whole_are_rounded(tmp_path: Path) -> None:
    labels = (VOLUME % 3).astype(np.float64) - 0.0009
    mask = read_mask(save(tmp_path / "a.nii", labels)).pixels
    assert mask.dtype.kind == "i"
    np.testing.assert_array_equal(mask[0], VOLUME % 3)


@pytest.mark.fault(26)
@pytest.mark.parametrize("value", [0.5, 0.998, 1e12])
def test_labels_far_from_whole_stop(tmp_path: Path, value: float, faults_of: FaultsOf) -> None:
    labels = np.zeros((4, 5, 6))
    labels[0, 0, :2] = value
    faults = faults_of(save(tmp_path / "a.nii", labels), read_mask)
    assert codes(faults) == [FaultCode.MASK_NOT_INTEGER]
    assert faults[0].found.startswith("2 of 120 voxels")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_truncated_volume_stops(tmp_path: Path, suffix: str, share: float, faults_of: FaultsOf) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (8, 9, 10), np.int16)
    whole = save(tmp_path / f"a{suffix}", noise).read_bytes()
    (tmp_path / f"a{suffix}").write_bytes(whole[: int(len(whole) * share)])
    faults = faults_of(tmp_path / f"a{suffix}")
    assert codes(faults) == [FaultCode.UNREADABLE]
    assert suffix == ".nii.gz" or faults[0].expected == "1792 bytes"


def test_checksum_of_compressed_volume_is_compared(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nii.gz")
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(data)
    assert codes(faults_of(path)) == [FaultCode.UNREADABLE]


def test_header_that_promises_too_much_is_refused(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = patch(save(tmp_path / "a.nii"), dim=[3, 32000, 32000, 32000, 1, 1, 1, 1])
    assert codes(faults_of(path)) == [FaultCode.TOO_LARGE]


def test_a_compressed_bomb_is_inflated_no_further_than_its_header_says(tmp_path: Path) -> None:
    save(tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes() + bytes(50_000_000)
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(content))
    scan = read_image(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(scan.pixels[0], VOLUME)


def test_empty_axis_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = patch(save(tmp_path / "a.nii"), dim=[3, 4, 0, 6, 1, 1, 1, 1])
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNREADABLE]
    assert "(4, 0, 6)" in faults[0].found


def test_pair_of_files_is_no_known_format(tmp_path: Path, faults_of: FaultsOf) -> None:
    nibabel.save(Nifti1Pair(VOLUME, AFFINE), tmp_path / "a.hdr")
    assert codes(faults_of(tmp_path / "a.hdr")) == [FaultCode.UNKNOWN_FORMAT]


def test_uncompressed_content_under_a_compressed_name_warns(tmp_path: Path) -> None:
    save(tmp_path / "a.nii").rename(tmp_path / "a.nii.gz")
    assert codes(read_image(tmp_path / "a.nii.gz").warnings) == [FaultCode.WRONG_SUFFIX]


@pytest.mark.fault(28)
def test_damaged_files_name_no_patient(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    rng = np.random.default_rng(2)
    whole = np.frombuffer(save(tmp_path / "a.nii").read_bytes(), np.uint8)
    messages = []
    for _ in range(100):
        damaged = whole.copy()
        damaged[rng.integers(0, 348, 2)] = rng.integers(0, 256, 2)
        (tmp_path / "a.nii").write_bytes(damaged.tobytes())
        with contextlib.suppress(DataError):
            messages += [str(fault) for fault in read_image(tmp_path / "a.nii").warnings]
            continue
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / "a.nii")
        messages.append(str(caught.value))
    assert messages
    assert PATIENT not in "".join(messages) + caplog.text


def test_spacing_is_the_length_of_each_step() -> None:
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([1.0, 2.0, 3.0])
    assert spacing_of(affine) == pytest.approx((1, 2, 3))


def test_real_volumes_are_read_as_nibabel_reads_them(real_data: Path) -> None:
    for path in sorted((real_data / "hippocampus_msd" / "images").iterdir())[:5]:
        scan = read_image(path)
        expected: Any = nibabel.load(path)
        np.testing.assert_array_equal(scan.pixels[0], expected.get_fdata(dtype=np.float32))
        np.testing.assert_array_equal(scan.affine, expected.affine)
        assert scan.warnings == ()
