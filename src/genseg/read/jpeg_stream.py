"""Whether a JPEG stream within DICOM is put together rightly: on others GDCM may end the whole program.

Segments as in ITU-T T.81 (JPEG), annex B, T.87 (JPEG-LS), annex C, and T.800 (JPEG 2000), annex A.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7})
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})
_FRAME_BYTES = 6
_CODESTREAM = b"\xff\x4f\xff\x51"  # how JPEG 2000 begins: the start, and the segment of sizes
_SIZES, _STYLE, _STEPS, _TILE = 0x51, 0x52, 0x5C, 0x90
_SIZES_BYTES, _LEAST_TILE = 36, 14


@dataclass(frozen=True)
class JpegFrame:
    """What a stream says of its picture. bits: of a sample."""

    rows: int
    columns: int
    samples: int
    bits: int


def read_frame(stream: bytes) -> JpegFrame | None:
    """Go through all segments. None where one is damaged or missing, or where there are several pictures."""
    start = stream.find(_CODESTREAM)
    if start >= 0 and stream[:2] != bytes([0xFF, _START]):
        return _codestream_frame(stream[start:])
    try:
        segments = list(_segments(stream))
    except ValueError:
        return None
    frames = [body for marker, body in segments if marker in _FRAMES]
    if len(frames) != 1 or len(frames[0]) < _FRAME_BYTES or _SCAN not in dict(segments):
        return None
    (body,) = frames
    return JpegFrame(int.from_bytes(body[1:3]), int.from_bytes(body[3:5]), body[5], body[0])


def _codestream_frame(stream: bytes) -> JpegFrame | None:
    """What the sizes of a JPEG 2000 stream say, if all of its main header is there and its tiles end where they say."""
    segments, place = {}, 2
    while True:
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4])
        if stream[place : place + 1] != b"\xff" or not place + 4 <= end <= len(stream):
            return None
        marker, body = stream[place + 1], stream[place + 4 : end]
        if marker == _TILE:
            break
        segments[marker] = body
        place = end
    sizes = segments.get(_SIZES, b"")
    if not segments.keys() >= {_SIZES, _STYLE, _STEPS} or not _tiles_fit(stream, place) or len(sizes) < _SIZES_BYTES:
        return None
    columns, rows, left, top = struct.unpack_from(">4I", sizes, 2)
    samples = int.from_bytes(sizes[34:36])
    if not samples or len(sizes) != _SIZES_BYTES + 3 * samples:
        return None
    return JpegFrame(rows - top, columns - left, samples, 1 + max(depth & 0x7F for depth in sizes[36::3]))


def _tiles_fit(stream: bytes, place: int) -> bool:
    """Whether each tile ends within the stream, and nothing but its end comes after the last."""
    while stream[place : place + 2] == bytes([0xFF, _TILE]):
        length = int.from_bytes(stream[place + 6 : place + 10])
        if length == 0:  # goes on to the end
            return stream.rstrip(b"\0").endswith(bytes([0xFF, _END]))
        if length < _LEAST_TILE:
            return False
        place += length
    return place <= len(stream) and stream[place:].rstrip(b"\0") in (b"", bytes([0xFF, _END]))


def _segments(stream: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment; raises ValueError where the next one does not begin where it has to."""
    if stream[:2] != bytes([0xFF, _START]):
        raise ValueError("no beginning")
    place = 2
    while (marker := _marker(stream, place)) != _END:
        if marker == 0xFF:  # fills up
            place += 1
        elif marker in _ALONE:
            place += 2
        else:
            end = place + 2 + int.from_bytes(stream[place + 2 : place + 4])
            if not place + 4 <= end <= len(stream):
                raise ValueError("a segment of impossible length")
            yield marker, stream[place + 4 : end]
            place = _after_scan(stream, end) if marker == _SCAN else end


def _marker(stream: bytes, place: int) -> int:
    if place + 1 < len(stream) and stream[place] == 0xFF:
        return stream[place + 1]
    raise ValueError("no marker, and no end before it")


def _after_scan(stream: bytes, place: int) -> int:
    """Where the marker after compressed pixels is: in these a byte 255 is followed by one below 128, or a restart."""
    while (place := stream.find(b"\xff", place)) >= 0:
        if stream[place + 1 : place + 2] >= b"\x80" and stream[place + 1] not in _ALONE:
            return place
        place += 2
    return len(stream)
