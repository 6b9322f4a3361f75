"""What the C library does with memory that training frees."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import pytest

# In a process of its own: what others have left in the heap is used first.
PROGRAM = """
import json, resource
import numpy as np
from genseg.base.free_memory import freed_memory_kept, used_memory

def page_faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(96 * 2**20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = {"one": page_faults(1), "four": page_faults(4), "used before": used_memory()}
with freed_memory_kept():
    page_faults(1)
    found |= {"eight in it": page_faults(8), "used in it": used_memory()}
print(json.dumps(found | {"used after": used_memory(), "four after": page_faults(4)}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_freed_memory_is_used_again_without_asking_the_system_and_given_back_in_the_end() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["four"] > 3 * found["one"]  # every array anew
    assert found["eight in it"] < found["one"]
    assert found["used in it"] > found["used before"] + 48 * 2**20
    assert found["used after"] < found["used before"] + 48 * 2**20
    assert found["four after"] > 3 * found["one"]
