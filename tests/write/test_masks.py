from __future__ import annotations

import errno
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from nibabel.nifti1 import Nifti1Image
from nibabel.nifti2 import Nifti2Image
from nibabel.orientations import inv_ornt_aff
from PIL import Image

from benchmarks.robustness.dicom_files import PATIENT
from genseg.errors import DataError
from genseg.read import ReadOptions, read_image, read_mask
from genseg.write.masks import write_mask

Write = Callable[..., Path]

GEOMETRY_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y"),
    *("qoffset_z", "sform_code", "srow_x", "srow_y", "srow_z"),
)
VOLUME = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
MASK = (np.arange(120, dtype=np.uint8) % 3).reshape(4, 5, 6)
OBLIQUE = np.array([[0.8, -0.6, 0, 11.3], [0.6, 0.8, 0, -7.7], [0, 0, 1, 1 / 3], [0, 0, 0, 1]])
ANISOTROPIC = OBLIQUE @ np.diag([0.7, 0.9, 3.3, 1])


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def save_nifti(path: Path, affine: Any = ANISOTROPIC, voxels: Any = VOLUME, image_class: Any = Nifti1Image) -> Path:
    image = image_class(voxels, affine)
    image.set_sform(affine, 2)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    image.header["descrip"] = PATIENT
    image.header["cal_max"] = 99
    nibabel.save(image, path)
    return path


def assert_written_in_place(like: Path, folder: Path, mask: Any) -> Path:
    """The mask that comes back is the one written, at the very place of the image."""
    path = write_mask(mask, like, folder)
    image, back = read_image(like), read_mask(path)
    np.testing.assert_array_equal(back.pixels[0], mask)
    np.testing.assert_array_equal(image.affine, back.affine)
    assert image.spacing == back.spacing
    assert back.warnings == ()
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_pictures_give_a_png_of_indices(tmp_path: Path, out: Path, suffix: str) -> None:
    Image.fromarray(MASK[0] * 9).save(tmp_path / f"a.b{suffix}")
    path = assert_written_in_place(tmp_path / f"a.b{suffix}", out, MASK[0])
    assert path == out / "a.b.png"
    with Image.open(path) as picture:
        assert picture.mode == "L"


def test_palette_colours_the_indices(tmp_path: Path, out: Path) -> None:
    Image.fromarray(MASK[0]).save(tmp_path / "a.png")
    colours = ((0, 0, 0), (255, 0, 0), (0, 9, 255))
    path = write_mask(MASK[0], tmp_path / "a.png", out, palette=colours)
    np.testing.assert_array_equal(read_mask(path).pixels[0], MASK[0])
    np.testing.assert_array_equal(read_image(path).pixels, np.moveaxis(np.array(colours)[MASK[0]], -1, 0))


def test_stack_of_pages_gives_a_stack_of_pages(tmp_path: Path, out: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(VOLUME, -1, 0), photometric="minisblack")
    path = write_mask(MASK, tmp_path / "a.tif", out)
    assert path == out / "a.tif"
    back = read_mask(path, ReadOptions(pages="volume"))
    np.testing.assert_array_equal(back.pixels[0], MASK)


@pytest.mark.fault(23, 28)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("image_class", [Nifti1Image, Nifti2Image])
def test_nifti_header_has_equal_geometry_and_no_free_text(
    tmp_path: Path, out: Path, suffix: str, image_class: Any
) -> None:
    like = save_nifti(tmp_path / f"a.b{suffix}", image_class=image_class)
    path = assert_written_in_place(like, out, MASK)
    assert path == out / f"a.b{suffix}"
    before: Any = nibabel.load(like)
    after: Any = nibabel.load(path)
    for field in GEOMETRY_FIELDS:
        np.testing.assert_array_equal(before.header[field], after.header[field], err_msg=field)
    assert type(after) is image_class
    assert after.get_data_dtype() == np.uint8
    assert after.header["descrip"].item() == b""
    assert after.header["cal_max"] == 0


@pytest.mark.fault(23)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_all_48_orientations_come_back_equal(tmp_path: Path, out: Path, order: Any, signs: Any) -> None:
    orientation = np.column_stack([order, signs])
    voxels = nibabel.orientations.apply_orientation(VOLUME, orientation)
    like = save_nifti(tmp_path / "a.nii", ANISOTROPIC @ inv_ornt_aff(orientation, VOLUME.shape), voxels)
    assert_written_in_place(like, out, (voxels % 3).astype(np.uint8))


