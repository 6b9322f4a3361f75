"""One process at a time in a folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from genseg.base.files import atomic_write_bytes
from genseg.errors import RunError


@contextmanager
def folder_lock(folder: Path, doing: str) -> Iterator[None]:
    """Keep other processes out of a folder while the body runs; a killed process keeps nobody out.

    doing: what is done there, one word, such as "training": names the files `training.lock`, which the system locks,
    and `training.owner`, which says by whom. Both are gone afterwards.

    Raises RunError where another process is at work in it.
    """
    lock, owner = folder / f"{doing}.lock", folder / f"{doing}.owner"
    if lock.is_symlink():
        lock.unlink()  # to lock a file opens it, wherever it lies
    try:
        with FileLock(lock, timeout=0):
            try:
                atomic_write_bytes(owner, f"process {os.getpid()} on {platform.node()}".encode())
                yield
            finally:
                for path in (owner, lock):
                    with suppress(OSError):  # Windows keeps open files
                        path.unlink()
    except Timeout:
        cure = "wait for it to end, or choose another -o"
        raise RunError(f"{folder}: {_owner(owner)} is {doing} in this folder; {cure}") from None


def _owner(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8")
    return "another process"
