from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genseg.errors import DataError, Fault, FaultCode, MissingExtraError
from genseg.read import ReadOptions, is_scan_file, read_image, read_mask
from genseg.write.masks import write_mask

simpleitk: Any = pytest.importorskip("SimpleITK")

FaultsOf = Callable[..., tuple[Fault, ...]]

SUFFIXES = [".nrrd", ".mha", ".mhd", ".nhdr"]
VOLUME = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


def save(path: Path, voxels: Any = VOLUME, vector: bool = False) -> Path:
    """Voxels `(i, j, k)`, 2 x 3 x 4 mm, turned about the third axis, first voxel at LPS 10, 20, 30."""
    image = simpleitk.GetImageFromArray(np.moveaxis(voxels.T, 0, -1) if vector else voxels.T, isVector=vector)
    image.SetSpacing((2.0, 3.0, 4.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    image.SetDirection(TURN.ravel().tolist())
    simpleitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_volume_keeps_its_axes_and_its_affine_is_ras(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}")
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, VOLUME[None])
    assert scan.pixels.dtype == np.int16
    assert scan.spacing == pytest.approx((2, 3, 4))
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, :3], np.diag([-1, -1, 1]) @ TURN @ np.diag([2, 3, 4]), rtol=1e-6)
    np.testing.assert_allclose(scan.affine[:3, 3], [-10, -20, 30])
    assert scan.warnings == ()
    assert is_scan_file(path)


def test_affine_agrees_with_nifti_of_the_same_image(tmp_path: Path) -> None:
    save(tmp_path / "a.nrrd")
    simpleitk.WriteImage(simpleitk.ReadImage(str(tmp_path / "a.nrrd")), str(tmp_path / "a.nii"))
    nrrd, nifti = read_image(tmp_path / "a.nrrd"), read_image(tmp_path / "a.nii")
    np.testing.assert_allclose(nrrd.affine, nifti.affine, atol=1e-5)
    np.testing.assert_array_equal(nrrd.pixels, nifti.pixels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_picture_is_row_column(tmp_path: Path, suffix: str) -> None:
    gray = np.arange(20, dtype=np.uint8).reshape(4, 5)
    image = simpleitk.GetImageFromArray(gray)
    image.SetSpacing((0.5, 0.25))
    simpleitk.WriteImage(image, str(tmp_path / f"a{suffix}"))
    scan = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(scan.pixels, gray[None])
    assert (scan.spacing, scan.affine, scan.modality) == ((0.25, 0.5), None, "gray")


def test_colour_picture_is_rgb(tmp_path: Path) -> None:
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    simpleitk.WriteImage(simpleitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / "a.mha"))
    scan = read_image(tmp_path / "a.mha")
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(rgb, -1, 0))
    assert scan.modality == "rgb"


def test_vectors_in_a_volume_are_channels_only_when_declared(tmp_path: Path, faults_of: FaultsOf) -> None:
    voxels = np.arange(240, dtype=np.int16).reshape(4, 5, 6, 2)
    path = save(tmp_path / "a.nrrd", voxels, vector=True)
    assert codes(faults_of(path)) == [FaultCode.UNDECLARED_CHANNELS]
    scan = read_image(path, ReadOptions(channels_last_axis=True))
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(voxels, -1, 0))


def test_complex_and_four_axes_stop(tmp_path: Path, faults_of: FaultsOf) -> None:
    simpleitk.WriteImage(simpleitk.Image([4, 5, 6], simpleitk.sitkComplexFloat32), str(tmp_path / "a.nrrd"))
    assert codes(faults_of(tmp_path / "a.nrrd")) == [FaultCode.UNSUPPORTED_PIXELS]
    simpleitk.WriteImage(simpleitk.Image([4, 5, 6, 2], simpleitk.sitkInt16), str(tmp_path / "b.mha"))
    assert codes(faults_of(tmp_path / "b.mha")) == [FaultCode.UNDECLARED_CHANNELS]


def test_mask_of_floats_is_rounded(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nrrd", (VOLUME % 3).astype(np.float32) + 0.0005)
    np.testing.assert_array_equal(read_mask(path).pixels[0], VOLUME % 3)


@pytest.mark.fault(25)
@pytest.mark.parametrize("spacing", [b"2 0 4", b"2 nan 4", b"2 -3 4"])
def test_impossible_spacing_stops(tmp_path: Path, spacing: bytes, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"ElementSpacing = 2 3 4", b"ElementSpacing = " + spacing))
    assert codes(faults_of(path)) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(22)
