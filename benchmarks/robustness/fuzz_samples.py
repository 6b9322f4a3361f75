"""Small valid files of every format that is read, each in a folder of its own: what `fuzz.py` damages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)

from benchmarks.robustness.dicom_files import PATIENT, write_dicom
from benchmarks.robustness.fuzz_models import model_samples
from genseg.errors import MissingExtraError
from genseg.read import is_scan_file
from genseg.read.formats import HEAD_BYTES, identify
from genseg.read.itk import load_simpleitk
from genseg.synthetic.phantoms import write_phantoms

LARGEST_REAL = 60_000
"""Bytes: larger files of a data folder are left alone, for the time that they take."""

Pixels = NDArray[Any]
GRAY: Pixels = (np.add.outer(np.arange(24), np.arange(20)) * 5 % 251).astype(np.uint8)
RGB: Pixels = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)
VOLUME: Pixels = (np.arange(12 * 10 * 9).reshape(12, 10, 9) % 1999).astype(np.int16)
AFFINE: Pixels = np.array([[-2.0, 0, 0, 30], [0, 3.0, 0, -40], [0, 0, 4.0, 50], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Sample:
    """A valid input. folder: holds it and nothing else; target: what is read, a file of the folder or "" for all of it.

    damaged: names of the files that may be damaged.
    """

    name: str
    format: str
    folder: Path
    target: str
    damaged: tuple[str, ...]


def make_samples(folder: Path) -> list[Sample]:
    """Samples of every format that can be written here, made below `folder`."""
    makers: dict[str, Callable[[Path], None]] = {
        "png": _png,
        "jpeg": _jpeg,
        "bmp": _bmp,
        "tiff": _tiff,
        "nifti": _nifti,
        "itk": _itk,
        "dicom": _dicom,
    }
    samples: list[Sample] = []
    for name, make in makers.items():
        drafts = folder / f"{name}-drafts"
        drafts.mkdir(parents=True)
        make(drafts)
        samples += _alone(sorted(drafts.iterdir()), folder / name)
    return (
        samples
        + list(_series(folder))
        + list(_data_sets(folder))
        + [_description(*one) for one in model_samples(folder)]
    )


def _description(format: str, folder: Path, file: str) -> Sample:
    return Sample(folder.name, format, folder, "", (file,))


def real_samples(data: Path, folder: Path, per_folder: int = 2) -> list[Sample]:
    """The smallest files of each folder below `data`, copied below `folder`."""
    found: list[Path] = []
    for parent in sorted(path for path in data.glob("*/*") if path.is_dir()):
        scans = [path for path in parent.iterdir() if path.is_file() and path.stat().st_size <= LARGEST_REAL]
        found += [p for p in sorted(scans, key=lambda p: (p.stat().st_size, p.name))[:per_folder] if is_scan_file(p)]
    return [_sample(path, folder / f"{number:03d}", _real_name(path)) for number, path in enumerate(found)]


def _real_name(path: Path) -> str:
    return "/".join(path.parts[-3:])


def _alone(paths: Sequence[Path], folder: Path) -> Iterator[Sample]:
    """One sample for each file but pixel files, which go along with the headers that name them."""
    pixel_files = [
        path for path in paths if path.suffix in {".raw", ".zraw", ".gz"} and not path.name.endswith(".nii.gz")
    ]
    for path in paths:
        if path not in pixel_files:
            beside = [other for other in pixel_files if other.name.startswith(path.stem)]
            yield _sample(path, folder / path.name, path.name, beside)


def _sample(path: Path, folder: Path, name: str, beside: Sequence[Path] = ()) -> Sample:
    folder.mkdir(parents=True)
    for one in (path, *beside):
        shutil.copy(one, folder / one.name)
    format = identify(path.read_bytes()[:HEAD_BYTES])
    return Sample(name, str(format), folder, path.name, tuple(one.name for one in (path, *beside)))


def _png(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    pictures = {"gray": GRAY, "rgb": RGB, "deep": GRAY.astype(np.uint16) * 257, "alpha": np.dstack([RGB, GRAY])}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png", exif=exif if name == "rgb" else None)
    palette = Image.fromarray(RGB).quantize(8)
    palette.save(folder / "palette.png", transparency=3)
    Image.fromarray(GRAY).convert("1").save(folder / "bits.png")
    frames = [Image.fromarray(GRAY), Image.fromarray(255 - GRAY)]
    frames[0].save(folder / "animated.png", save_all=True, append_images=frames[1:])


def _jpeg(folder: Path) -> None:
    exif = Image.Exif()
    exif[274] = 8
    Image.fromarray(GRAY).save(folder / "gray.jpg")
    Image.fromarray(RGB).save(folder / "rgb.jpg", exif=exif)
    Image.fromarray(RGB).save(folder / "progressive.jpg", progressive=True, restart_marker_blocks=2)
    Image.fromarray(RGB).convert("CMYK").save(folder / "cmyk.jpg")


def _bmp(folder: Path) -> None:
    Image.fromarray(GRAY).save(folder / "gray.bmp")
    Image.fromarray(RGB).save(folder / "rgb.bmp")
    Image.fromarray(GRAY).convert("1").save(folder / "bits.bmp")


def _tiff(folder: Path) -> None:
    write = tifffile.imwrite
    write(folder / "gray.tif", GRAY)
    write(folder / "rgb.tif", RGB, photometric="rgb", rowsperstrip=8)
    write(folder / "float.tif", GRAY.astype(np.float32) / 7)
    write(folder / "deflate.tif", GRAY.astype(np.uint16), compression="zlib")
    write(folder / "tiled.tif", np.tile(GRAY, (2, 2)), tile=(16, 16), compression="zlib")
    write(folder / "big.tif", GRAY, bigtiff=True, byteorder=">")
    write(folder / "planes.tif", RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    write(folder / "white.tif", GRAY, photometric="miniswhite")
    write(folder / "pages.tif", np.moveaxis(VOLUME, -1, 0), photometric="minisblack")
    write(folder / "ome.ome.tif", np.moveaxis(VOLUME, -1, 0), photometric="minisblack", metadata={"axes": "ZYX"})
    write(folder / "imagej.tif", np.moveaxis(VOLUME, -1, 0), imagej=True, metadata={"axes": "ZYX"})
    for compression in ("tiff_lzw", "packbits", "jpeg"):
        Image.fromarray(RGB).save(folder / f"{compression}.tif", compression=compression)
    Image.fromarray(GRAY).convert("1").save(folder / "fax.tif", compression="group4")
    Image.fromarray(RGB).quantize(8).save(folder / "palette.tif")


def _nifti(folder: Path) -> None:
    pictures = {
        "integers": VOLUME,
        "fractions": VOLUME.astype(np.float32),
        "doubles": VOLUME.astype(">f8"),
        "channels": np.stack([VOLUME, VOLUME], axis=-1),
        "flat": VOLUME[..., 0],
        "labels": (VOLUME % 3).astype(np.uint8),
    }
    for name, voxels in pictures.items():
        image = nibabel.Nifti1Image(voxels, AFFINE)
        image.header.set_xyzt_units("mm")
        image.header["descrip"] = PATIENT
        if name == "fractions":
            image.header.set_slope_inter(2.0, 1.0)
            image.set_qform(AFFINE, 1)
        for suffix in (".nii", ".nii.gz"):
            nibabel.save(image, folder / f"{name}{suffix}")
    nibabel.save(nibabel.Nifti2Image(VOLUME, AFFINE), folder / "second.nii")


def _itk(folder: Path) -> None:
    """NRRD and MetaImage, if SimpleITK is there."""
    try:
        simpleitk = load_simpleitk()
    except MissingExtraError:
        return
    image = simpleitk.GetImageFromArray(VOLUME)
    image.SetSpacing((2.0, 3.0, 4.0))
    image.SetOrigin((10.0, 20.0, 30.0))
    for suffix in (".nrrd", ".mha", ".mhd", ".nhdr"):
        simpleitk.WriteImage(image, str(folder / f"plain-{suffix[1:]}{suffix}"))
        simpleitk.WriteImage(image, str(folder / f"packed-{suffix[1:]}{suffix}"), useCompression=True)
    for suffix in (".nrrd", ".mha"):
        picture = simpleitk.GetImageFromArray(RGB, isVector=True)
        simpleitk.WriteImage(picture, str(folder / f"picture{suffix[1:]}{suffix}"))


def _write_slice(path: Path, pixels: Pixels, **tags: Any) -> Path:
    """A DICOM file that says where it lies, so that this can be damaged too."""
    return write_dicom(path, pixels, **{"ImagePositionPatient": [10.0, 20.0, 30.0], **tags})


def _dicom(folder: Path) -> None:
    deep = VOLUME[:, :, 0].astype(np.uint16)
    _write_slice(folder / "ct.dcm", VOLUME[..., 0], RescaleSlope=2, RescaleIntercept=-1024)
    _write_slice(folder / "inverted.dcm", deep, PhotometricInterpretation="MONOCHROME1")
    _write_slice(folder / "rgb.dcm", RGB)
    _write_slice(folder / "implicit.dcm", deep, syntax=ImplicitVRLittleEndian)
    _write_slice(folder / "deflated.dcm", deep, syntax=DeflatedExplicitVRLittleEndian)
    _write_slice(folder / "palette.dcm", GRAY % 4, **_palette())
    _write_slice(folder / "film.dcm", np.stack([GRAY, GRAY]), NumberOfFrames=2)
    _write_slice(folder / "enhanced.dcm", np.moveaxis(VOLUME, -1, 0), NumberOfFrames=VOLUME.shape[-1], **_placed())
    for name, syntax, packed in _packed():
        _write_slice(folder / f"{name}.dcm", GRAY, syntax=syntax, PixelData=encapsulate([packed]))
    _compress(_write_slice(folder / "rle.dcm", deep))
    _pack_by_gdcm(folder, deep)


def _compress(path: Path) -> None:
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path, enforce_file_format=True)


def _pack_by_gdcm(folder: Path, pixels: Pixels) -> None:
    """JPEG without loss, and JPEG-LS, if GDCM is there."""
    try:
        import gdcm
    except ImportError:
        return
    for name, syntax in (
        ("lossless", gdcm.TransferSyntax.JPEGLosslessProcess14_1),
        ("jpegls", gdcm.TransferSyntax.JPEGLSLossless),
    ):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(_write_slice(folder / f"{name}.dcm", pixels)))
        reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
        change.SetInput(reader.GetImage())
        change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.SetFileName(str(folder / f"{name}.dcm"))
        writer.Write()


def _packed() -> Iterator[tuple[str, str, bytes]]:
    """Pictures packed by another format's encoder, with the transfer syntax for it."""
    for name, format, syntax in (("jpeg", "JPEG", JPEGBaseline8Bit), ("jpeg2000", "JPEG2000", JPEG2000Lossless)):
        content = BytesIO()
        settings: dict[str, Any] = {"no_jp2": True} if format == "JPEG2000" else {}
        Image.fromarray(GRAY).save(content, format, **settings)
        yield name, syntax, content.getvalue()


