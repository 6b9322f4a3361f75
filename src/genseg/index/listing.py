"""Listing the scans below a folder: hidden files passed over, links kept inside the folder, loops entered once."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from genseg.errors import FaultCode
from genseg.index.findings import Findings
from genseg.read.formats import HEAD_BYTES, Format, identify, suffix

_JUNK = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "dicomdir", "__macosx", "@eadir", "$recycle.bin"})
_DICOM_SUFFIXES = frozenset({".dcm", ".dicom", ".ima"})


def list_scans(folder: Path, root: Path, findings: Findings) -> list[Path]:
    """Every scan below `folder`, sorted: files that are scans by suffix, and folders that hold a DICOM series.

    DICOM files directly in `folder` are scans of their own; a sub-folder with DICOM files is one series. A link that
    leads out of `root` and a folder that cannot be listed become faults.
    """
    return sorted(_walk(folder, root, findings, set())) if stays_inside(folder, root, findings) else []


def sub_folders(folder: Path, root: Path, findings: Findings) -> list[Path]:
    """The visible folders directly in `folder`, sorted; links out of `root` become faults."""
    return [path for path in _visible(folder, findings) if path.is_dir() and stays_inside(path, root, findings)]


def files_with_suffix(folder: Path, suffixes: Collection[str], findings: Findings) -> list[Path]:
    """The visible files directly in `folder` that have one of the suffixes, sorted."""
    return [path for path in _visible(folder, findings) if path.suffix.lower() in suffixes and path.is_file()]


def is_inside(path: Path, root: Path) -> bool:
    """Whether `path`, all links followed, lies in `root`. Raises OSError for a broken or looping link."""
    return Path(os.path.realpath(path, strict=True)).is_relative_to(os.path.realpath(root))


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM, by its suffix or, where it has none, by its first bytes; False if unreadable."""
    known = suffix(path).lower()
    if known:
        return known in _DICOM_SUFFIXES
    try:
        with path.open("rb") as stream:
            return identify(stream.read(HEAD_BYTES)) is Format.DICOM
    except OSError:
        return False


@contextmanager
def reading(path: Path, findings: Findings) -> Iterator[None]:
    """Turn what the system refuses while `path` is looked through (a lost network drive, say) into a fault."""
    try:
        yield
    except OSError as error:
        stop_unreadable(path, error, findings)


def stop_unreadable(path: Path, error: OSError, findings: Findings) -> None:
    """Add the fault of a path that the system refuses, with the system's error number."""
    number = errno.errorcode.get(error.errno or 0, "unknown")
    found = f"cannot be opened: {error.strerror or 'error'} ({number})"
    findings.stop(FaultCode.UNREADABLE, path, found, "a readable path", "Check the permission, the link and the disk.")


def stays_inside(path: Path, root: Path, findings: Findings) -> bool:
    """Whether `path` may be used; a link that leads out of `root`, to nothing or to itself becomes a fault."""
    if not path.is_symlink():  # its folder was looked at before
        return True
    try:
        inside = is_inside(path, root)
    except OSError as error:
        stop_unreadable(path, error, findings)
        return False
    if not inside:
        stop_outside(path, findings)
    return inside


def stop_outside(path: Path, findings: Findings) -> None:
    """Add the fault of a path that leads out of the dataset's folder."""
    cure = "Copy the file into the folder, or list it with its absolute path in a CSV list."
    findings.stop(
        FaultCode.OUTSIDE_FOLDER, path, "a path that leads out of the dataset", "files inside its folder", cure
    )


def _walk(folder: Path, root: Path, findings: Findings, visited: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    below = [path for path in _visible(folder, findings) if stays_inside(path, root, findings)]
    scans = {path for path in below if path.is_file() and (suffix(path) or is_dicom(path))}
    if len(visited) > 1 and any(map(is_dicom, scans)):
        yield folder
        return
    yield from scans
    for path in below:
        if path.is_dir():
            yield from _walk(path, root, findings, visited)
        elif path not in scans:
            findings.ignored.add(path)


def _visible(folder: Path, findings: Findings) -> list[Path]:
    """What lies directly in `folder`, sorted, junk counted and left out."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        stop_unreadable(folder, error, findings)
        return []
    shown = [path for path in paths if not path.name.startswith(".") and path.name.lower() not in _JUNK]
    findings.ignored.update(set(paths) - set(shown))
    return shown
