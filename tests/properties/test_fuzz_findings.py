"""What `benchmarks/robustness/fuzz.py` has found, and what was found where it pointed: refused by name, or read."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Header
from pydicom import dcmread
from tifffile import TiffFile

from benchmarks.robustness.dicom_files import PATIENT
from benchmarks.robustness.fuzz_samples import VOLUME, Sample
from genseg.errors import DataError, Fault, FaultCode
from genseg.examine.cases import read_raw_case
from genseg.read import read_image
from genseg.read.case import CaseFiles
from genseg.read.jpeg_stream import read_frame
from genseg.write.masks import write_mask

Damaged = Callable[[str, Callable[[bytes], bytes]], Path]


def refused(path: Path) -> Fault:
    """Read what has to be refused for one reason."""
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert PATIENT not in str(caught.value)
    (fault,) = caught.value.faults
    return fault


def replace(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """A change of one place."""

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new, 1)

    return change


def flip(place: int) -> Callable[[bytes], bytes]:
    """A change of one byte, so far from the end."""
    return lambda content: content[:-place] + bytes([content[-place] ^ 255]) + content[len(content) - place + 1 :]


def patched(**fields: float) -> Callable[[bytes], bytes]:
    """A change of fields in the header of a NIfTI file."""

    def change(content: bytes) -> bytes:
        header = Nifti1Header(content[:348], check=False)
        for name, value in fields.items():
            header[name] = value
        return header.binaryblock + content[348:]

    return change


@pytest.mark.parametrize("line", [b"s" * 2000, b"sizes: " + b"1" * 2000, b"\x8a\x03" * 1000])
def test_a_long_field_of_an_nrrd_header_does_not_end_the_program(damaged: Damaged, line: bytes) -> None:
    fault = refused(damaged("plain-nrrd.nrrd", replace(b"\nsizes:", b"\n" + line + b"\nsizes:")))
    assert fault.code is FaultCode.UNREADABLE
    assert "a header field of" in fault.found


@pytest.mark.parametrize("axes", [b"65535", b"11", b"-3", b"x"])
def test_impossible_axes_of_a_metaimage_do_not_end_the_program(damaged: Damaged, axes: bytes) -> None:
    fault = refused(damaged("plain-mha.mha", replace(b"NDims = 3", b"NDims = " + axes)))
    assert (fault.code, fault.found) == (FaultCode.UNREADABLE, "a number of axes that cannot be")


def test_a_metaimage_with_an_empty_axis_is_refused(damaged: Damaged) -> None:
    path = damaged("plain-mha.mha", replace(b"DimSize = 9 10 12", b"DimSize = 9  0 12"))
    with pytest.raises(DataError) as caught:
        read_raw_case(CaseFiles("a", (path,), None, "a"))
    assert caught.value.faults[0].found == "axes of lengths (9, 0, 12)"


def test_long_comments_and_values_of_an_nrrd_header_are_read(damaged: Damaged) -> None:
    lines = b"\n# " + b"a" * 2000 + b"\nkey:=" + b"b" * 2000 + b"\ncontent: " + b"c" * 2000 + b"\nsizes:"
    np.testing.assert_array_equal(
        read_image(damaged("plain-nrrd.nrrd", replace(b"\nsizes:", lines))).pixels[0].T, VOLUME
    )


@pytest.mark.parametrize(
    ("suffix", "usual", "way"),
    [
        *(("mhd", b"ElementDataFile = ", way) for way in (b" ElementDataFile = ", b"ElementDataFile : ")),
        *(("mhd", b"ElementDataFile = ", way) for way in (b"\x0bElementDataFile = ", b"\tElementDataFile = ")),
        *(("nhdr", b"data file: ", way) for way in (b"#\rdata file: ", b"content: x\rdata file: ")),
    ],
)
def test_no_spelling_leads_to_a_pixel_file_elsewhere(
    samples: dict[str, Sample], tmp_path: Path, suffix: str, usual: bytes, way: bytes
) -> None:
    sample = samples[f"plain-{suffix}.{suffix}"]
    header, pixels = (sample.folder / file for file in sample.damaged)
    (tmp_path / pixels.name).write_bytes(pixels.read_bytes())
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / header.name).write_bytes(replace(usual, way + b"../")(header.read_bytes()))
    assert refused(tmp_path / "set" / header.name).code is FaultCode.OUTSIDE_FOLDER


@pytest.mark.parametrize("name", ["packed-mha.mha", "packed-mhd.mhd", "packed-nrrd.nrrd", "packed-nhdr.nhdr"])
@pytest.mark.parametrize("place", [3, 40, 400, 1000])
def test_damaged_compressed_pixels_are_not_taken_for_whole_ones(damaged: Damaged, name: str, place: int) -> None:
    assert refused(damaged(name, flip(place))).code is FaultCode.UNREADABLE


def _repacked(pixels: bytes, size: int | None = None) -> Callable[[bytes], bytes]:
    """Other compressed pixels in a MetaImage file, with their true size if no other is given."""
    packed = zlib.compress(pixels)

    def change(content: bytes) -> bytes:
        head = content[: content.index(b"LOCAL\n") + 6]
        start = head.index(b"CompressedDataSize")
        end = head.index(b"\n", start) + 1
        stated = b"" if size == 0 else b"CompressedDataSize = %d\n" % (size or len(packed))
        return head[:start] + stated + head[end:] + packed

    return change


def test_compressed_pixels_of_a_metaimage_are_as_many_as_its_header_says(damaged: Damaged) -> None:
    whole = VOLUME.tobytes()
    assert refused(damaged("packed-mha.mha", _repacked(whole[:100]))).expected == f"{len(whole)} bytes"
    assert refused(damaged("packed-mha.mha", _repacked(whole, 10))).found == "CompressedDataSize 10"
    assert refused(damaged("packed-mha.mha", _repacked(whole, 0))).found == "CompressedDataSize none"
    scan = read_image(damaged("packed-mha.mha", _repacked(whole)))
    np.testing.assert_array_equal(scan.pixels[0].T, VOLUME)


@pytest.mark.parametrize("offset", [0, 100, 351])
def test_nifti_pixels_do_not_begin_inside_of_the_header(damaged: Damaged, offset: int) -> None:
    fault = refused(damaged("integers.nii", patched(vox_offset=offset)))
    assert fault.code is FaultCode.UNREADABLE
    assert fault.found == f"pixels that begin at byte {offset}, inside of the header"


def test_a_nifti_file_that_was_sent_as_text_is_refused(damaged: Damaged) -> None:
    assert "transfer as text" in refused(damaged("second.nii", replace(b"\r\n\x1a\n", b"\n\x1a\n\n"))).found


def test_a_mask_for_a_header_with_slips_is_written_without_a_word(
    damaged: Damaged, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    path = damaged("integers.nii", patched(sizeof_hdr=7, qform_code=99))
    spatial = read_image(path).spatial
    (tmp_path / "out").mkdir()
    written = write_mask(np.ones(spatial, np.uint8), path, tmp_path / "out")
    assert read_image(written).pixels.sum() == np.prod(spatial)
    assert (caplog.text, *capfd.readouterr()) == ("", "", "")


def test_damage_that_makes_a_compressed_nifti_longer_is_noticed(damaged: Damaged) -> None:
    longer = damaged("integers.nii.gz", lambda content: _with_checksum_of(content, gzip.decompress(content) + b"more"))
    assert refused(longer).code is FaultCode.UNREADABLE


def _with_checksum_of(packed: bytes, content: bytes) -> bytes:
    """Other content, packed, with the checksum and length of what was there."""
    return gzip.compress(content)[:-8] + packed[-8:]


def test_a_compressed_nifti_that_goes_on_and_on_is_refused(damaged: Damaged) -> None:
    path = damaged("integers.nii.gz", lambda content: gzip.compress(gzip.decompress(content) + bytes(70 * 2**20), 1))
    assert "goes on for" in refused(path).found


def test_tiff_pages_that_follow_each_other_in_a_circle_are_refused(damaged: Damaged) -> None:
    def close(content: bytes) -> bytes:
        """The last page leads back to the second."""
        with TiffFile(BytesIO(content)) as tiff:
            places = [page.offset for page in tiff.pages]
            last = places[-1] + 2 + 12 * len(tiff.pages[-1].aspage().tags)
        return content[:last] + places[1].to_bytes(4, "little") + content[last + 4 :]

    fault = refused(damaged("pages.tif", close))
    assert (fault.code, fault.found) == (FaultCode.UNREADABLE, "9 pages that follow each other in a circle")


def test_a_tiff_that_has_lost_the_tags_of_its_pixels_is_refused(damaged: Damaged) -> None:
    fault = refused(damaged("packbits.tif", lambda content: content[:-8]))
    assert fault.code is FaultCode.UNREADABLE
    assert "258" in fault.found


def test_what_a_library_says_of_a_damaged_tiff_is_not_printed(damaged: Damaged) -> None:
    path = damaged("packbits.tif", lambda content: content[:-8])
    code = "import sys, pathlib; from genseg.read import read_image; read_image(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert "tags" in done.stderr
    assert "TiffTag" not in done.stderr


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("gray.png", b"IHDR\0\0\0\x14\0\0\0\x18", b"IHDR\0\0\x23\x28\0\0\x23\x28"),
        ("plain-mha.mha", b"DimSize = 9 10 12", b"DimSize = 2000 2000 200"),
        ("plain-nrrd.nrrd", b"sizes: 9 10 12", b"sizes: 2000 2000 200"),
    ],
)
def test_a_small_file_that_promises_very_many_pixels_is_refused(
    damaged: Damaged, name: str, old: bytes, new: bytes
) -> None:
    def change(content: bytes) -> bytes:
        changed = replace(old, new)(content)
        return changed[:29] + zlib.crc32(changed[12:29]).to_bytes(4) + changed[33:] if name == "gray.png" else changed

    fault = refused(damaged(name, change))
    assert fault.code is FaultCode.TOO_LARGE
    assert "promises" in fault.found


JPEG_DAMAGE = {
    "segment of wrong length": replace(b"\xff\xe0\x00\x10JFIF\0", b"\xff\xe0\x00\x0dJFIF\0"),
    "no end": replace(b"\xff\xd9", b"\0\0"),
    "other size": replace(b"\xff\xc0\x00\x0b\x08\x00\x18", b"\xff\xc0\x00\x0b\x08\x00\x19"),
    "no beginning": replace(b"\xff\xd8\xff\xe0", b"\0\0\xff\xe0"),
}


@pytest.mark.parametrize("damage", JPEG_DAMAGE)
def test_a_damaged_jpeg_within_dicom_does_not_end_the_program(damaged: Damaged, damage: str) -> None:
    fault = refused(damaged("jpeg.dcm", JPEG_DAMAGE[damage]))
    assert (fault.code, fault.found) == (FaultCode.UNREADABLE, "a damaged or different JPEG image inside")


JPEG_2000_DAMAGE = {
    "64 bytes fewer": lambda content: content[:634] + content[698:],
    "segment of wrong length": replace(b"\xff\x52\x00\x0c", b"\xff\x52\x00\x0d"),
    "no sizes": replace(b"\xff\x51\x00\x29", b"\xff\x53\x00\x29"),
    "short tile": replace(b"\xff\x90\x00\x0a\0\0\0\0\0\x46", b"\xff\x90\x00\x0a\0\0\0\0\0\x0d"),
}


@pytest.mark.parametrize("damage", JPEG_2000_DAMAGE)
def test_a_damaged_jpeg_2000_within_dicom_does_not_end_the_program(damaged: Damaged, damage: str) -> None:
    assert refused(damaged("jpeg2000.dcm", JPEG_2000_DAMAGE[damage])).code is FaultCode.UNREADABLE


@pytest.mark.parametrize(("name", "allocated", "stored"), [("jpeg.dcm", 8, 7), ("lossless.dcm", 32, 16)])
def test_bits_that_no_jpeg_has_do_not_end_the_program(
    samples: dict[str, Sample], tmp_path: Path, name: str, allocated: int, stored: int
) -> None:
    if name not in samples:
        pytest.skip("no GDCM")
    dataset = dcmread(samples[name].folder / name)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = allocated, stored, stored - 1
    dataset.save_as(tmp_path / "a.dcm")
    assert refused(tmp_path / "a.dcm").code is FaultCode.UNREADABLE


def test_whole_jpeg_streams_are_told_by_their_size(samples: dict[str, Sample]) -> None:
    content = (samples["progressive.jpg"].folder / "progressive.jpg").read_bytes()
    frame = read_frame(content)
    assert frame is not None
    assert (frame.rows, frame.columns, frame.samples, frame.bits) == (24, 20, 3, 8)
    assert read_frame(content[:2] + b"\xff" + content[2:]) == frame
    assert all(read_frame(content[:end]) is None for end in range(len(content)))


def test_an_unknown_compression_is_not_quoted(damaged: Damaged) -> None:
    fault = refused(damaged("ct.dcm", replace(b"1.2.840.10008.1.2.1\0", PATIENT.encode().ljust(20, b"\0"))))
    assert fault.found == "pixels of an unknown compression"
