"""Names of patients in the headers of files reach no output: neither files nor messages.

The one exception is the DICOM segmentation that `predict --dicom-seg` writes on request: an archive files it by patient
and study, so that it names the patient (see `genseg.write.dicom_seg`), in the tags that the standard has for that.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import logging
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import tifffile
from nibabel.nifti1 import Nifti1Extension, Nifti1Image
from nibabel.nifti2 import Nifti2Image
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword

from benchmarks.robustness.dicom_files import write_dicom, write_series
from genseg.errors import DataError
from genseg.read import read_image
from genseg.synthetic.phantoms import write_phantoms

Run = Callable[..., tuple[int, str, str]]
Voxels = np.ndarray[Any, Any]

NAME, ID, PLACE = "Quaggs^Zebedi", "MRN4711", "St. Planted"
ALL = f"{NAME} {ID} {PLACE}"
PERSONAL = ("quaggs", "zebedi", "mrn4711")
WORDS = (*PERSONAL, "st. planted")
"""What is searched for, in any case, in UTF-8 and UTF-16; as short as the shortest field of a header."""

SPLITS = {"train": ["a", "b", "c", "d"], "val": ["e"], "test": ["f"]}
SIZE = 16
TEXT_TAGS = (
    *("PatientName", "OtherPatientNames", "PatientBirthName", "PatientComments", "PatientID", "OtherPatientIDs"),
    *("ReferringPhysicianName", "OperatorsName", "PerformingPhysicianName", "AccessionNumber", "StudyID"),
    *("InstitutionName", "InstitutionAddress", "StationName", "Manufacturer", "DeviceSerialNumber"),
    *("StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "DerivationDescription"),
    *("PatientAddress", "ContrastBolusAgent"),
)
READ_TAGS = (
    *("PhotometricInterpretation", "Modality", "ImageType", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "ImagePositionPatient", "NumberOfFrames"),
    *("ImageOrientationPatient", "RescaleSlope", "RescaleIntercept", "SpecificCharacterSet", "Rows", "BitsAllocated"),
    *(
        "SamplesPerPixel",
        "PixelRepresentation",
        "PlanarConfiguration",
        "WindowCenter",
        "PerFrameFunctionalGroupsSequence",
    ),
)
"""Tags that decide how a file is read, and so what is said of it."""


# What is planted


def _plant_dicom(path: Path) -> None:
    """Names in texts, private tags, sequences, the file's own header and what lies before and behind it all."""
    dataset = pydicom.dcmread(path)
    dataset.preamble = NAME.encode().ljust(128, b"\0")
    for keyword in TEXT_TAGS:
        setattr(dataset, keyword, PLACE if keyword.startswith(("Inst", "Station", "Study", "Protocol")) else NAME)
    dataset.PatientID = dataset.AccessionNumber = ID
    within = Dataset()
    within.PatientID, within.PatientName = ID, NAME
    for level in (within, dataset):
        private = level.private_block(0x0011, PLACE, create=True)
        private.add_new(1, "LO", ALL)
        private.add_new(2, "UN", ALL.encode("utf-16-le"))
    dataset.OtherPatientIDsSequence = [within]
    dataset.DataSetTrailingPadding = ALL.encode()
    dataset.file_meta.SourceApplicationEntityTitle = NAME
    dataset.file_meta.ImplementationVersionName = ID
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.840.99999.1"
    dataset.file_meta.PrivateInformation = ALL.encode()
    dataset.save_as(path)


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E], exif[0x013B], exif[0x9C9D] = NAME, ID, ALL.encode("utf-16-le")
    exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + ALL.encode("utf-16-be")
    return exif


def _write_png(path: Path, pixels: Voxels) -> None:
    notes = PngInfo()
    notes.add_text("Author", ALL)
    notes.add_text("Comment", ALL, zip=True)
    notes.add_itxt("Title", ALL, zip=False)
    Image.fromarray(pixels).save(path, pnginfo=notes, exif=_exif())


