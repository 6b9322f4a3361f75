"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd), decoded with SimpleITK, which is an optional package."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from genseg.data.case import Scan
from genseg.data.readers.formats import Format
from genseg.data.readers.geometry import Affine, affine_faults, extent_warnings, ras_affine, spacing_faults, spacing_of
from genseg.data.readers.options import ReadOptions
from genseg.data.readers.pixels import Pixels, native, picture_modality
from genseg.data.readers.source import Source, promise_faults, read_bytes
from genseg.errors import DataError, Fault, FaultCode, MissingExtraError

_READERS = {Format.NRRD: "NrrdImageIO", Format.META: "MetaImageIO"}
# Wider than the formats' definitions, as SimpleITK is: it takes a colon, other white space and lines that end in CR.
_DATA_FILE = {
    Format.NRRD: re.compile(rb"(?:\A|[\r\n])\s*data ?file\s*:(?!=)[ \t]*([^\r\n]*)", re.IGNORECASE),
    Format.META: re.compile(rb"ElementDataFile\s*[=:][ \t]*([^\r\n]*)", re.IGNORECASE),
}
_LINE_ENDS = re.compile(rb"[\r\n]+")
_EMPTY_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_HEADER_BYTES = 65536
_LONGEST_FIELD = 500
_FREE_LINES = (b"#", b"content:")


def load_simpleitk() -> ModuleType:
    """The SimpleITK module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError:
        raise MissingExtraError("SimpleITK", "itk", "reading or writing NRRD and MetaImage files") from None
    return SimpleITK


def read(source: Source, options: ReadOptions) -> Scan:
    """Read a picture as `(channel, row, column)` or a volume as `(channel, i, j, k)`.

    Raises:
        DataError: UNSUPPORTED_PIXELS (complex), UNDECLARED_CHANNELS (vectors in a volume, four axes), BAD_SPACING,
            BAD_AFFINE, TOO_LARGE, or OUTSIDE_FOLDER (the header names a pixel file elsewhere).
        MissingExtraError: SimpleITK is not installed.
    """
    simpleitk = load_simpleitk()
    _check_lines(source)
    sha256, held = _hash_with_pixel_file(source)
    reader = open_header(source)
    _check_header(reader, simpleitk, source.name, held, options)
    image = reader.Execute()
    pixels = native(_channels_first(simpleitk.GetArrayFromImage(image), image))
    if image.GetDimension() == 2:
        columns, rows = image.GetSpacing()
        return Scan(pixels, (float(rows), float(columns)), None, picture_modality(len(pixels)), sha256)
    affine = _affine(image)
    spacing = spacing_of(affine)
    return Scan(pixels, spacing, affine, "", sha256, extent_warnings(pixels.shape[1:], spacing, source.name))


def open_header(source: Source) -> Any:
    """A SimpleITK image reader that has read the file's header: size, spacing, origin, direction, pixel type."""
    reader = load_simpleitk().ImageFileReader()
    reader.SetImageIO(_READERS[source.format])
    reader.SetFileName(str(source.path))
    reader.ReadImageInformation()
    return reader


def _check_lines(source: Source) -> None:
    """Raise UNREADABLE for an NRRD header with a field so long that SimpleITK's reader ends the whole program on it."""
    if source.format is not Format.NRRD:
        return
    lines = _LINE_ENDS.split(_header(source))
    fields = (line for line in lines if not line.startswith(_FREE_LINES) and b":=" not in line)
    longest = max(map(len, fields))
    if longest > _LONGEST_FIELD:
        found, cure = f"a header field of {longest} characters", "Copy or export the file again."
        expected = f"at most {_LONGEST_FIELD}"
        raise DataError([Fault(FaultCode.UNREADABLE, source.name, found, expected, cure)])


def _header(source: Source) -> bytes:
    """The lines of an NRRD file before the empty one that ends its header; the beginning of a MetaImage file."""
    if source.format is Format.META:
        return source.data[:_HEADER_BYTES]
    end = _EMPTY_LINE.search(source.data)
    return source.data[: end.start() if end else None]


def _hash_with_pixel_file(source: Source) -> tuple[str, int]:
    """Hash and bytes of the file, and of the pixel file too where the header names one.

    Raises:
        DataError: OUTSIDE_FOLDER where that file lies elsewhere than beside the header; UNREADABLE where it is absent.
    """
    named = {match[1].strip() for match in _DATA_FILE[source.format].finditer(_header(source))}
    if not named and source.format is Format.META:
        raise DataError([_unnamed(source.name)])
    if {name.upper() for name in named} <= {b"LOCAL"}:
        return source.sha256, len(source.data)
    name = named.pop().decode("utf-8", "surrogateescape")
    if named or Path(name).name != name or name.upper().startswith("LIST"):
        raise DataError([_elsewhere(source.name)])
    pixel_bytes = read_bytes(source.path.with_name(name))
    return hashlib.sha256(source.data + pixel_bytes).hexdigest(), len(pixel_bytes)


def _unnamed(name: str) -> Fault:
    found = f"no word on where the pixels are, in the first {_HEADER_BYTES} bytes"
    return Fault(FaultCode.UNREADABLE, name, found, "ElementDataFile = LOCAL", "Copy or export the file again.")


def _elsewhere(name: str) -> Fault:
    return Fault(
        FaultCode.OUTSIDE_FOLDER,
        name,
        "a header that names several pixel files, or one in another folder",
        "one pixel file beside the header",
        "Save header and pixels in one file (.nrrd, .mha).",
    )


def _check_header(reader: Any, simpleitk: ModuleType, name: str, held: int, options: ReadOptions) -> None:
    """Raise all faults that the header tells before any pixel is read."""
    components, dimension = reader.GetNumberOfComponents(), reader.GetDimension()
    faults = spacing_faults(reader.GetSpacing(), name)
    kind = simpleitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in kind or "label" in kind:
        cure = "Convert it to a scalar volume."
        faults.append(Fault(FaultCode.UNSUPPORTED_PIXELS, name, f"pixels of type {kind}", "one number a pixel", cure))
    elif dimension not in (2, 3) or (dimension == 3 and components > 1 and not options.channels_last_axis):
        faults.append(_undeclared(name, dimension, components))
    promised = int(np.prod(reader.GetSize(), dtype=object)) * components * np.dtype(np.float64).itemsize
    faults += promise_faults(name, promised, held)
    if dimension == 3 and not faults:
        faults += affine_faults(_affine(reader), name)
    if faults:
        raise DataError(faults)


def _undeclared(name: str, dimension: int, components: int) -> Fault:
    return Fault(
        FaultCode.UNDECLARED_CHANNELS,
        name,
        f"{dimension} axes with {components} components a pixel",
        "a picture, or a volume of one number a voxel unless the data set declares its channels",
        "Save one volume a file.",
    )


def _affine(image: Any) -> Affine:
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return ras_affine(axes, np.array(image.GetOrigin()))


def _channels_first(array: Pixels, image: Any) -> Pixels:
    """SimpleITK gives `(k, j, i)`, `(row, column)`, and components last."""
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    if image.GetDimension() == 2:
        return np.moveaxis(array, -1, 0)
    return array.T
