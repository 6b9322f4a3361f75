"""Which file formats are read, and how a file's format is known: by its first bytes, never by its name."""

from __future__ import annotations

import re
import zlib
from enum import StrEnum
from pathlib import Path

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


SUFFIXES: dict[str, Format] = {
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

IMAGE_SUFFIXES: frozenset[str] = frozenset(SUFFIXES)
"""The usual suffixes of the formats, in lower case, compound ones such as ".nii.gz" included."""

_INFLATED_BYTES = 352  # a NIfTI-1 header; less than any whole file, so that damage further on is not met here
_LONGEST_FIRST = sorted(SUFFIXES, key=len, reverse=True)

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


def suffix(path: Path) -> str:
    """The (compound) suffix of a name as written, or "" where it is none of `IMAGE_SUFFIXES`."""
    name = path.name.lower()
    length = next((len(known) for known in _LONGEST_FIRST if name.endswith(known) and name != known), 0)
    return path.name[len(path.name) - length :]


def stem(path: Path) -> str:
    """The name without its (compound) suffix: "a.b.nii.gz" -> "a.b"; an unknown suffix is part of the name."""
    return path.name.removesuffix(suffix(path))


def identify(head: bytes) -> Format | None:
    """The format of a file that begins with `head` (its first `HEAD_BYTES` or all of it); None where unknown."""
    for offset, magic, format in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return format
    if head[:2] == b"\x1f\x8b":
        return Format.NIFTI_GZ if identify(_inflate(head)) is Format.NIFTI else None
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return Format.BMP
    return Format.META if _META_IMAGE.match(head) else None


def suffix_fits(path: Path, format: Format) -> bool:
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