def _palette() -> dict[str, Any]:
    table = np.array([0, 80, 160, 255], np.uint16) * 257
    colours = ("Red", "Green", "Blue")
    tags: dict[str, Any] = {f"{colour}PaletteColorLookupTableDescriptor": [4, 0, 16] for colour in colours}
    tags |= {f"{colour}PaletteColorLookupTableData": table.tobytes() for colour in colours}
    return {"PhotometricInterpretation": "PALETTE COLOR", **tags}


def _placed() -> dict[str, Any]:
    """Where each frame of an enhanced file lies."""
    frames = []
    for index in range(VOLUME.shape[-1]):
        place = Dataset()
        place.ImagePositionPatient = [10.0, 20.0, 30.0 + 2.5 * index]
        frames.append(Dataset())
        frames[-1].PlanePositionSequence = Items([place])
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.75, 0.5]
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Items([orientation]), Items([measures])
    return {"PerFrameFunctionalGroupsSequence": Items(frames), "SharedFunctionalGroupsSequence": Items([shared])}


def _series(folder: Path) -> Iterator[Sample]:
    series = folder / "series"
    series.mkdir()
    for index in range(4):
        place = [10.0, 20.0, 30.0 + 2.5 * index]
        write_dicom(series / f"{index}.dcm", VOLUME[..., index], ImagePositionPatient=place)
    yield Sample("series", "DICOM series", series, "", tuple(f"{index}.dcm" for index in range(4)))