@pytest.mark.parametrize("forms", [(0, 1), (1, 0), (0, 0)])
def test_codes_that_are_not_set_stay_so(tmp_path: Path, out: Path, forms: tuple[int, int]) -> None:
    image = Nifti1Image(VOLUME, OBLIQUE)
    image.set_sform(OBLIQUE, forms[0])
    image.set_qform(OBLIQUE, forms[1])
    nibabel.save(image, tmp_path / "a.nii")
    path = assert_written_in_place(tmp_path / "a.nii", out, MASK)
    header: Any = nibabel.load(path).header
    assert (int(header["sform_code"]), int(header["qform_code"])) == forms


def test_scale_of_the_image_is_not_that_of_the_mask(tmp_path: Path, out: Path) -> None:
    image = Nifti1Image(VOLUME, OBLIQUE)
    image.header.set_slope_inter(0.5, -1024)
    nibabel.save(image, tmp_path / "a.nii")
    assert_written_in_place(tmp_path / "a.nii", out, MASK)


@pytest.mark.parametrize(("unit", "factor"), [("meter", 1000), ("micron", 0.001)])
def test_units_stay(tmp_path: Path, out: Path, unit: str, factor: float) -> None:
    affine = OBLIQUE / factor
    affine[3, 3] = 1
    image = Nifti1Image(VOLUME, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "a.nii")
    path = write_mask(MASK, tmp_path / "a.nii", out)
    np.testing.assert_array_equal(read_mask(path).affine, read_image(tmp_path / "a.nii").affine)


@pytest.mark.parametrize(("stored", "mask"), [((4, 5, 6, 1), (4, 5, 6)), ((4, 5), (4, 5, 1)), ((4, 5, 1), (4, 5, 1))])
def test_unusual_axes(tmp_path: Path, out: Path, stored: tuple[int, ...], mask: tuple[int, ...]) -> None:
    like = save_nifti(tmp_path / "a.nii", voxels=np.zeros(stored, np.int16))
    assert_written_in_place(like, out, MASK.ravel()[: np.prod(mask)].reshape(mask))


def test_channels_of_the_image_are_not_those_of_the_mask(tmp_path: Path, out: Path) -> None:
    like = save_nifti(tmp_path / "a.nii", voxels=np.zeros((4, 5, 6, 2), np.int16))
    path = write_mask(MASK, like, out)
    np.testing.assert_array_equal(read_mask(path).pixels[0], MASK)


@pytest.mark.parametrize(
    ("suffix", "expected"), [(".nrrd", ".nrrd"), (".nhdr", ".nrrd"), (".mha", ".mha"), (".mhd", ".mha")]
)
@pytest.mark.parametrize("pixels", [VOLUME, VOLUME[0]])
def test_nrrd_and_metaimage_give_the_same_in_one_file(
    tmp_path: Path, out: Path, suffix: str, expected: str, pixels: Any
) -> None:
    simpleitk: Any = pytest.importorskip("SimpleITK")
    image = simpleitk.GetImageFromArray(pixels.T if pixels.ndim == 3 else pixels)
    image.SetSpacing((0.7, 1 / 3, 2.1)[: pixels.ndim])
    image.SetOrigin((1 / 7, -12.3456789, 99.9)[: pixels.ndim])
    if pixels.ndim == 3:
        image.SetDirection(OBLIQUE[:3, :3].ravel().tolist())
    simpleitk.WriteImage(image, str(tmp_path / f"a.b{suffix}"))
    path = assert_written_in_place(tmp_path / f"a.b{suffix}", out, MASK if pixels.ndim == 3 else MASK[0])
    assert list(out.iterdir()) == [path] == [out / f"a.b{expected}"]


def test_dicom_picture_gives_a_png(tmp_path: Path, out: Path, write_dicom: Write) -> None:
    write_dicom(tmp_path / "IM.0001", VOLUME[0])
    path = write_mask(MASK[0], tmp_path / "IM.0001", out)
    assert path == out / "IM.0001.png"
    np.testing.assert_array_equal(read_mask(path).pixels[0], MASK[0])


