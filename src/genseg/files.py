"""Writing files so that nobody ever meets a half-written one, and file names that are safe to show."""

from __future__ import annotations

import csv
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

TEMPORARY = ".genseg-"
"""How the names of temporary files begin; only a killed process leaves one behind."""

UNENCODABLE = "backslashreplace"
"""How a name whose bytes are no text appears in a text file, for `open` and `write_text`: with escapes."""

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
    temporary = _beside(path)
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


def copy_together(targets: Mapping[Path, Path]) -> None:
    """Copy files to their targets, all or none: when it fails, the old files are there as they were.

    targets: from each file to its target. All copies lie complete beside their targets before the first takes its
    place. Only a process that is killed while they are renamed, which takes no time, can leave some of both.

    Raises:
        OSError: a folder cannot be written, or the disk is full.
    """
    old, new = ({target: _beside(target) for target in targets.values()} for _ in range(2))
    try:
        for source, target in targets.items():
            shutil.copyfile(source, new[target])
            with new[target].open("rb+") as stream:
                os.fsync(stream.fileno())
            if target.exists():
                shutil.copyfile(target, old[target])
        with _put_back_on_failure(old):
            for target in targets.values():
                new[target].replace(target)
    finally:
        for path in (*old.values(), *new.values()):
            path.unlink(missing_ok=True)
    for folder in {target.parent for target in targets.values()}:
        _flush_folder(folder)


@contextmanager
def _put_back_on_failure(old: Mapping[Path, Path]) -> Iterator[None]:
    """old: from each target to a copy of what was there, if anything was."""
    try:
        yield
    except BaseException:
        for target, kept in old.items():
            if kept.exists():
                kept.replace(target)
            else:
                target.unlink(missing_ok=True)
        raise


def _beside(path: Path) -> Path:
    """A temporary, hidden name in the same folder, which keeps the suffix."""
    return path.with_name(f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix[-_SUFFIX_CHARACTERS:]}")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits; the file is never in memory as a whole. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def combined_sha256(hashes: Sequence[str]) -> str:
    """One hash for several in their order; that of a single one is itself, so that it can be checked by other tools."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


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