def _write_jpeg(path: Path, pixels: Voxels) -> None:
    Image.fromarray(pixels).save(path, exif=_exif(), comment=ALL.encode(), quality=95)


def _write_tiff(path: Path, pixels: Voxels) -> None:
    private = [(315, "s", 0, NAME, True), (316, "s", 0, PLACE, True), (65000, "s", 0, ID, True)]
    tifffile.imwrite(path, pixels, description=ALL, software=ALL, extratags=private, metadata=None)


def _write_dicom_picture(path: Path, pixels: Voxels) -> None:
    series = f"1.2.{ord(path.stem[0])}"
    placed = {"ImagePositionPatient": [1, 2, 3], "FrameOfReferenceUID": f"{series}.2"}
    write_dicom(path, pixels, Modality="US", SeriesInstanceUID=series, StudyInstanceUID=f"{series}.1", **placed)
    _plant_dicom(path)


def _write_nifti(path: Path, voxels: Voxels, affine: Voxels, kind: Any = Nifti1Image) -> None:
    image = kind(voxels, affine)
    for field, size in (("descrip", 80), ("aux_file", 24), ("intent_name", 16), ("db_name", 18), ("data_type", 10)):
        if field in image.header:
            image.header[field] = ALL.encode()[:size]
    if "unused_str" in image.header:
        image.header["unused_str"] = ALL.encode()[:15]
    image.header.extensions.append(Nifti1Extension("comment", ALL.encode()))
    nibabel.save(image, path)


def _write_itk(path: Path, voxels: Voxels) -> None:
    simpleitk = pytest.importorskip("SimpleITK")
    image = simpleitk.GetImageFromArray(voxels.T)
    for key in ("Patient", "0010|0010"):
        image.SetMetaData(key, ALL)
    simpleitk.WriteImage(image, str(path))


# Where it is looked for


def _words_in(content: bytes) -> list[str]:
    lowered = content.lower()
    encodings = ("utf-8", "utf-16-le", "utf-16-be")
    return [word for word in WORDS if any(word.encode(encoding) in lowered for encoding in encodings)]