@pytest.mark.fault(28)
def test_dicom_series_gives_nifti_at_the_same_place(tmp_path: Path, out: Path, write_series: Write) -> None:
    tags = {"ImageOrientationPatient": [0.8, 0.6, 0, -0.6, 0.8, 0], "PixelSpacing": [1 / 3, 0.7]}
    folder = write_series(tmp_path / "case.1", np.moveaxis(VOLUME, -1, 0).swapaxes(1, 2), **tags)
    path = assert_written_in_place(folder, out, MASK)
    assert path == out / "case.1.nii.gz"
    written: Any = nibabel.load(path)
    assert PATIENT.encode() not in written.to_bytes()
    assert int(written.header["sform_code"]) == 1
    assert written.header.get_xyzt_units()[0] == "mm"


def test_dicom_series_of_one_slice_gives_a_png(tmp_path: Path, out: Path, write_series: Write) -> None:
    folder = write_series(tmp_path / "case.1", VOLUME[:1])
    assert write_mask(MASK[0], folder, out) == out / "case.1.png"


@pytest.mark.parametrize("suffix", [".nii", ".mha"])
def test_mask_of_another_shape_is_refused(tmp_path: Path, out: Path, suffix: str) -> None:
    like = save_nifti(tmp_path / "a.nii")
    if suffix == ".mha":
        simpleitk: Any = pytest.importorskip("SimpleITK")
        like = tmp_path / "a.mha"
        simpleitk.WriteImage(simpleitk.GetImageFromArray(VOLUME.T), str(like))
    with pytest.raises(ValueError, match=r"\(5, 4, 6\)"):
        write_mask(MASK.swapaxes(0, 1), like, out)
    assert not list(out.iterdir())


def test_unreadable_image_is_a_data_error(tmp_path: Path, out: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"")
    with pytest.raises(DataError):
        write_mask(MASK, tmp_path / "a.nii", out)


@pytest.mark.fault(29)
@pytest.mark.parametrize("name", ["a.png", "a.nii", "a.nii.gz", "a.mha"])
def test_full_disk_leaves_the_old_mask_and_nothing_else(
    tmp_path: Path, out: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = tmp_path / name
    if name.endswith("png"):
        Image.fromarray(MASK[0]).save(like)
    elif name.endswith("mha"):
        simpleitk: Any = pytest.importorskip("SimpleITK")
        simpleitk.WriteImage(simpleitk.GetImageFromArray(VOLUME.T), str(like))
    else:
        save_nifti(like)
    mask = MASK[0] if name.endswith("png") else MASK
    path = write_mask(mask, like, out)
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_mask(1 - np.minimum(mask, 1), like, out)
    assert path.read_bytes() == before
    assert list(out.iterdir()) == [path]


@pytest.mark.fault(38)
def test_the_same_mask_gives_the_same_bytes_at_any_time(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    like = save_nifti(tmp_path / "a.nii.gz")
    first = write_mask(MASK, like, out).read_bytes()
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert write_mask(MASK, like, out).read_bytes() == first


@pytest.mark.fault(18)
@pytest.mark.parametrize("name", ["ä 🩻", "-x", "CON", "a\nb", "n" * 251])
def test_any_legal_name_can_be_written(tmp_path: Path, out: Path, name: str) -> None:
    Image.fromarray(MASK[0]).save(tmp_path / f"{name}.png")
    assert_written_in_place(tmp_path / f"{name}.png", out, MASK[0])


def test_order_of_a_mask_in_memory_changes_nothing(tmp_path: Path, out: Path) -> None:
    like = save_nifti(tmp_path / "a.nii")
    assert_written_in_place(like, out, np.asfortranarray(MASK))
    assert_written_in_place(like, out, np.flip(np.flip(MASK, 0).copy(), 0))


def test_real_volume_comes_back_in_place(real_data: Path, out: Path) -> None:
    like = min((real_data / "hippocampus_msd" / "images").iterdir())
    assert_written_in_place(like, out, np.ones(read_image(like).spatial, np.uint8))


@pytest.mark.fault(81)
def test_a_name_of_255_bytes_has_room_for_no_longer_suffix_and_still_gets_a_mask(tmp_path: Path, out: Path) -> None:
    paths = [tmp_path / ("x" * 250 + f"{number}.jpg") for number in range(2)]
    paths += [tmp_path / ("y" * 254 + f"{number}") for number in range(2)]
    for path in paths:
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(path, "JPEG")
    written = [write_mask(np.eye(9, dtype=np.uint8), path, out) for path in paths]
    assert len(set(written)) == 4
    for path in written:
        np.testing.assert_array_equal(read_mask(path).pixels[0], np.eye(9))