def test_singular_direction_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.nrrd")
    content = path.read_bytes()
    start, end = content.index(b"space directions:"), content.index(b"\nkinds")
    path.write_bytes(content[:start] + b"space directions: (1,0,0) (1,0,0) (0,0,1)" + content[end:])
    assert codes(faults_of(path)) == [FaultCode.BAD_AFFINE]


def test_header_that_promises_too_much_is_refused(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.mha")
    path.write_bytes(path.read_bytes().replace(b"DimSize = 4 5 6", b"DimSize = 32000 32000 32000"))
    assert codes(faults_of(path)) == [FaultCode.TOO_LARGE]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_truncated_file_stops(tmp_path: Path, suffix: str, faults_of: FaultsOf) -> None:
    path = save(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes()[:-30])
    assert codes(faults_of(path)) == [FaultCode.UNREADABLE]


@pytest.mark.parametrize(("suffix", "pixels"), [(".mhd", ".raw"), (".nhdr", ".raw")])
def test_detached_pixels_are_part_of_the_hash(tmp_path: Path, suffix: str, pixels: str) -> None:
    path = save(tmp_path / f"a{suffix}")
    raw = next(tmp_path.glob(f"a{pixels}*"))
    assert read_image(path).sha256 == hashlib.sha256(path.read_bytes() + raw.read_bytes()).hexdigest()


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_detached_pixels_in_another_folder_are_refused(tmp_path: Path, suffix: str, faults_of: FaultsOf) -> None:
    path = save(tmp_path / f"a{suffix}")
    path.write_bytes(path.read_bytes().replace(b"a.raw", b"../a.raw"))
    assert codes(faults_of(path)) == [FaultCode.OUTSIDE_FOLDER]


def test_missing_detached_pixels_are_named(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.mhd")
    (tmp_path / "a.raw").unlink()
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNREADABLE]
    assert faults[0].file.endswith("a.raw")


def test_wrong_suffix_is_read_by_content(tmp_path: Path) -> None:
    save(tmp_path / "a.nrrd").rename(tmp_path / "a.png")
    scan = read_image(tmp_path / "a.png")
    assert codes(scan.warnings) == [FaultCode.WRONG_SUFFIX]
    np.testing.assert_array_equal(scan.pixels[0], VOLUME)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_damaged_headers_only_ever_raise_data_errors(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(3)
    path = save(tmp_path / f"a{suffix}")
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(40):
        damaged = whole.copy()
        damaged[rng.integers(0, 300, 2)] = rng.integers(32, 127, 2)
        path.write_bytes(damaged.tobytes())
        with contextlib.suppress(DataError):
            read_image(path)


@pytest.mark.fault(46)
def test_absent_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.nrrd")
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match=r"genseg\[itk\]"):
        read_image(path)


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("suffix", "place", "field"),
    [
        (".nrrd", b"\nencoding:", b'space units: "um" "um" "um"'),
        (".nhdr", b"\nencoding:", b'space units: "microns" "microns" "microns"'),
        (".mha", b"\nElementDataFile", b"DistanceUnits = um"),
    ],
)
def test_the_unit_of_the_spacing_is_read_and_written(tmp_path: Path, suffix: str, place: bytes, field: bytes) -> None:
    path = save(tmp_path / f"a{suffix}")
    in_mm = read_image(path)
    path.write_bytes(path.read_bytes().replace(place, b"\n" + field + place, 1))
    scan = read_image(path)
    assert (scan.spacing, scan.spacing_unit) == (pytest.approx((2e-3, 3e-3, 4e-3)), "mm")
    assert scan.warnings == ()
    assert in_mm.affine is not None
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3], in_mm.affine[:3] / 1000, rtol=1e-6)
    (tmp_path / "out").mkdir()
    written = read_mask(write_mask((VOLUME % 3).astype(np.uint8), path, tmp_path / "out"))
    np.testing.assert_array_equal(written.affine, scan.affine)
    np.testing.assert_array_equal(written.pixels[0], VOLUME % 3)


@pytest.mark.fault(63)
def test_a_spacing_that_is_not_stated_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 9 8 10\nencoding: raw\n\n" + bytes(720)
    )
    (tmp_path / "b.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 9 8 10\nElementType = MET_UCHAR\nElementDataFile = LOCAL\n"
        + bytes(720)
    )
    for path in tmp_path.iterdir():
        scan = read_image(path)
        assert (scan.spacing, scan.spacing_unit, scan.warnings) == ((1.0, 1.0, 1.0), "px", ())
