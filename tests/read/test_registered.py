"""Readers of further formats that are registered by others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import genseg
from genseg.errors import DataError, FaultCode, SettingsError
from genseg.index import index_dataset
from genseg.read import is_scan_file, read_image, read_mask, stem
from genseg.write.masks import write_mask

pytestmark = pytest.mark.usefixtures("_registrations_end")

MAGIC = b"MYSCAN\n"


def decode(data: bytes) -> genseg.Decoded:
    """JSON below a first line: pixels, and perhaps spacing and affine."""
    content = json.loads(data.removeprefix(MAGIC))
    affine = content.get("affine")
    return genseg.Decoded(
        np.array(content["pixels"], np.int16), content.get("spacing"), None if affine is None else np.array(affine)
    )


def register(decode: Callable[[bytes], genseg.Decoded] = decode) -> None:
    """Register the format of these tests."""
    genseg.register_reader("MyScan", suffixes=[".myscan"], recognise=lambda head: head.startswith(MAGIC), decode=decode)


def write(path: Path, **content: object) -> Path:
    """Write a file of the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(MAGIC + json.dumps(content).encode())
    return path


def test_a_registered_format_is_read_by_content_and_named_by_its_suffix(tmp_path: Path) -> None:
    register()
    path = write(tmp_path / "a.myscan", pixels=[[[1, 2], [3, 4]]], spacing=[0.5, 0.25])
    scan = read_image(path)
    assert scan.pixels.tolist() == [[[1, 2], [3, 4]]]
    assert (scan.spacing, scan.spacing_unit, scan.modality, scan.warnings) == ((0.5, 0.25), "mm", "gray", ())
    assert is_scan_file(path)
    assert stem(path) == "a"
    (wrong,) = read_image(path.rename(tmp_path / "a.png")).warnings
    assert wrong.code is FaultCode.WRONG_SUFFIX
    assert ".myscan" in wrong.expected


def test_a_volume_keeps_its_affine_and_its_masks_are_written_as_nifti(tmp_path: Path) -> None:
    register()
    affine = [[0, 2, 0, 5], [-1, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]]
    path = write(tmp_path / "v.myscan", pixels=np.arange(60).reshape(1, 3, 4, 5).tolist(), affine=affine)
    assert read_image(path).spacing == (1.0, 2.0, 3.0)
    written = write_mask(np.ones((3, 4, 5), np.uint8), path, tmp_path, name="mask")
    mask = read_mask(written)
    assert written.name == "mask.nii.gz"
    assert mask.affine == pytest.approx(np.array(affine))


def test_a_size_that_is_not_stated_counts_as_one_voxel(tmp_path: Path) -> None:
    register()
    scan = read_image(write(tmp_path / "v.myscan", pixels=np.zeros((1, 2, 3, 4), int).tolist()))
    assert (scan.spacing, scan.spacing_unit) == ((1.0, 1.0, 1.0), "px")
    assert scan.affine is not None
    assert scan.affine.tolist() == np.eye(4).tolist()


def test_a_data_set_of_a_registered_format_is_indexed(tmp_path: Path) -> None:
    register()
    for name in "ab":
        for folder in ("images", "masks"):
            write(tmp_path / folder / f"{name}.myscan", pixels=[[[1, 2], [3, 4]]])
    assert [files.name for files in index_dataset(tmp_path).entries] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({"pixels": [[1, 2], [3, 4]]}, FaultCode.UNSUPPORTED_PIXELS),
        ({"pixels": [[[1, 2]]], "spacing": [1.0, -1.0]}, FaultCode.BAD_SPACING),
        ({"pixels": [[[1, 2]]], "spacing": [1.0, 1.0, 1.0]}, FaultCode.UNREADABLE),
        ({"pixels": [[[1, 2]]], "affine": np.eye(4).tolist()}, FaultCode.UNREADABLE),
        ({"pixels": [[[[1, 2]]]], "affine": np.zeros((4, 4)).tolist()}, FaultCode.BAD_AFFINE),
        ({"pixels": [[[[1]]]], "affine": np.eye(4).tolist(), "spacing": [2, 1, 1]}, FaultCode.UNREADABLE),
        ({"colours": 3}, FaultCode.UNREADABLE),
    ],
)
def test_what_a_reader_makes_is_held_to_what_every_scan_keeps(
    tmp_path: Path, content: dict[str, object], code: FaultCode
) -> None:
    register()
    with pytest.raises(DataError) as caught:
        read_image(write(tmp_path / "a.myscan", **content))
    assert [fault.code for fault in caught.value.faults] == [code]


def test_a_reader_registered_again_replaces_the_first(tmp_path: Path) -> None:
    register()
    register(lambda _: genseg.Decoded(np.full((1, 2, 2), 9)))
    assert read_image(write(tmp_path / "a.myscan")).pixels.max() == 9


def test_the_formats_that_are_named_include_it(tmp_path: Path) -> None:
    register()
    (tmp_path / "a.txt").write_text("hello")
    with pytest.raises(DataError) as caught:
        read_image(tmp_path / "a.txt")
    assert caught.value.faults[0].expected == ("PNG, JPEG, BMP, TIFF, NIfTI, NRRD, MetaImage, DICOM or MyScan")


@pytest.mark.parametrize(("name", "suffix"), [("MyScan", ".png"), ("MyScan", "myscan"), ("PNG", ".myscan")])
def test_names_of_own_formats_are_refused(name: str, suffix: str) -> None:
    with pytest.raises(SettingsError, match="names of your own"):
        genseg.register_reader(name, suffixes=[suffix], recognise=lambda _: False, decode=decode)


def test_a_reader_that_fails_to_recognise_is_named(tmp_path: Path) -> None:
    genseg.register_reader("MyScan", suffixes=[".myscan"], recognise=lambda head: head[10**6] == 1, decode=decode)
    with pytest.raises(SettingsError, match=r"'MyScan'.*IndexError"):
        read_image(write(tmp_path / "a.myscan"))
