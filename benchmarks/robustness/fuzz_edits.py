"""Damage that is done to a file: flipped bits, missing ends, fields at their extremes, spliced and repeated pieces.

A recipe is a list of edits; each takes bytes out at a place and puts others in, so that any damage can be written down
as text and done again.
"""

from __future__ import annotations

import gzip
import random
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO

from nibabel.nifti1 import header_dtype
from pydicom import dcmread
from tifffile import TiffFile

from genseg.base.seals import BLANK, has_seal, sealed

HEAD = 1024
"""Bytes at the beginning of a file that are damaged most often."""

_PIECE = 256
_NUMBER = re.compile(rb"(?<![\w.])-?\d+(?:\.\d+)?")
_WORD = re.compile(rb"[A-Za-z][A-Za-z_]{2,}")
_NUMBERS = (
    *(b"-1", b"0", b"1", b"2", b"3", b"7", b"16", b"255", b"256", b"65535", b"1000000", b"2147483647", b"2147483648"),
    *(b"4294967296", b"9223372036854775807", b"18446744073709551616", b"9" * 40, b"-9223372036854775808"),
    *(b"nan", b"inf", b"-inf", b"1e308", b"1e999", b"-1e-320", b"0.0", b"", b"x", b"[]", b"{}", b"null", b"true"),
)
_FLOATS = (0.0, -1.0, 1e-45, 1e38, -1e38, float("nan"), float("inf"), float("-inf"), 1e-3, 1e6)
_JPEG_SHAPES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB})

Field = tuple[int, int]
"""Place and width in bytes."""


@dataclass(frozen=True)
class Edit:
    """At `place`, `removed` bytes make room for the bytes that `inserted` says in hexadecimal digits."""

    place: int
    removed: int
    inserted: str

    def apply(self, data: bytes) -> bytes:
        """The damaged bytes."""
        return data[: self.place] + bytes.fromhex(self.inserted) + data[self.place + self.removed :]


def damage(data: bytes, edits: Sequence[Edit], finish: str) -> bytes:
    """Do the edits one after another.

    finish: "" to leave it at that; "gzip" where the edits are for what a gzip file holds; "crc" to make the checksums
    of a PNG right again, or "seal" the hash that a model's description has of itself, so that the damage gets further.
    """
    inside = gzip.decompress(data) if finish == "gzip" else data
    for edit in edits:
        inside = edit.apply(inside)
    if finish == "gzip":
        return gzip.compress(inside, compresslevel=1, mtime=0)
    if finish == "seal":
        return _with_seal(inside)
    return _with_checksums(inside) if finish == "crc" else inside


def draw_damage(data: bytes, draw: random.Random, others: Sequence[bytes]) -> tuple[list[Edit], str]:
    """Edits for a file, and how to finish. others: files to splice pieces from."""
    finish = ""
    if data[:2] == b"\x1f\x8b" and draw.random() < 0.75:
        data, finish = gzip.decompress(data), "gzip"
    elif data[:4] == b"\x89PNG" and draw.random() < 0.6:
        finish = "crc"
    elif has_seal(data) and draw.random() < 0.9:
        finish = "seal"
    places = fields(data)
    count = draw.choice((1, 1, 1, 2, 3, 6))
    return [_draw_edit(data, draw, others, places) for _ in range(count)], finish


def _draw_edit(data: bytes, draw: random.Random, others: Sequence[bytes], places: Sequence[Field]) -> Edit:
    kind = draw.choice(
        ("flip", "flip", "cut", "field", "field", "field", "number", "number", "word", "splice", "repeat")
    )
    if kind == "number":
        tokens = [match.span() for match in _NUMBER.finditer(data, 0, 4 * HEAD)]
        return _extreme_number(data, draw, tokens) if tokens else _extreme_field(data, draw, places)
    if kind == "word":
        return _other_word(data, draw, others)
    if kind == "field":
        return _extreme_field(data, draw, places)
    place = _any_place(data, draw)
    if kind == "flip":
        return Edit(place, 1, bytes([data[place] ^ 1 << draw.randrange(8)]).hex() if data else "")
    if kind == "cut":
        return Edit(place, len(data), "") if draw.random() < 0.6 else Edit(place, draw.randrange(1, _PIECE), "")
    source = draw.choice(others) if kind == "splice" and others else data
    start, length = _any_place(source, draw), draw.randrange(1, _PIECE)
    times = draw.randrange(1, 8) if kind == "repeat" else 1
    removed = 0 if draw.random() < 0.5 else length
    return Edit(place, removed, (source[start : start + length] * times).hex())


def _any_place(data: bytes, draw: random.Random) -> int:
    """A place in the file, in its head half of the time."""
    return draw.randrange(max(1, min(len(data), HEAD) if draw.random() < 0.5 else len(data)))


def _extreme_number(data: bytes, draw: random.Random, tokens: Sequence[Field]) -> Edit:
    """A number that stands there as text becomes another; in formats of fixed places, one of the same length."""
    start, end = draw.choice(tokens)
    text = draw.choice(_NUMBERS)
    if b"\0" in data[:HEAD] and draw.random() < 0.8:
        text = text[: end - start].ljust(end - start)
    return Edit(start, end - start, text.hex())


