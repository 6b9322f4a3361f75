"""How much memory this process may still take, on its machine or in its container."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take; absent elsewhere."""

GIB = 2**30

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Parameters of glibc's `mallopt`, from its header malloc.h."""

USUAL_TRIM_THRESHOLD, USUAL_MMAP_MAX = 128 * 2**10, 65_536
"""What glibc has without being asked; see mallopt(3)."""

MOST = 2**31 - 1


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has left, or less where its container is limited."""
    left: list[int] = [psutil.virtual_memory().available, *_left_in_container()]
    return max(0, min(left))


def memory_budget() -> int:
    """Bytes of pixels to keep in memory: a quarter of what is free."""
    return free_memory() // 4


def used_memory() -> int:
    """Bytes of memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Context in which the C library keeps what is freed for what is asked for next; where it is glibc.

    It otherwise gives large tensors back to the system at once, and every 4 KiB of the next one cost a page fault: at
    256 pixels a quarter of the time of an update. When the context ends all is given back.
    """
    library = ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None
    if library is None:
        yield
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, MOST)
    try:
        yield
    finally:
        library.mallopt(MMAP_MAX, USUAL_MMAP_MAX)
        library.mallopt(TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)
        library.malloc_trim(0)


def _left_in_container() -> Iterator[int]:
    """What the container's limits leave, in both versions of control groups; files that can be given up count as free.

    Source: Linux kernel documentation, Control Group v2, "Memory Interface Files"; Memory Resource Controller (v1).
    """
    versions = (
        (GROUPS, "memory.max", "memory.current", "inactive_file"),
        (GROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    )
    for folder, limit, used, cached in versions:
        try:
            most, now = (int((folder / name).read_text()) for name in (limit, used))
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        except (OSError, ValueError):  # no such group, or "max": no limit
            continue
        yield most - now + int(counts.get(cached, 0))
