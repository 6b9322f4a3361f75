"""Files that would take more memory than there is: refused before they take it, each by itself."""

from __future__ import annotations

import gzip
import lzma
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from genseg.config import Plan
from genseg.errors import DataError, FaultCode
from genseg.examine.cases import DEFAULT_OPTIONS
from genseg.examine.one_pass import read_all
from genseg.prepare import preprocess
from genseg.prepare.preprocess import prepare
from genseg.read import dicom_series, read_image, source
from genseg.read.case import Case, CaseFiles
from genseg.read.source import MAX_DECODED_BYTES, most_bytes

FaultsOf = Callable[..., Any]
MIB = 2**20
GRAY = np.arange(96, dtype=np.uint8).reshape(8, 12)


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8 MiB left: one file may take 2."""
    monkeypatch.setattr(source, "free_memory", lambda: 8 * MIB)


@contextmanager
def spared() -> Iterator[None]:
    """Fails where more than 12 MiB are taken."""
    tracemalloc.start()
    yield
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12 * MIB


def refused(faults: Any) -> str:
    """What was found, of the only fault."""
    (fault,) = faults
    assert fault.code is FaultCode.TOO_LARGE
    return str(fault.found)


def deflated_dicom(path: Path, write_dicom: Callable[..., Path], inflated: int) -> Path:
    """A DICOM file of the deflated syntax whose tags go on for many bytes after the pixels."""
    write_dicom(path, GRAY, syntax=DeflatedExplicitVRLittleEndian)
    content = path.read_bytes()
    begin = 144 + int.from_bytes(content[140:144], "little")
    tags = zlib.decompress(content[begin:], -zlib.MAX_WBITS)
    rest = b"\xfc\xff\xfc\xffOB\0\0" + inflated.to_bytes(4, "little") + bytes(inflated)  # Data Set Trailing Padding
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(content[:begin] + packer.compress(tags + rest) + packer.flush())
    return path


def bomb_tiff(path: Path, compression: str, size: int) -> Path:
    """A picture of 8 x 12 whose only strip unpacks to many more bytes, all of them 0."""
    tifffile.imwrite(path, GRAY, compression=compression, metadata=None)
    packed = zlib.compress(bytes(size), 9) if compression == "zlib" else lzma.compress(bytes(size))
    with tifffile.TiffFile(path) as tiff:
        tags = tiff.pages.first.tags
        places = [tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts")]
        kinds = [tags[name].dtype for name in ("StripOffsets", "StripByteCounts")]
    content = bytearray(path.read_bytes())
    values = (len(content), len(packed))
    for place, kind, value in zip(places, kinds, values, strict=True):
        width = 2 if kind == tifffile.DATATYPE.SHORT else 4
        content[place : place + width] = value.to_bytes(width, "little")
    path.write_bytes(bytes(content) + packed)
    return path


@pytest.mark.fault(93)
def test_the_limit_is_bound_to_the_memory_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "free_memory", lambda: 2**40)
    assert most_bytes() == MAX_DECODED_BYTES
    monkeypatch.setattr(source, "free_memory", lambda: 100 * MIB)
    assert most_bytes() == 25 * MIB


@pytest.mark.fault(93)
@pytest.mark.usefixtures("little_memory")
def test_deflated_dicom_is_not_inflated_before_it_is_looked_at(
    tmp_path: Path, write_dicom: Callable[..., Path], faults_of: FaultsOf
) -> None:
    path = deflated_dicom(tmp_path / "a.dcm", write_dicom, 40 * MIB)
    assert path.stat().st_size < MIB
    with spared():
        assert "unpacks to more than 2097152 bytes" in refused(faults_of(path))


@pytest.mark.fault(93)
def test_deflated_dicom_is_read(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    np.testing.assert_array_equal(read_image(deflated_dicom(tmp_path / "a.dcm", write_dicom, 1000)).pixels[0], GRAY)


@pytest.mark.fault(93)
@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_a_strip_that_unpacks_to_more_than_its_picture_is_refused(
    tmp_path: Path, faults_of: FaultsOf, compression: str
) -> None:
    path = bomb_tiff(tmp_path / "a.tif", compression, 80 * MIB)
    with spared():
        assert "unpacks" in refused(faults_of(path))


@pytest.mark.fault(93)
@pytest.mark.parametrize("compression", ["zlib", "lzma"])
def test_long_strips_that_are_as_they_should_be_are_read(tmp_path: Path, compression: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (400, 500), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, rowsperstrip=400)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0], pixels)


@pytest.mark.fault(93)
@pytest.mark.usefixtures("little_memory")
def test_headers_that_promise_more_than_this_machine_has_are_refused(tmp_path: Path, faults_of: FaultsOf) -> None:
    itk = pytest.importorskip("SimpleITK")
    flat, volume = np.zeros((1600, 1600), np.uint8), np.zeros((20, 300, 400), np.uint8)
    Image.fromarray(flat).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "a.tif", flat, compression="zlib")
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")  # type: ignore[no-untyped-call]
    for suffix in ("nrrd", "mha"):
        itk.WriteImage(itk.GetImageFromArray(volume), str(tmp_path / f"a.{suffix}"), True)
    for path in sorted(tmp_path.iterdir()):
        assert path.stat().st_size < MIB
        with spared():
            assert "promises" in refused(faults_of(path)), path.name


@pytest.mark.fault(93)
@pytest.mark.usefixtures("little_memory")
def test_pixels_that_begin_far_behind_the_header_are_refused(tmp_path: Path, faults_of: FaultsOf) -> None:
    nibabel.save(nibabel.Nifti1Image(np.zeros((9, 9, 9), np.uint8), np.eye(4)), tmp_path / "a.nii")  # type: ignore[no-untyped-call]
    content = bytearray((tmp_path / "a.nii").read_bytes())
    content[108:112] = np.float32(7e7).tobytes()
    path = tmp_path / "b.nii.gz"
    path.write_bytes(gzip.compress(bytes(content) + bytes(7 * 10**7), 9))
    with spared():
        (fault,) = faults_of(path)
    assert fault.code is FaultCode.UNREADABLE


@pytest.mark.fault(81)
@pytest.mark.parametrize("name", ["a.png", "a.nii", "a.dcm", "a.tif"])
def test_a_file_larger_than_the_memory_is_named_before_it_is_read(
    tmp_path: Path, faults_of: FaultsOf, name: str
) -> None:
    with (tmp_path / name).open("wb") as file:
        os.truncate(file.fileno(), 2 * 10**12)  # sparse: takes no room
    assert refused(faults_of(tmp_path / name)) == "a file of 1863 GiB"


@pytest.mark.fault(81)
def test_a_series_larger_than_the_memory_is_named(
    tmp_path: Path, write_series: Callable[..., Path], faults_of: FaultsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path / "series", np.zeros((8, 16, 16), np.uint16))
    monkeypatch.setattr(dicom_series, "most_bytes", lambda: 4000)
    assert refused(faults_of(folder)).startswith("a folder of")


@pytest.mark.fault(81)
def test_the_others_are_read_where_one_takes_too_much_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entries = []
    for number in range(6):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20).astype(np.uint8) + number).save(path)
        entries.append(CaseFiles(path.stem, (path,), None, path.stem))

    def measure(raw: Any, samples: int) -> Any:
        if raw.files.name == "3":
            raise MemoryError
        return usual(raw, samples)

    from genseg.examine import one_pass as reading

    usual = reading.measure
    monkeypatch.setattr(reading, "measure", measure)
    readings, faults = read_all(entries, DEFAULT_OPTIONS, 0)
    assert [one.files.name for one in readings] == ["0", "1", "2", "4", "5"]
    assert [(fault.code, Path(fault.file).name) for fault in faults] == [(FaultCode.TOO_LARGE, "3.png")]


@pytest.mark.fault(81)
def test_a_volume_in_metres_is_converted_warned_of_and_refused_by_name(
    tmp_path: Path, plan_of: Callable[..., Plan]
) -> None:
    volume = nibabel.Nifti1Image(np.zeros((64, 64, 40), np.int16), np.diag([1.5, 1.5, 3, 1]))  # type: ignore[no-untyped-call]
    volume.header.set_xyzt_units("meter")
    nibabel.save(volume, tmp_path / "a.nii")  # type: ignore[no-untyped-call]
    scan = read_image(tmp_path / "a.nii")
    assert scan.spacing == pytest.approx((1500, 1500, 3000))
    assert [(fault.code, fault.stops) for fault in scan.warnings] == [(FaultCode.BAD_SPACING, False)]
    case = Case("p07", scan.pixels, None, scan.spacing, scan.affine, "p07", "", "")
    with pytest.raises(DataError) as caught:
        prepare(case, plan_of(3, spacing=(1.5, 1.5, 3.0), intensity={"rule": "z-score"}))
    (fault,) = caught.value.faults
    assert (fault.code, fault.file) == (FaultCode.TOO_LARGE, "p07")
    assert "6.4e+04 x 6.4e+04 x 4e+04 voxels" in fault.found


@pytest.mark.fault(81)
def test_memory_that_runs_out_in_preparing_is_the_fault_of_that_case(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError

    case = Case("p07", GRAY[None], None, (1.0, 1.0), None, "p07", "", "")
    monkeypatch.setattr(preprocess, "_resize", fail)
    with pytest.raises(DataError) as caught:
        prepare(replace(case, image=GRAY[None]), plan_of(2))
    assert [(fault.code, fault.file) for fault in caught.value.faults] == [(FaultCode.TOO_LARGE, "p07")]


@pytest.mark.fault(81)
@pytest.mark.parametrize("unit", ["micron", "mm"])
def test_micrometres_are_converted_and_not_warned_of(tmp_path: Path, unit: str) -> None:
    volume = nibabel.Nifti1Image(np.zeros((64, 64, 40), np.int16), np.diag([0.2, 0.2, 2, 1]))  # type: ignore[no-untyped-call]
    volume.header.set_xyzt_units(unit)
    nibabel.save(volume, tmp_path / "a.nii")  # type: ignore[no-untyped-call]
    scan = read_image(tmp_path / "a.nii")
    assert scan.spacing == pytest.approx(np.array([0.2, 0.2, 2]) * (1e-3 if unit == "micron" else 1))
    assert scan.warnings == ()
