"""What the C library does with memory that training frees."""

from __future__ import annotations

import platform
import resource

import numpy as np
import pytest

from genseg.memory import freed_memory_kept, used_memory

BYTES = 96 * 2**20


def _page_faults_of(times: int) -> int:
    """Page faults of taking and freeing a large array so often."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(BYTES, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_used_again_without_asking_the_system_and_given_back_in_the_end() -> None:
    asked = _page_faults_of(1)
    assert _page_faults_of(4) > 3 * asked  # every array anew
    before = used_memory()
    with freed_memory_kept():
        _page_faults_of(1)
        assert _page_faults_of(8) < asked  # one array would be
        assert used_memory() > before + BYTES // 2
    assert used_memory() < before + BYTES // 2
    assert _page_faults_of(4) > 3 * asked
