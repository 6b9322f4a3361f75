"""Which file formats are read, and how a file's format is known: by its first bytes, never by its name.

Readers of further formats may be registered.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.plugins import load_plugins
from genseg.errors import SettingsError

HEAD_BYTES = 4096
"""How much of a file's beginning `identify` needs."""


class Format(StrEnum):
    """The file formats that can be read; the text is the name shown to people."""

    PNG = "PNG"
    JPEG = "JPEG"
    BMP = "BMP"
    TIFF = "TIFF"
    NIFTI = "NIfTI"
    NIFTI_GZ = "compressed NIfTI"
    NRRD = "NRRD"
    META = "MetaImage"
    DICOM = "DICOM"


@dataclass(frozen=True)
class Decoded:
    """What a registered reader makes of a file.

    pixels: `(channel, row, column)` or, for a volume, `(channel, i, j, k)`; values as stored.
    spacing: mm along each spatial axis; None where the file does not state it.
    affine: of a volume, `(4, 4)` voxel index to RAS+ mm; axes along those of the patient where None.
    """

    pixels: NDArray[np.generic]
    spacing: tuple[float, ...] | None = None
    affine: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class Reader:
    """A registered format: its name, as people are shown it, its usual suffixes, and how it is told and decoded."""

    name: str
    suffixes: tuple[str, ...]
    recognise: Callable[[bytes], bool]
    decode: Callable[[bytes], Decoded]

    def __str__(self) -> str:
        return self.name


FileFormat = Format | Reader

SUFFIXES: dict[str, FileFormat] = {
    ".png": Format.PNG,
    ".jpg": Format.JPEG,
    ".jpeg": Format.JPEG,
    ".bmp": Format.BMP,
    ".tif": Format.TIFF,
    ".tiff": Format.TIFF,
    ".ome.tif": Format.TIFF,
    ".ome.tiff": Format.TIFF,
    ".nii": Format.NIFTI,
    ".nii.gz": Format.NIFTI_GZ,
    ".nrrd": Format.NRRD,
    ".nhdr": Format.NRRD,
    ".mha": Format.META,
    ".mhd": Format.META,
    ".dcm": Format.DICOM,
    ".dicom": Format.DICOM,
    ".ima": Format.DICOM,
}

"""The usual suffixes of the formats, in lower case, compound ones such as ".nii.gz" included."""

_OWN_SUFFIXES = frozenset(SUFFIXES)
_readers: dict[str, Reader] = {}

_INFLATED_BYTES = 352  # a NIfTI-1 header; less than any whole file, so that damage further on is not met here
_MAGIC: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", Format.PNG),
    (0, b"\xff\xd8\xff", Format.JPEG),
    (0, b"II*\0", Format.TIFF),
    (0, b"MM\0*", Format.TIFF),
    (0, b"II+\0", Format.TIFF),
    (0, b"MM\0+", Format.TIFF),
    (0, b"NRRD000", Format.NRRD),
    (128, b"DICM", Format.DICOM),
    (344, b"n+1\0", Format.NIFTI),
    (4, b"n+2\0", Format.NIFTI),
)
_META_IMAGE = re.compile(rb"\s*(ObjectType|NDims|Comment)\s*=")
_BMP_HEADER_SIZES = frozenset({12, 40, 52, 56, 64, 108, 124})


def register_reader(
    name: str,
    *,
    suffixes: Iterable[str],
    recognise: Callable[[bytes], bool],
    decode: Callable[[bytes], Decoded],
) -> None:
    """Read files of a further format wherever genseg reads images or masks.

    name: of the format, as people are shown it. suffixes: the usual ones, such as ".xyz".
    recognise: whether a file that begins with these bytes, `HEAD_BYTES` or all of it, is of the format. It is asked
        before genseg's own formats are, so that it can claim a dialect of TIFF.
    decode: pixels and geometry from a file's whole content. Whatever it raises becomes an error about that file.

    A name that was registered before is replaced. Raises SettingsError for a suffix of one of genseg's own formats
    or without a dot, and the name of one of them.
    """
    suffixes = tuple(suffix.lower() for suffix in suffixes)
    taken = [suffix for suffix in suffixes if suffix in _OWN_SUFFIXES or not suffix.startswith(".")]
    if taken or name in list(Format):
        raise SettingsError(f"reader {name!r}: {', '.join(taken) or name!r} cannot be used; choose names of your own")
    reader = Reader(name, suffixes, recognise, decode)
    for old in [suffix for suffix, format in SUFFIXES.items() if format == _readers.get(name)]:
        del SUFFIXES[old]
    _readers[name] = reader
    SUFFIXES.update(dict.fromkeys(suffixes, reader))


def known_formats() -> str:
    """The formats that can be read, in words."""
    load_plugins()
    own = dict.fromkeys(str(format) for format in Format if format is not Format.NIFTI_GZ)
    *others, last = [*own, *_readers]
    return f"{', '.join(others)} or {last}"


def suffix(path: Path) -> str:
    """The (compound) suffix of a name as written, or "" where it is none of `SUFFIXES`."""
    load_plugins()
    name = path.name.lower()
    length = max((len(known) for known in SUFFIXES if name.endswith(known) and name != known), default=0)
    return path.name[len(path.name) - length :]


def stem(path: Path) -> str:
    """The name without its (compound) suffix: "a.b.nii.gz" -> "a.b"; an unknown suffix is part of the name."""
    return path.name.removesuffix(suffix(path))


def identify(head: bytes) -> FileFormat | None:
    """The format of a file that begins with `head` (its first `HEAD_BYTES` or all of it); None where unknown."""
    load_plugins()
    claimed = next((reader for reader in _readers.values() if _recognises(reader, head)), None)
    return claimed or _identify_own(head)


def _recognises(reader: Reader, head: bytes) -> bool:
    try:
        return reader.recognise(head)
    except Exception as error:  # a stranger's code may raise anything, about any file
        raise SettingsError(
            f"reader {reader.name!r}: its `recognise` fails ({type(error).__name__}: {error}); it is asked about files "
            f"of every format and must answer True or False"
        ) from error


def _identify_own(head: bytes) -> Format | None:
    for offset, magic, format in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return format
    if head[:2] == b"\x1f\x8b":
        return Format.NIFTI_GZ if _identify_own(_inflate(head)) is Format.NIFTI else None
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return Format.BMP
    return Format.META if _META_IMAGE.match(head) else None


def suffix_fits(path: Path, format: FileFormat) -> bool:
    """Whether the name's suffix belongs to the format; DICOM files often have no suffix, or any number as one."""
    found = suffix(path).lower()
    if format is Format.DICOM and not found:
        return True
    return SUFFIXES.get(found) is format


def _inflate(head: bytes) -> bytes:
    """The first bytes inside a gzip file; empty where it is broken."""
    try:
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | 16).decompress(head, _INFLATED_BYTES)
    except zlib.error:
        return b""
