"""What NRRD and MetaImage files say of where their pixels are, looked at before SimpleITK does.

It ends the whole program on some damaged headers, follows paths out of the folder, and for compressed pixels that are
damaged it gives whatever was in memory, or never comes to an end.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

from genseg.base.lengths import MM_PER_UNIT
from genseg.errors import DataError, Fault, FaultCode
from genseg.read.formats import FileFormat, Format
from genseg.read.source import Source, read_bytes

_Patterns = dict[FileFormat, re.Pattern[bytes]]

# Wider than the formats' definitions, as SimpleITK is: it takes a colon, other white space and lines that end in CR.
_DATA_FILE: _Patterns = {
    Format.NRRD: re.compile(rb"(?:\A|[\r\n])\s*data ?file\s*:(?!=)[ \t]*([^\r\n]*)", re.IGNORECASE),
    Format.META: re.compile(rb"ElementDataFile\s*[=:][ \t]*([^\r\n]*)(?:\r\n|\n|\r|\Z)", re.IGNORECASE),
}
_PACKED: _Patterns = {
    Format.NRRD: re.compile(rb"(?:\A|[\r\n])\s*encoding\s*:\s*gz(?:ip)?\s", re.IGNORECASE),
    Format.META: re.compile(rb"CompressedData\s*[=:]\s*[T1]", re.IGNORECASE),
}
_PACKED_SIZE = re.compile(rb"CompressedDataSize\s*[=:]\s*(\d+)", re.IGNORECASE)
_SPACING: _Patterns = {
    Format.NRRD: re.compile(rb"(?:\A|[\r\n])\s*(?:spacings|space directions)\s*:(?!=)", re.IGNORECASE),
    Format.META: re.compile(rb"Element(?:Spacing|Size)\s*[=:]", re.IGNORECASE),
}
_UNITS: _Patterns = {
    Format.NRRD: re.compile(rb"(?:\A|[\r\n])\s*(?:space )?units\s*:(?!=)([^\r\n]*)", re.IGNORECASE),
    Format.META: re.compile(rb"DistanceUnits\s*[=:]([^\r\n]*)", re.IGNORECASE),
}
_UNIT_NAME = re.compile(r'[^\s"]+')
_AXES = re.compile(rb"NDims\s*[=:]\s*([^\s]*)", re.IGNORECASE)
_MOST_AXES = 10
_LINE_ENDS = re.compile(rb"[\r\n]+")
_EMPTY_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n)){2}")
_HEADER_BYTES = 65536
_LONGEST_FIELD = 500
_FREE_LINES = (b"#", b"content:")
_EITHER_ENVELOPE = zlib.MAX_WBITS | 32  # zlib's or gzip's, whichever is there
_CHUNK = 2**16
_MOST_BEYOND = 2**26
_CURE = "Copy or export the file again."


@dataclass(frozen=True)
class StoredPixels:
    """The pixels as they are stored. sha256: of the file, and of the pixel file too where there is one.

    packed: whether they are compressed; packed_bytes: what the header says of their size then, if it has to.
    unit: of the spacing; None where the header states no spacing, or one in units that are not lengths.
    """

    data: bytes
    sha256: str
    packed: bool
    packed_bytes: int | None
    unit: str | None


def stored_pixels(source: Source) -> StoredPixels:
    """The bytes after the header, or of the file that it names.

    Raises:
        DataError: OUTSIDE_FOLDER where that file lies elsewhere than beside the header; UNREADABLE where it is absent,
            or where the header is damaged.
    """
    header, rest = _split(source)
    _check_lines(header, source)
    named = {match[1].strip() for match in _DATA_FILE[source.format].finditer(header)}
    packed = _PACKED[source.format].search(header) is not None
    size = _PACKED_SIZE.search(header) if source.format is Format.META else None
    packed_bytes = int(size[1]) if size else None
    unit = spacing_unit(header, source.format)
    if {name.upper() for name in named} <= {b"LOCAL"}:
        return StoredPixels(rest, source.sha256, packed, packed_bytes, unit)
    name = named.pop().decode("utf-8", "surrogateescape")
    if named or Path(name).name != name or name.upper().startswith("LIST"):
        raise DataError([_elsewhere(source.name)])
    data = read_bytes(source.path.with_name(name))
    return StoredPixels(data, hashlib.sha256(source.data + data).hexdigest(), packed, packed_bytes, unit)


def spacing_unit(header: bytes, format: FileFormat) -> str | None:
    """The unit of the spacing in lower case, "mm" where none is named; None where no spacing is stated in one unit.

    SimpleITK takes every number for mm, and a spacing that is not stated for 1.
    """
    if not _SPACING[format].search(header):
        return None
    texts = [match[1].decode("utf-8", "replace").lower() for match in _UNITS[format].finditer(header)]
    named = {name for text in texts for name in _UNIT_NAME.findall(text)}
    unit = named.pop() if named else "mm"
    return unit if unit in MM_PER_UNIT and not named else None


def with_unit(content: bytes, format: FileFormat, unit: str, axes: int) -> bytes:
    """A file as SimpleITK writes it, with the unit of its spacing, which SimpleITK leaves out, in the header."""
    if format is Format.NRRD:
        units = " ".join([f'"{unit}"'] * axes)
        return content.replace(b"\nencoding:", f"\nspace units: {units}\nencoding:".encode(), 1)
    return content.replace(b"\nElementDataFile", f"\nDistanceUnits = {unit}\nElementDataFile".encode(), 1)


def named_pixel_files(header: bytes, format: FileFormat) -> list[str]:
    """Names of the files beside a header that it says hold the pixels; none where it holds them itself."""
    named = [match[1].strip().decode("utf-8", "surrogateescape") for match in _DATA_FILE[format].finditer(header)]
    return [name for name in named if name.upper() != "LOCAL" and Path(name).name == name and "\0" not in name]


def check_packed(stored: StoredPixels, source: Source, promised: int) -> None:
    """Unpack compressed pixels, in pieces, to see that they are whole.

    promised: bytes that they take when unpacked.

    Raises:
        DataError: UNREADABLE where they are damaged, too few, or of another size than the header says.
    """
    if not stored.packed:
        return
    found, used = _unpack(stored.data, promised)
    if found < promised:
        raise DataError([_damaged(source, f"{found} whole bytes of compressed pixels", f"{promised} bytes")])
    if source.format is Format.META and stored.packed_bytes != used:
        size = "none" if stored.packed_bytes is None else stored.packed_bytes
        raise DataError([_damaged(source, f"CompressedDataSize {size}", f"{used}, as the file holds")])


def _unpack(data: bytes, promised: int) -> tuple[int, int]:
    """Bytes that a compressed stream holds, and bytes that it takes; 0 and 0 where it is damaged, does not end, or goes
    on for long after all that is needed.
    """
    unpacker, found = zlib.decompressobj(_EITHER_ENVELOPE), 0
    try:
        for start in range(0, len(data), _CHUNK):
            found += len(unpacker.decompress(data[start : start + _CHUNK]))
            if unpacker.eof:
                return found, min(start + _CHUNK, len(data)) - len(unpacker.unused_data)
            if found > promised + _MOST_BEYOND:
                break
    except zlib.error:
        pass
    return 0, 0


def _split(source: Source) -> tuple[bytes, bytes]:
    """Header and what comes after it: an empty line ends that of an NRRD file, its last field that of a MetaImage."""
    if source.format is Format.NRRD:
        empty = _EMPTY_LINE.search(source.data)
        return (source.data[: empty.end()], source.data[empty.end() :]) if empty else (source.data, b"")
    named = list(_DATA_FILE[Format.META].finditer(source.data[:_HEADER_BYTES]))
    if not named:
        found = f"no word on where the pixels are, in the first {_HEADER_BYTES} bytes"
        raise DataError([_damaged(source, found, "ElementDataFile = LOCAL")])
    end = named[-1].end()
    return source.data[:end], source.data[end:]


def _check_lines(header: bytes, source: Source) -> None:
    """Raise UNREADABLE for more axes in a MetaImage, or a longer field in an NRRD header, than SimpleITK bears."""
    axes = [match[1] for match in _AXES.finditer(header)] if source.format is Format.META else []
    if any(not text.isdigit() or int(text) > _MOST_AXES for text in axes):
        raise DataError([_damaged(source, "a number of axes that cannot be", f"1 to {_MOST_AXES}")])
    if source.format is Format.META:
        return
    fields = (line for line in _LINE_ENDS.split(header) if not line.startswith(_FREE_LINES) and b":=" not in line)
    longest = max(map(len, fields))
    if longest > _LONGEST_FIELD:
        raise DataError([_damaged(source, f"a header field of {longest} characters", f"at most {_LONGEST_FIELD}")])


def _damaged(source: Source, found: str, expected: str) -> Fault:
    return Fault(FaultCode.UNREADABLE, source.name, found, expected, _CURE)


def _elsewhere(name: str) -> Fault:
    return Fault(
        FaultCode.OUTSIDE_FOLDER,
        name,
        "a header that names several pixel files, or one in another folder",
        "one pixel file beside the header",
        "Save header and pixels in one file (.nrrd, .mha).",
    )
