"""Writing files so that nobody ever meets a half-written one, and file names that are safe to show."""

from __future__ import annotations

import csv
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".genseg-"
"""How the names of temporary files begin; only a killed process leaves one behind."""

UNENCODABLE = "backslashreplace"
"""How a name whose bytes are no text appears in a text file, for `open` and `write_text`: with escapes."""

LONGEST_NAME = 255
"""Bytes that the name of a file may have on the usual file systems."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_SUFFIX_CHARACTERS = 16  # enough for any suffix that decides a format, and keeps temporary names short


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving, what was written there becomes `path` in one step.

    The temporary name is hidden and keeps the suffix of `path`, for libraries that choose the format by it. It is
    flushed to disk before the move. When the body fails, the temporary file is removed and `path` stays as it was.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    temporary = path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix[-_SUFFIX_CHARACTERS:]}")
    try:
        yield temporary
        with temporary.open("rb+") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a disk that is full while something is written does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)
    _flush_folder(path.parent)


def atomic_write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step: a reader sees the old file or the new one, never a part.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def atomic_write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a line of column names, then `rows`, as CSV in UTF-8 and in one step; None is an empty cell.

    A text that a spreadsheet would run as a formula, such as the name of a file, gets an apostrophe before it (OWASP,
    CSV Injection); numbers stay as they are.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors=UNENCODABLE, newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_harmless(cell) for cell in row] for row in rows)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on leaving, it becomes `path` in one step, as it is then.

    When the body fails, nothing of it stays. `path` may be an empty folder that is there already.

    Raises:
        OSError: `path` is there and no empty folder, or nothing can be written beside it, or the disk is full.
    """
    temporary = path.absolute().with_name(f"{TEMPORARY}{secrets.token_hex(8)}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        if path.exists():
            path.absolute().rmdir()  # Windows moves no folder onto another, not even onto an empty one
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def file_name(stem: str, suffix: str) -> str:
    """`stem` and `suffix` as the name of a file; a stem too long for both is cut, and a hash of all of it added.

    So a file made from another, with a longer suffix, has a name whatever that of the other is; and two that begin
    alike have two names.
    """
    whole = os.fsencode(stem)
    room = LONGEST_NAME - len(os.fsencode(suffix))
    if len(whole) <= room:
        return stem + suffix
    mark = f"~{hashlib.sha256(whole).hexdigest()[:8]}"
    return whole[: room - len(mark)].decode("utf-8", "ignore") + mark + suffix


def printable(path: Path | str) -> str:
    """The path as one line of text: control characters and bytes that are not text appear as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in str(path)
    )


def _harmless(cell: object) -> object:
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r", "\\r")  # which the csv module of Python 3.11 leaves without quotes, as the end of a line
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def _flush_folder(folder: Path) -> None:
    """Make a move within `folder` survive a power cut; only POSIX systems let a folder be opened for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
