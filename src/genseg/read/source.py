"""A file's bytes, read once and hashed, and the door through which decoder errors become faults."""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from genseg.base.files import printable
from genseg.base.free_memory import GIB, free_memory
from genseg.errors import DataError, Fault, FaultCode, GensegError
from genseg.read.formats import SUFFIXES, FileFormat, identify, known_formats, suffix, suffix_fits

MAX_DECODED_BYTES = 8 * 2**30
"""No file may hold more bytes than this, nor promise more bytes of pixels; see `most_bytes` for smaller machines."""

SHARE_OF_MEMORY = 1 / 4
"""Largest share of the free memory that one file may take: several are read at once, and pixels are copied."""

_PIECE = 2**20
_UNSUSPICIOUS_BYTES = 256 * 2**20
_MOST_PACKED = 5000
"""Pixels may take so many times the bytes of the file: more than deflate and LZW can pack."""


_DECODERS = ("PIL", "nibabel", "pydicom", "tifffile")
"""Names of loggers that are told what stands in a file, down to the patient's name."""


class _Quiet:
    """Warnings of decoders kept off the terminal, and their remarks out of the logs.

    `warnings.catch_warnings` swaps a list that all threads share, so that two threads leaving it in the wrong order
    would leave the whole program silent. Here the first thread in swaps, and the last one out puts back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._catcher = warnings.catch_warnings()
        self._levels: dict[str, int] = {}

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._catcher = warnings.catch_warnings()
                self._catcher.__enter__()
                warnings.simplefilter("ignore")
                self._levels = {name: logging.getLogger(name).level for name in _DECODERS}
                self._set_levels(dict.fromkeys(_DECODERS, logging.CRITICAL + 1))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._set_levels(self._levels)
                self._catcher.__exit__(None, None, None)

    @staticmethod
    def _set_levels(levels: dict[str, int]) -> None:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


_QUIET = _Quiet()


@dataclass(frozen=True)
class Source:
    """One file in memory: its bytes, their SHA-256 and the format that they are in."""

    path: Path
    data: bytes
    sha256: str
    format: FileFormat

    @property
    def name(self) -> str:
        """The path as it appears in faults."""
        return printable(self.path)


def most_bytes() -> int:
    """How many bytes one file may hold, or its pixels take when unpacked, on this machine or in its container now."""
    return min(MAX_DECODED_BYTES, int(SHARE_OF_MEMORY * free_memory()))


@contextmanager
def memory_for(name: str) -> Iterator[None]:
    """Turn memory that runs out in work on one image into a fault of that image, so that others go on.

    Raises:
        DataError: TOO_LARGE.
    """
    try:
        yield
    except MemoryError:
        raise DataError([too_large(name, "more pixels than fit in this machine's memory")]) from None


def read_source(path: Path) -> Source:
    """Read a file once and find its format by content.

    Raises:
        DataError: EMPTY_FILE, UNREADABLE, UNKNOWN_FORMAT or TOO_LARGE.
    """
    data = read_bytes(path)
    if not data:
        raise DataError([_empty(path)])
    format = identify(data)
    if format is None:
        raise DataError([_unknown(path)])
    return Source(path, data, hashlib.sha256(data).hexdigest(), format)


def suffix_warnings(source: Source) -> tuple[Fault, ...]:
    """A warning where the name promises another format than the bytes hold."""
    if suffix_fits(source.path, source.format):
        return ()
    usual = [name for name, format in SUFFIXES.items() if format is source.format]
    return (
        Fault(
            FaultCode.WRONG_SUFFIX,
            source.name,
            f"a {source.format} file whose name ends in {suffix(source.path) or source.path.suffix or 'no suffix'!r}",
            f"a name that ends in {' or '.join(usual)}",
            "It was read by its content; rename it.",
            stops=False,
        ),
    )


@contextmanager
def decoding(name: str, format: FileFormat) -> Iterator[None]:
    """Turn whatever a decoder raises on broken bytes into a DataError, and keep its warnings off the terminal.

    Memory that runs out becomes TOO_LARGE.

    Decoders raise nearly every kind of exception on damaged files, hence the broad net. The library's own words
    are left out, and so is the chain of causes: those of DICOM and NIfTI can quote a patient's name.
    """
    try:
        with _QUIET, memory_for(name):
            yield
    except GensegError:
        raise
    except Exception as error:
        raise DataError([_damaged(name, format, type(error).__name__)]) from None


def promise_faults(name: str, promised: int, held: int) -> list[Fault]:
    """TOO_LARGE where a header promises more bytes of pixels than can be taken on, or than a file of its size can hold.

    held: bytes of the file, or files, that hold the pixels.
    """
    if promised > most_bytes():
        return [too_large(name, f"a header that promises {promised} bytes of pixels")]
    if promised > max(_UNSUSPICIOUS_BYTES, _MOST_PACKED * held):
        return [too_large(name, f"a header that promises {promised} bytes of pixels in a file of {held} bytes")]
    return []


def check_unpacked(name: str, pieces: Iterable[bytes], most: int | None = None) -> None:
    """See what compressed bytes unpack to, in pieces that are not kept, before a decoder unpacks them whole.

    most: how many bytes they may be; `most_bytes` if None.

    Raises:
        DataError: TOO_LARGE.
    """
    limit, found = most_bytes() if most is None else most, 0
    for piece in pieces:
        found += len(piece)
        if found > limit:
            raise DataError([too_large(name, f"a compressed file that unpacks to more than {limit} bytes")])


def inflated(data: bytes | memoryview, envelope: int) -> Iterator[bytes]:
    """What deflated bytes hold, a piece at a time. envelope: `wbits` of `zlib`. Ends where they are damaged."""
    unpacker = zlib.decompressobj(envelope)
    try:
        while data and not unpacker.eof:
            yield unpacker.decompress(data, _PIECE)
            data = unpacker.unconsumed_tail
    except zlib.error:
        return


def too_large(name: str, found: str) -> Fault:
    """The fault of a file that would take too much memory."""
    expected = f"at most {most_bytes() / GIB:.2g} GiB, by the memory that is free here"
    return Fault(FaultCode.TOO_LARGE, name, found, expected, "Crop or scale it down, image and mask alike.")


def truncated(name: str, format: FileFormat, found: int, expected: int) -> Fault:
    """The fault of a file that ends before its pixels do; sizes in bytes."""
    return Fault(
        FaultCode.UNREADABLE,
        name,
        f"{found} bytes of a {format} file that ends early",
        f"{expected} bytes",
        "Copy or export the file again.",
    )


def empty_axis(name: str, spatial: tuple[int, ...]) -> Fault:
    """The fault of a file that holds no pixels, for one of its axes has the length 0."""
    found, cure = f"axes of lengths {spatial}", "Copy or export the file again."
    return Fault(FaultCode.UNREADABLE, name, found, "lengths of at least 1", cure)


def is_folder(path: Path) -> bool:
    """Whether the path is a folder; False for what cannot be asked, which `read_source` then names."""
    try:
        return path.is_dir()
    except OSError:
        return False


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: UNREADABLE, with the reason that the system gave, or TOO_LARGE.
    """
    try:
        if path.exists() and not path.is_file():
            raise DataError([_unreadable(path, "neither a file nor a folder")])
        size = path.stat().st_size
        if size > most_bytes():
            raise DataError([too_large(printable(path), f"a file of {size / GIB:.4g} GiB")])
        with memory_for(printable(path)):
            return path.read_bytes()
    except OSError as error:
        reason = f"{error.strerror or 'error'} ({errno.errorcode.get(error.errno or 0, 'unknown')})"
        raise DataError([_unreadable(path, f"cannot be read: {reason}")]) from error
    except ValueError as error:  # a NUL in the name
        raise DataError([_unreadable(path, "not a legal file name")]) from error


def _unreadable(path: Path, found: str) -> Fault:
    return Fault(
        FaultCode.UNREADABLE, printable(path), found, "a readable file", "Check the path, the permission and the disk."
    )


def _empty(path: Path) -> Fault:
    return Fault(
        FaultCode.EMPTY_FILE, printable(path), "0 bytes", "an image", "Copy or export the file again, or remove it."
    )


def _unknown(path: Path) -> Fault:
    return Fault(
        FaultCode.UNKNOWN_FORMAT,
        printable(path),
        "content of no known image format",
        known_formats(),
        "Convert it to one of these, or remove it.",
    )


def _damaged(name: str, format: FileFormat, kind: str) -> Fault:
    return Fault(
        FaultCode.UNREADABLE,
        name,
        f"a truncated or damaged {format} file ({kind})",
        f"a whole {format} file",
        "Copy or export the file again.",
    )