def _other_word(data: bytes, draw: random.Random, others: Sequence[bytes]) -> Edit:
    """A word of the header becomes another of this file's or of another's."""
    words = list(_WORD.finditer(data, 0, 2 * HEAD))
    if not words:
        return Edit(0, 1, draw.randbytes(1).hex())
    found = draw.choice(words)
    known = _WORD.findall(draw.choice((data, *others)), 0, 2 * HEAD) or [b"x"]
    return Edit(found.start(), found.end() - found.start(), draw.choice(known)[:_PIECE].hex())


def _extreme_field(data: bytes, draw: random.Random, places: Sequence[Field]) -> Edit:
    if places and draw.random() < 0.8:
        place, width = draw.choice(places)
    else:
        width = draw.choice((1, 2, 4, 8))
        place = _any_place(data, draw) // width * width
    return Edit(place, width, _extreme(data[place : place + width], width, draw).hex())


def _extreme(old: bytes, width: int, draw: random.Random) -> bytes:
    """A value of so many bytes, at an end of what they can hold or near to the old one."""
    order = draw.choice("<>")
    if width in (4, 8) and draw.random() < 0.3:
        return struct.pack(f"{order}{'f' if width == 4 else 'd'}", draw.choice(_FLOATS))
    if width not in (1, 2, 4, 8):
        return draw.randbytes(width)
    top = 256**width
    byteorder = "little" if order == "<" else "big"
    value = int.from_bytes(old, byteorder)
    small = draw.randrange(1, 70)
    choices = (0, 1, top - 1, top // 2, top // 2 - 1, value + 1, value - 1, value * 2, small, 2 ** draw.randrange(63))
    return (draw.choice(choices) % top).to_bytes(width, byteorder)


def fields(data: bytes) -> list[Field]:
    """Where the header's numbers lie, lengths and counts among them; empty where the format has none of fixed place."""
    if data[:4] == b"\x89PNG":
        return list(_png_fields(data))
    if data[:2] == b"\xff\xd8":
        return list(_jpeg_fields(data))
    if data[:2] == b"BM":
        return [(place, 4) for place in (2, 10, 14, 18, 22, 30, 34, 46)] + [(26, 2), (28, 2)]
    if data[:2] in (b"II", b"MM"):
        return list(_tiff_fields(data))
    if data[128:132] == b"DICM":
        return list(_dicom_fields(data))
    if data[344:348] == b"n+1\0":
        return [(int(place[1]), min(8, place[0].itemsize)) for place in header_dtype.fields.values()] + _NIFTI_ITEMS
    return []


_NIFTI_ITEMS = [(40 + 2 * axis, 2) for axis in range(8)] + [(76 + 4 * axis, 4) for axis in range(8)]
_NIFTI_ITEMS += [(280 + 4 * number, 4) for number in range(12)]


def _png_fields(data: bytes) -> Iterator[Field]:
    for place, length in _png_chunks(data):
        yield from ((place, 4), (place + 4, 4))
        if data[place + 4 : place + 8] == b"IHDR":
            yield from ((place + 8, 4), (place + 12, 4), *((place + 16 + number, 1) for number in range(5)))
        elif length:
            yield (place + 8, min(length, 4))


def _png_chunks(data: bytes) -> Iterator[Field]:
    """Place and length of each chunk, as long as they make sense."""
    place = 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4])
        if place + 12 + length > len(data):
            return
        yield place, length
        place += 12 + length


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks each have the checksum that belongs to them."""
    mended = bytearray(data)
    for place, length in _png_chunks(data):
        end = place + 8 + length
        mended[end : end + 4] = struct.pack(">I", zlib.crc32(data[place + 4 : end]))
    return bytes(mended)


def _with_seal(data: bytes) -> bytes:
    """A description with the hash that belongs to it; as it is where the place for it is gone."""
    found = re.search(rb'"digest": ?"([0-9a-f]{64})"', data)
    if found is None or BLANK.encode() in data:
        return data
    return sealed(data[: found.start(1)] + BLANK.encode() + data[found.end(1) :])


def _jpeg_fields(data: bytes) -> Iterator[Field]:
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] != 0xDA:
        length = int.from_bytes(data[place + 2 : place + 4])
        yield from ((place + 1, 1), (place + 2, 2))
        if data[place + 1] in _JPEG_SHAPES:
            yield from ((place + 5, 2), (place + 7, 2), *((place + 9 + number, 1) for number in range(10)))
        else:
            yield from ((place + 4 + number, 1) for number in range(min(length, 24)))
        place += 2 + length
    yield from ((place + 1, 1), (place + 2, 2), (place + 4, 1))


def _tiff_fields(data: bytes) -> Iterator[Field]:
    yield from ((2, 2), (4, 4))
    with TiffFile(BytesIO(data)) as tiff:
        wide = 8 if tiff.is_bigtiff else 4
        for tag in (tag for page in tiff.pages for tag in page.tags):  # type: ignore[union-attr]
            yield from ((tag.offset, 2), (tag.offset + 2, 2), (tag.offset + 4, wide), (tag.offset + 4 + wide, wide))
            yield from ((tag.offset + 4 + wide, wide), (tag.valueoffset, 2), (tag.valueoffset, 4))


def _dicom_fields(data: bytes) -> Iterator[Field]:
    """Tags, lengths and values of the outermost elements, however the lengths are stored."""
    dataset = dcmread(BytesIO(data))
    for tag in dataset.keys():  # noqa: SIM118 - items would be decoded
        place = getattr(dataset.get_item(tag), "value_tell", 0)
        if 132 < place < len(data):
            yield from ((place - 2, 2), (place - 4, 4), (place - 8, 4), (place, 2), (place, 4), (place, 8))
