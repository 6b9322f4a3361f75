"""Reading images and masks of every supported format, told apart by content, never by name.

Each format's module is imported when a file of that format is first met, so that importing this package is quick.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import DataError
from genseg.read.case import Scan
from genseg.read.formats import HEAD_BYTES, Format, Reader, identify, stem
from genseg.read.options import DEFAULT_OPTIONS, ReadOptions
from genseg.read.pixels import finite, label_values, mask_channels
from genseg.read.source import (
    Source,
    decoding,
    empty_axis,
    is_folder,
    memory_for,
    read_source,
    suffix_warnings,
)

__all__ = ["ReadOptions", "is_scan_file", "read_image", "read_mask", "stem"]


def read_image(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Scan:
    """Read an image from a file, or from a folder that holds one DICOM series.

    Pictures come as `(channel, row, column)`, volumes as `(channel, i, j, k)`; nothing is rescaled but by the slope
    and intercept of the file. Integers keep their type, fractions come as float32.

    Raises:
        DataError: every fault of the file that could be found, see `genseg.errors.FaultCode`.
        MissingExtraError: NRRD or MetaImage without SimpleITK.
    """
    return _read(path, options, as_mask=False)


def read_mask(path: Path, options: ReadOptions = DEFAULT_OPTIONS) -> Scan:
    """Read a mask as whole numbers `(1, *spatial)`, or as colours `(3, row, column)` uint8.

    A palette picture gives its indices, a 1-bit picture 0 and 1, equal colours in all channels one channel, and
    fractions within 0.001 of a whole number that number.

    Raises:
        DataError: as `read_image`, and MASK_NOT_INTEGER or CHANNEL_MISMATCH for what holds no labels.
        MissingExtraError: NRRD or MetaImage without SimpleITK.
    """
    scan = _read(path, options, as_mask=True)
    name = printable(path)
    with memory_for(name):
        return replace(scan, pixels=mask_channels(label_values(scan.pixels, name), name))


def is_scan_file(path: Path) -> bool:
    """Whether the content of a file is of a format that can be read; False for folders and what cannot be opened."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as stream:
            return identify(stream.read(HEAD_BYTES)) is not None
    except (OSError, ValueError):
        return False


def _read(path: Path, options: ReadOptions, as_mask: bool) -> Scan:
    scan = _read_folder(path, options, as_mask) if is_folder(path) else _read_file(path, options, as_mask)
    if not scan.pixels.size:
        raise DataError([empty_axis(printable(path), scan.spatial)])
    with memory_for(printable(path)):
        pixels, warnings = finite(scan.pixels, printable(path), options)
    return replace(scan, pixels=pixels, warnings=scan.warnings + warnings)


def _read_folder(path: Path, options: ReadOptions, as_mask: bool) -> Scan:
    from genseg.read import dicom_series

    with decoding(printable(path), Format.DICOM):
        return dicom_series.read_series(path, as_mask, options.tilt)


def _read_file(path: Path, options: ReadOptions, as_mask: bool) -> Scan:
    source = read_source(path)
    with decoding(source.name, source.format):
        scan = _decode(source, options, as_mask)
    return replace(scan, warnings=suffix_warnings(source) + scan.warnings)


def _decode(source: Source, options: ReadOptions, as_mask: bool) -> Scan:
    match source.format:
        case Format.PNG | Format.JPEG | Format.BMP:
            from genseg.read import raster

            return raster.read(source, as_mask)
        case Format.TIFF:
            from genseg.read import tiff

            return tiff.read(source, options, as_mask)
        case Format.NIFTI | Format.NIFTI_GZ:
            from genseg.read import nifti

            return nifti.read(source, options)
        case Format.NRRD | Format.META:
            from genseg.read import itk

            return itk.read(source, options)
        case Format.DICOM:
            from genseg.read import dicom

            return dicom.read(source, as_mask, options.tilt)
        case Reader():
            from genseg.read import registered

            return registered.read(source, source.format)