def _unpacked(content: bytes) -> Iterator[bytes]:
    """The bytes of a file, and of what is compressed or encoded within."""
    yield content
    if content.startswith(b"\x1f\x8b"):
        yield gzip.decompress(content)
    if content.startswith((b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*")):
        picture = Image.open(io.BytesIO(content))
        yield repr((picture.info, dict(picture.getexif()))).encode()
    for encoded in re.findall(rb"data:image/\w+;base64,([A-Za-z0-9+/=]+)", content):
        yield from _unpacked(base64.b64decode(encoded))


def _assert_none_planted(folder: Path, least: int) -> None:
    """No file below the folder, of which there are at least so many, holds a word, and no path does."""
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert len(written) >= least
    for path in written:
        assert [
            _words_in(part) for part in (str(path).encode(), *_unpacked(path.read_bytes())) if _words_in(part)
        ] == [], path


def _assert_all_planted(folder: Path) -> None:
    for path in folder.rglob("*.*"):
        if path.is_file() and path.name != "dataset.json":
            found = {word for part in _unpacked(path.read_bytes()) for word in _words_in(part)}
            assert found >= {"quaggs"}, path


def _run_all(run: Run, verbs: list[list[object]], caplog: pytest.LogCaptureFixture) -> None:
    """Run the verbs, none of which may print or log a word."""
    for name in ("genseg", "PIL", "nibabel", "pydicom", "tifffile"):
        caplog.set_level(logging.DEBUG, name)
    for verb in verbs:
        code, *printed = run(*verb)
        assert code == 0, printed
        assert _words_in("".join(printed).encode()) == [], verb
    assert _words_in(caplog.text.encode()) == []


def _options(settings: dict[str, Any], *left_out: str) -> list[object]:
    return [
        word
        for name, value in settings.items()
        if name not in left_out
        for word in (f"--{name.replace('_', '-')}", value)
    ]


# The tests


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Six gray pictures of every format, with masks in PNG and TIFF, all with names in their headers."""
    phantoms = write_phantoms(tmp_path / "phantoms", "gray", 6, size=32)
    folder = tmp_path / "scans"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    writers = {
        **{"a.dcm": _write_dicom_picture, "b.dcm": _write_dicom_picture, "c.png": _write_png},
        **{"d.jpg": _write_jpeg, "e.tif": _write_tiff, "f.dcm": _write_dicom_picture},
    }
    for number, (name, write) in enumerate(writers.items()):
        image, mask = (
            np.asarray(Image.open(phantoms / part / f"phantom_00{number}.png")) for part in ("images", "masks")
        )
        write(folder / "images" / name, image)
        if number % 2:
            _write_tiff(folder / "masks" / f"{name[0]}.tif", mask)
        else:
            _write_png(folder / "masks" / f"{name[0]}.png", mask)
    (folder / "dataset.json").write_text(json.dumps({"splits": SPLITS}))
    _assert_all_planted(folder)
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Six volumes of every format, with masks in NIfTI, all with names in their headers."""
    phantoms = write_phantoms(tmp_path / "phantoms", "volume", 6, size=SIZE)
    folder = tmp_path / "scans"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    in_lps, in_series = (np.diag([-1.0, -1.0, 1.0, 1.0]), np.diag([-0.5, -0.75, 2.5, 1.0]))
    in_series[:3, 3] = -10, -20, 30
    for number, name in enumerate("abcdef"):
        image, mask = (
            np.asarray(nibabel.load(phantoms / part / f"phantom_00{number}.nii.gz").dataobj)
            for part in ("images", "labels")
        )
        path, affine = folder / "images" / name, in_lps
        if name in "af":
            series = f"1.2.{number}"
            tags = {
                "StudyInstanceUID": series,
                "SeriesInstanceUID": f"{series}.1",
                "FrameOfReferenceUID": f"{series}.2",
            }
            write_series(path, image.astype(np.int16).transpose(2, 1, 0), Modality="MR", **tags)
            for file in path.iterdir():
                _plant_dicom(file)
            affine = in_series
        elif name in "bc":
            _write_nifti(path.with_suffix(".nii.gz"), image, affine, Nifti2Image if name == "b" else Nifti1Image)
        else:
            _write_itk(path.with_suffix(".nrrd" if name == "d" else ".mha"), image)
        _write_nifti(folder / "masks" / f"{name}.nii.gz", mask, affine)
    (folder / "dataset.json").write_text(json.dumps({"splits": SPLITS}))
    _assert_all_planted(folder)
    return folder


# Before those that make networks tiny for the rest of this module: this one loads a model of the usual size.
@pytest.mark.fault(28)
def test_a_dicom_segmentation_names_the_patient_and_nothing_else_does(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    pytest.importorskip("highdicom")
    (tmp_path / "images").mkdir()
    pixels = np.asarray(Image.open(rgb_phantoms / "images" / "phantom_000.png").convert("L"))
    _write_dicom_picture(tmp_path / "images" / "a.dcm", pixels)
    code, *printed = run("predict", rgb_run, tmp_path / "images", "-o", tmp_path / "masks", "--dicom-seg")
    assert code == 0, printed
    segmentation = tmp_path / "masks" / "a.dcm"
    stored = pydicom.dcmread(segmentation)
    assert (stored.PatientName, stored.PatientID) == (NAME, ID)
    assert [element.tag for element in stored if element.tag.is_private] == []
    assert _words_in(stored.preamble + repr(stored.file_meta).encode()) == []
    segmentation.unlink()
    _assert_none_planted(tmp_path / "masks", 3)


@pytest.mark.fault(28)
def test_of_pictures_nothing_that_any_verb_writes_or_says_holds_a_name(
    run: Run, pictures: Path, tmp_path: Path, tiny_training: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    made = out / "run"
    verbs: list[list[object]] = [
        ["check", pictures, "-o", out / "checked", "--mask-repair", "nearest", "--all-pairs"],
        ["plan", pictures, "-o", out / "plan.yaml", *_options(tiny_training)],
        ["train", pictures, "-o", made, *_options(tiny_training)],
        ["predict", made, pictures, "-o", out / "masks", "--overlays", "--confidence", "--contours"],
        ["evaluate", made, pictures, "-o", out / "evaluation"],
        ["generate", made, "-n", 2, "--copies", "keep", "-o", out / "synthetic"],
        ["export", made, pictures, "--to", "openvino", "-o", out / "model.xml"],
        ["export", made, pictures, "--to", "bundle", "-o", out / "bundle"],
    ]
    _run_all(run, verbs, caplog)
    _assert_none_planted(out, 70)


@pytest.mark.fault(28)
def test_of_volumes_nothing_that_any_verb_writes_or_says_holds_a_name(
    run: Run, volumes: Path, tmp_path: Path, tiny_training: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "out"
    made = out / "run"
    alone = ["--method", "strong-augmentation", *_options(tiny_training, "pretraining")]
    verbs: list[list[object]] = [
        ["check", volumes, "-o", out / "checked", "--all-pairs"],
        ["train", volumes, "-o", made, *alone],
        ["predict", made, volumes / "images", "-o", out / "masks", "--overlays", "--confidence", "--contours"],
        ["evaluate", made, volumes, "-o", out / "evaluation"],
        ["export", made, volumes, "--to", "onnx", "-o", out / "model.onnx"],
    ]
    _run_all(run, verbs, caplog)
    assert {path.name for path in (out / "masks").glob("?.*")} == {
        *("a.nii.gz", "b.nii.gz", "c.nii.gz", "d.nrrd", "e.mha", "f.nii.gz")
    }
    _assert_none_planted(out, 40)


@pytest.mark.fault(28)
def test_refused_files_are_named_without_what_their_headers_say(run: Run, pictures: Path, tmp_path: Path) -> None:
    images = sorted((pictures / "images").iterdir())
    for path in (images[0], *images[2:5]):
        path.write_bytes(path.read_bytes()[:-300])
    images[1].write_bytes(images[1].read_bytes().replace(b"MONOCHROME2", b"Quaggs^Zeb "))
    _write_nifti(pictures / "images" / "f.nii", np.zeros((9, 9, 9), np.complex64), np.eye(4))
    images[5].unlink()
    code, printed, message = run("check", pictures, "-o", tmp_path / "out")
    assert code == 2
    assert [name for name in ("a.dcm", "b.dcm", "c.png", "d.jpg", "e.tif", "f.nii") if name not in message] == []
    assert _words_in((printed + message).encode()) == []


def _said(path: Path) -> str:
    """The faults that a file is refused for, or the warnings that come with it."""
    try:
        return " ".join(map(str, read_image(path).warnings))
    except DataError as error:
        return str(error)


@pytest.mark.fault(28)
@pytest.mark.parametrize("keyword", READ_TAGS)
def test_a_name_in_the_wrong_tag_is_not_said(
    tmp_path: Path, keyword: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_series(tmp_path / "a", np.zeros((4, 9, 8), np.int16))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in folder.iterdir():
            _misuse(path, keyword)
    caplog.clear()
    caplog.set_level(logging.DEBUG)
    said = [_said(path) for path in (*folder.iterdir(), folder)]
    assert _words_in("".join([*said, caplog.text, *capsys.readouterr()]).encode()) == []


def _misuse(path: Path, keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    assert tag is not None
    dataset = pydicom.dcmread(path)
    dataset[tag] = DataElement(tag, "LO", ALL)
    dataset.save_as(path)


@pytest.mark.fault(28)
def test_a_name_as_the_kind_of_compression_is_not_said(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "a", np.zeros((4, 9, 8), np.int16))
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", NAME.encode().ljust(20, b"\0")))
        assert "unsupported-compression" in _said(path)
        assert _words_in(_said(path).encode()) == []
    assert _words_in(_said(folder).encode()) == []
