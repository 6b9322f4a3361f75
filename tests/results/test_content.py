"""What tells whether an image is still the same: its content, not the time that its files are said to be from."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from genseg.read.case import CaseFiles
from genseg.results.content import content_sha256, image_parts, stamp

NRRD = b"NRRD0004\ntype: uchar\ndimension: 2\nsizes: 8 8\nencoding: raw\ndata file: %s\n\n"
META = b"ObjectType = Image\nNDims = 2\nDimSize = 8 8\nElementType = MET_UCHAR\nElementDataFile = %s\n"


def files_of(*images: Path) -> CaseFiles:
    return CaseFiles("a", images, None, "a")


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def test_the_hash_of_an_image_is_that_of_its_file(tmp_path: Path) -> None:
    assert content_sha256(files_of(put(tmp_path / "a.png", b"pixels"))) == hashlib.sha256(b"pixels").hexdigest()


@pytest.mark.fault(69)
def test_a_file_that_takes_the_place_of_another_is_told_though_name_size_and_time_are_the_same(tmp_path: Path) -> None:
    image, other = put(tmp_path / "a.png", b"first"), put(tmp_path / "b.png", b"other")
    for path in (image, other):
        os.utime(path, (7, 7))
    before = stamp(files_of(image))
    shutil.copy2(other, image)
    copied = stamp(files_of(image))
    other.replace(image)
    assert len({before, copied, stamp(files_of(image))}) == 3


def test_an_image_that_cannot_be_reached_has_no_stamp(tmp_path: Path) -> None:
    assert stamp(files_of(tmp_path / "gone.png")) is None


@pytest.mark.fault(69)
def test_each_channel_file_counts_in_its_order(tmp_path: Path) -> None:
    first, second = put(tmp_path / "a_0000.png", b"1"), put(tmp_path / "a_0001.png", b"2")
    before = content_sha256(files_of(first, second))
    assert content_sha256(files_of(second, first)) != before
    put(second, b"3")
    assert content_sha256(files_of(first, second)) != before


@pytest.mark.fault(69)
def test_a_series_is_its_slices_whatever_they_are_called(tmp_path: Path) -> None:
    series = tmp_path / "series"
    for name in "ab":
        put(series / f"{name}.dcm", name.encode())
    put(series / ".DS_Store", b"junk")
    before = content_sha256(files_of(series))
    (series / "a.dcm").rename(series / "z.dcm")
    assert content_sha256(files_of(series)) == before
    put(series / "c.dcm", b"c")
    assert content_sha256(files_of(series)) != before


@pytest.mark.fault(69)
@pytest.mark.parametrize(("name", "header"), [("a.nhdr", NRRD), ("a.mhd", META)])
@pytest.mark.parametrize("pixels", ["a.raw", "elsewhere.bin"])
def test_the_pixels_of_a_header_count_whatever_their_file_is_called(
    tmp_path: Path, name: str, header: bytes, pixels: str
) -> None:
    image = put(tmp_path / name, header % pixels.encode())
    put(tmp_path / pixels, bytes(64))
    put(tmp_path / "a.png", b"another image")
    assert image_parts(image) == sorted([image, tmp_path / pixels])
    before = content_sha256(files_of(image))
    put(tmp_path / pixels, bytes(63) + b"1")
    assert content_sha256(files_of(image)) != before