CSV_KINDS = (
    {"name": "listed", "head": "image,mask,patient,split", "encoding": "utf-8", "between": ","},
    {"name": "listed-cp1252", "head": "image,mask,patient,split", "encoding": "cp1252", "between": ";"},
    {"name": "listed-utf16", "head": "image,mask,subject_id,subset", "encoding": "utf-16", "between": "\t"},
    {"name": "listed-bom", "head": "img_path,label_path,case,fold", "encoding": "utf-8-sig", "between": ","},
)
"""Lists as spreadsheets of several kinds write them."""


def _data_sets(folder: Path) -> Iterator[Sample]:
    """Lists and descriptions of data sets, of which the text is damaged and not the scans."""
    for kind in ("rgb", "gray", "volume"):
        phantoms = write_phantoms(folder / f"phantoms-{kind}", kind, cases=3, size=16)  # type: ignore[arg-type]
        yield Sample(f"phantoms-{kind}", "dataset.json", phantoms, "", ("dataset.json",))
    gray = phantoms.parent / "phantoms-gray"
    yield from (_csv_list(folder, gray, **kind) for kind in CSV_KINDS)
    yield _decathlon(folder, phantoms)


def _csv_list(folder: Path, phantoms: Path, name: str, head: str, encoding: str, between: str) -> Sample:
    listed = folder / name
    shutil.copytree(phantoms, listed, ignore=shutil.ignore_patterns("*.json"))
    images = sorted(path.name for path in (listed / "images").iterdir())
    rows = [f"images/{image},masks/{image},M\u00fcller {number},train" for number, image in enumerate(images)]
    text = "\n".join([head, *rows]).replace(",", between) + "\n"
    (listed / "list.csv").write_bytes(text.encode(encoding))
    return Sample(name, "CSV list", listed, "list.csv", ("list.csv",))


def _decathlon(folder: Path, phantoms: Path) -> Sample:
    decathlon = folder / "decathlon"
    shutil.copytree(phantoms, decathlon)
    shutil.move(decathlon / "images", decathlon / "imagesTr")
    shutil.move(decathlon / "labels", decathlon / "labelsTr")
    names = sorted(path.name for path in (decathlon / "imagesTr").iterdir())
    described = {
        "name": "phantoms",
        "labels": {"0": "background", "1": "head", "2": "tail"},
        "modality": {"0": "MRI"},
        "numTraining": len(names),
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }
    (decathlon / "dataset.json").write_text(json.dumps(described))
    return Sample("decathlon", "dataset.json", decathlon, "", ("dataset.json",))
