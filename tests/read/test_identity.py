"""The same image is known again, whatever it is called and however it is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
import tifffile
from numpy.typing import NDArray
from PIL import Image

from genseg.read import read_image
from genseg.read.identity import SeenImages, pixels_hash, salted, seen_images

PICTURE = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
VOLUME = np.random.default_rng(1).integers(-900, 900, (9, 10, 11)).astype(np.int16)
AFFINE = np.array([[-0.7, 0, 0, 10], [0, -0.8, 0, 20], [0, 0, 2.5, -30], [0, 0, 0, 1.0]])


def _hash(path: Path) -> str:
    return pixels_hash(read_image(path))


def test_a_picture_is_known_in_every_lossless_format(tmp_path: Path) -> None:
    for name in ("a.png", "b.bmp", "c.tif"):
        Image.fromarray(PICTURE).save(tmp_path / name)
    tifffile.imwrite(tmp_path / "d.tif", PICTURE.astype(np.uint16), photometric="rgb", compression="zlib")
    assert len({_hash(path) for path in tmp_path.iterdir()}) == 1


def test_grey_is_known_as_grey_rgb_and_with_an_opaque_channel(tmp_path: Path) -> None:
    grey = Image.fromarray(PICTURE[..., 0])
    for mode in ("L", "RGB", "RGBA"):
        grey.convert(mode).save(tmp_path / f"{mode}.png")
    assert len({_hash(path) for path in tmp_path.iterdir()}) == 1


def test_a_volume_is_known_in_every_format_and_orientation(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOLUME, AFFINE), tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(VOLUME.astype(np.float32), AFFINE), tmp_path / "b.nii")
    nibabel.save(nibabel.as_closest_canonical(nibabel.load(tmp_path / "a.nii.gz")), tmp_path / "c.nii")
    SimpleITK.WriteImage(SimpleITK.ReadImage(tmp_path / "a.nii.gz"), tmp_path / "d.nrrd")
    assert len({_hash(path) for path in tmp_path.iterdir()}) == 1


@pytest.mark.parametrize(
    "change",
    [
        lambda picture: picture[:, ::-1],
        lambda picture: picture[1:],
        lambda picture: picture.reshape(24, 20, 3),
        lambda picture: picture[..., ::-1],
        lambda picture: np.where(np.arange(picture.size).reshape(picture.shape) == 7, 255 - picture, picture),
    ],
)
def test_another_image_is_another(tmp_path: Path, change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]) -> None:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    Image.fromarray(np.ascontiguousarray(change(PICTURE))).save(tmp_path / "b.png")
    assert _hash(tmp_path / "a.png") != _hash(tmp_path / "b.png")


def test_what_is_kept_tells_the_use_of_an_image_and_neither_its_name_nor_its_place() -> None:
    hashes, cases = {"a": "1", "b": "2", "c": "3"}, {"a": "x", "b": "y", "c": "z"}
    seen = seen_images(hashes, cases, ("b", "a"), ("c",))
    assert [seen.use_of(one) for one in ("1", "2", "3", "4")] == ["trained on", "trained on", "held out", None]
    assert seen.trained_on == tuple(sorted(seen.trained_on))
    assert {"1", "2", "3"}.isdisjoint((*seen.trained_on, *seen.held_out))
    assert seen == seen_images(hashes, cases, ("a", "b"), ("c",))


def test_hashes_of_two_data_sets_cannot_be_compared() -> None:
    one, other = (seen_images({"a": "1"}, {"a": mask}, ("a",), ()) for mask in ("x", "y"))
    assert isinstance(one, SeenImages)
    assert one.salt != other.salt
    assert one.trained_on != other.trained_on
    assert one.trained_on == (salted("1", one.salt),)
