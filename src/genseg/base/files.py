"""Writing files so that nobody ever meets a half-written one, and file names that are safe to show."""

from __future__ import annotations

import csv
import errno
import hashlib
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import IO

from genseg.errors import RunError

TEMPORARY = ".genseg-"
"""How the names of temporary files begin; only a killed process leaves one behind, until `sweep` finds it."""

UNENCODABLE = "backslashreplace"
"""How a name whose bytes are no text appears in a text file, for `open` and `write_text`: with escapes."""

FULL_DISK = frozenset({errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)})
"""Error numbers of the system for a disk without space, or a user without a share of it."""

LONGEST_NAME = 255
"""Bytes that the name of a file may have on the usual file systems."""

_FORMULA_STARTS = "=+-@\uff1d\uff0b\uff0d\uff20"
_FORMULA_AFTER_SEMICOLON = re.compile(rf";(?=\s*[\"']*[{re.escape(_FORMULA_STARTS)}])")
_SUFFIX_CHARACTERS = 16  # enough for any suffix that decides a format, and keeps temporary names short
_PROCESS = secrets.token_hex(4)  # tells this process from an earlier one of the same number
_TEMPORARY_NAME = re.compile(
    rf"{re.escape(TEMPORARY)}(?P<machine>[0-9a-f]{{8}})-(?P<number>\d+)-(?P<process>[0-9a-f]{{8}})-[0-9a-f]{{8}}(\..*)?",
    re.DOTALL,
)


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
        raise at_place(error, path) from error
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

    Texts are written as `csv_text` says, numbers as they are.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        _write_rows(file, [columns])
        _write_rows(file, rows)


def append_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Add rows to a table of `atomic_write_csv`; when this returns they are on the disk.

    Raises:
        OSError: the file cannot be written, or the disk is full: the last row may be there in part.
    """
    with _appending(path) as file:
        _write_rows(file, rows)


def append_line(path: Path, line: str) -> None:
    """Add a line to a text file; when this returns it is on the disk. Raises OSError: it may be there in part."""
    with _appending(path) as file:
        file.write(line)


def csv_text(text: str) -> str:
    r"""A text as it stands in a cell: harmless in spreadsheets and terminals, and different for different texts.

    What cannot be printed (line breaks, tabs, ESC, marks that turn the direction of writing, bytes that are no text)
    appears as an escape with a backslash, as in Python, and a backslash as two. What a spreadsheet would run as a
    formula gets an apostrophe before it, and so does what begins with an apostrophe; a semicolon before it, at which
    some spreadsheets begin a cell, is `\x3b` (OWASP, CSV Injection).
    """
    shown = "".join(map(_escaped, text.replace("\\", "\\\\")))
    shown = _FORMULA_AFTER_SEMICOLON.sub(r"\\x3b", shown)
    return f"'{shown}" if shown.startswith(("'", *_FORMULA_STARTS)) else shown


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; on leaving, it becomes `path` in one step, as it is then.

    When the body fails, nothing of it stays. `path` may be an empty folder that is there already. What a process that
    was killed left beside it is removed.

    Raises:
        OSError: `path` is there and no empty folder, or nothing can be written beside it, or the disk is full.
    """
    temporary = path.absolute().with_name(temporary_name())
    made = make_folders(temporary.parent)
    try:
        sweep(temporary.parent)
        temporary.mkdir()
        yield temporary
        if path.exists():
            path.absolute().rmdir()  # Windows moves no folder onto another, not even onto an empty one
        temporary.replace(path)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        remove_empty(made)
        if isinstance(error, OSError):
            raise at_place(error, path) from error
        raise


def at_place(error: OSError, path: Path) -> OSError:
    """The same error of the system with the place that a person knows: a disk that is full while something is written
    does not say where, and other errors name a temporary file. A source that is missing stays the one that is named.
    """
    if error.errno is None:  # several in one, as of shutil
        return error
    names_source = error.filename is not None and error.filename2 is None and TEMPORARY not in str(error.filename)
    return OSError(error.errno, error.strerror, str(error.filename if names_source else path))


@contextmanager
def temporary_folder(beside: Path) -> Iterator[Path]:
    """Yield a new folder within `beside`, which is gone afterwards. Raises OSError."""
    place = beside / temporary_name()
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def move_file(source: Path, target: Path) -> None:
    """Move a file within a disk, over one that is there, so that the move survives a power cut. Raises OSError."""
    source.replace(target)
    _flush_folder(target.parent)


def make_folders(path: Path) -> list[Path]:
    """Make a folder and those around it; returns the ones that had to be made, deepest first.

    Raises:
        OSError: they cannot be made; nothing of them stays then.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError:
        remove_empty(missing)
        raise
    return missing


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders as long as they are empty; deepest first."""
    with suppress(OSError):  # someone else has put something there
        for folder in folders:
            if folder.exists():
                folder.rmdir()


def inner_folder(root: Path, name: str | Path) -> Path:
    """Make the folder `root/name`, and see that writing there does not lead out of `root`.

    Raises:
        RunError: as `stay_inside`.
        OSError: it cannot be made.
    """
    path = root / name
    stay_inside(root, path)
    path.mkdir(parents=True, exist_ok=True)
    return path


def stay_inside(root: Path, path: Path) -> None:
    """Raise RunError where `path`, all links followed, lies outside of `root`: what is there belongs to others."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise RunError(f"{path}: a link leads out of {root}; remove the link, or choose another folder")


def temporary_name() -> str:
    """A new name for something temporary; it says which process it belongs to, for `sweep`."""
    return f"{TEMPORARY}{_machine()}-{os.getpid()}-{_PROCESS}-{secrets.token_hex(4)}"


def sweep(folder: Path) -> None:
    """Remove what genseg processes that live no more have left directly in a folder.

    What may belong to a living process, as on another machine, stays; so does what cannot be removed.
    """
    with suppress(OSError):
        for path in list(folder.iterdir()):
            if _is_abandoned(path.name):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _is_abandoned(name: str) -> bool:
    import psutil

    match = _TEMPORARY_NAME.fullmatch(name)
    if match is None or match["machine"] != _machine():
        return False
    number = int(match["number"])
    return match["process"] != _PROCESS if number == os.getpid() else not psutil.pid_exists(number)


@cache
def _machine() -> str:
    """Eight digits for where the numbers of processes mean the same: a machine or, on Linux, a container."""
    numbers = ""
    with suppress(OSError):
        numbers = str(Path("/proc/self/ns/pid").readlink())
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:8]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal digits; the file is never in memory as a whole. Raises OSError."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def combined_sha256(hashes: Sequence[str]) -> str:
    """One hash for several in their order; that of a single one is itself, so that it can be checked by other tools."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


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
    return path.with_name(f"{temporary_name()}{path.suffix[-_SUFFIX_CHARACTERS:]}")


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
    text = str(path)
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode("ascii")


@contextmanager
def _appending(path: Path) -> Iterator[IO[str]]:
    with path.open("a", encoding="utf-8", newline="") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def _write_rows(file: IO[str], rows: Iterable[Sequence[object]]) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([csv_text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows)


def _flush_folder(folder: Path) -> None:
    """Make a move within `folder` survive a power cut; only POSIX systems let a folder be opened for this."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
