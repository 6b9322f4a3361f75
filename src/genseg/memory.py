"""How much memory this process may still take, on its machine or in its container."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

GROUPS = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take; absent elsewhere."""

GIB = 2**30


def free_memory() -> int:
    """Bytes that this process may still take: what the machine has left, or less where its container is limited."""
    left: list[int] = [psutil.virtual_memory().available, *_left_in_container()]
    return max(0, min(left))


def used_memory() -> int:
    """Bytes of memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


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
