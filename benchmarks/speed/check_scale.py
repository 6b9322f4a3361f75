"""How long `genseg check` takes for large sets, and how much memory: 1,000, 3,000 and 10,000 pairs of small pictures.

    python -m benchmarks.speed.check_scale [--counts 1000 3000 10000]

Each set is written (RGB pictures of 64 x 64, no two alike, and masks) and checked in a process of its own with one
thread for mathematics, as from the command line, contact sheet and findings included. Writes
benchmarks/results/check-scale.json, and prints a row a set.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.locations import RESULTS, write_record
from benchmarks.speed.training import alone

SIDE = 64


def write_pairs(folder: Path, count: int) -> None:
    """Pictures of a bright disc on coloured noise, each somewhere else, and masks of it."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        row, column = random.uniform(16, 48, 2)
        disc = np.hypot(rows - row, columns - column) < random.uniform(6, 14)
        coarse = Image.fromarray(random.integers(0, 200, (8, 8, 3), np.uint8)).resize((SIDE, SIDE))
        picture = np.asarray(coarse) // 2 + disc[..., None] * 100 + random.integers(0, 20, (SIDE, SIDE, 3))
        Image.fromarray(picture.astype(np.uint8)).save(folder / "images" / f"case{number:05}.png", compress_level=1)
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"case{number:05}.png")


def measure(count: int) -> dict[str, Any]:
    """Seconds and peak memory of one check."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "data")
        write_pairs(data, count)
        command = [sys.executable, "-m", "genseg", "check", str(data), "-o", str(Path(folder, "found"))]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        begin = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "images": count,
        "seconds": round(seconds, 1),
        "processor_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_memory_mib": used.ru_maxrss // 1024,
    }


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 3000, 10000])
    asked = parser.parse_args()
    rows = []
    for count in asked.counts:
        row = alone(measure, count)
        rows.append(row)
        sys.stdout.write(
            f"{row['images']:6} images  {row['seconds']:7.1f} s  {row['processor_seconds']:7.1f} s of processor  "
            f"{row['peak_memory_mib']:5} MiB\n"
        )
        sys.stdout.flush()
    record = {
        "command": f"python -m benchmarks.speed.check_scale --counts {' '.join(map(str, asked.counts))}",
        "rows": rows,
    }
    write_record(RESULTS / "check-scale.json", record)


if __name__ == "__main__":
    main()
