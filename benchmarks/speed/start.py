"""How long the command line takes to answer, beside a Python that does nothing.

    python -m benchmarks.speed.start [--repeats 9]

Every command runs in a process of its own, all of them in turn, `--repeats` times. Seconds of processor time count,
which other work on the machine disturbs little; the median is kept, with that of Python alone. Writes
benchmarks/results/start.json, and prints a row a command.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from typing import Any

from benchmarks.locations import RESULTS, write_record

NOTHING = ("-c", "")
COMMANDS = (
    ("--version",),
    ("--help",),
    ("train", "--help"),
    ("predict", "--help"),
    ("segmenters",),
    ("check", "no such folder"),
)


def processor_seconds(arguments: tuple[str, ...]) -> float:
    """Processor time of one run of Python, its imports included."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(repeats: int) -> list[dict[str, Any]]:
    """Median seconds of every command, and of Python alone."""
    runs = {"python": NOTHING} | {f"genseg {' '.join(one)}": ("-m", "genseg", *one) for one in COMMANDS}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, arguments in runs.items():
            seconds[name].append(processor_seconds(arguments))
    return [{"command": name, "processor_seconds": round(statistics.median(own), 3)} for name, own in seconds.items()]


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    rows = measure(repeats)
    for row in rows:
        sys.stdout.write(f"{row['processor_seconds']:7.3f} s  {row['command']}\n")
    write_record(RESULTS / "start.json", {"repeats": repeats, "rows": rows})


if __name__ == "__main__":
    main()
