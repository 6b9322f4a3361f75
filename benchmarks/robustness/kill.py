"""Trainings that are killed at random moments and resumed end with the very weights of one that was left alone.

    python -m benchmarks.robustness.kill [--kills 50] [--seed 0] [--threads 1]

A small joint training runs through the command line in a process of its own and gets SIGKILL after a random time, while
it reads, prepares, pretrains the generator, trains, validates, or writes its results; a quarter of the kills wait until
a checkpoint is being written. It is then gone on with by the same command with --resume, or begun again where it had
not begun. A training that has finished is compared with the one left alone, and the next begins, until so many kills
were made. Writes benchmarks/results/kill.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.locations import RESULTS, write_record
from genseg.base.files import TEMPORARY
from genseg.synthetic.phantoms import write_phantoms

OPTIONS = (
    *("--method", "joint", "--segmenter", "unet-small", "--size", "32", "--updates", "40", "--pretraining", "60"),
    *("--batch-size", "8", "--device", "cpu", "--precision", "float32", "--no-compare"),
)

AIMED = 0.25
"""Share of the kills that wait until a checkpoint is being written: that takes too little time to be met by chance."""


@dataclass
class Record:
    """What happened. phases: how far the training was when it was killed. finished: trainings that ended; different:
    those that did not end with the files of the one left alone.
    """

    kills: int = 0
    finished: int = 0
    different: int = 0
    phases: Counter[str] = field(default_factory=Counter)


def main() -> None:
    """Kill as often as is asked for, and keep the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(asked.threads)
    with tempfile.TemporaryDirectory() as temporary:
        for record in kill_and_resume(Path(temporary), asked.kills, asked.seed):
            command = f"python -m benchmarks.robustness.kill --kills {asked.kills} --seed {asked.seed}"
            kept = {"command": command, **vars(record), "phases": dict(record.phases)}
            write_record(RESULTS / "kill.json", kept)
            sys.stdout.write(json.dumps(kept) + "\n")
            sys.stdout.flush()


def kill_and_resume(work: Path, kills: int, seed: int) -> Iterator[Record]:
    """Make so many kills, over as many trainings as that takes, and compare each that ends; the record after each."""
    draw = random.Random(seed)
    data = write_phantoms(work / "data", "rgb", cases=12, size=32)
    began = time.monotonic()
    finish(data, work / "alone")
    duration = time.monotonic() - began
    record = Record()
    while record.kills < kills:
        out = work / f"killed-{record.finished}"
        while record.kills < kills and kill_once(data, out, draw.uniform(0, 0.6 * duration), draw.random() < AIMED):
            record.kills += 1
            record.phases[phase(out)] += 1
        finish(data, out)
        record.finished += 1
        record.different += digests(out) != digests(work / "alone")
        yield record


def kill_once(data: Path, out: Path, seconds: float, aimed: bool = False) -> bool:
    """Begin or resume, and kill after so long; False where it had ended by then.

    aimed: wait longer, until a checkpoint is being written.
    """
    process = subprocess.Popen(command(data, out), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    due = time.monotonic() + seconds
    while process.poll() is None and (time.monotonic() < due or (aimed and not is_writing(out))):
        time.sleep(0.001)
    is_killed = process.poll() is None
    process.kill()
    _, errors = process.communicate()
    if not is_killed and process.returncode != 0:
        raise SystemExit(f"a training failed: {errors.decode()}")
    return is_killed


def is_writing(out: Path) -> bool:
    """Whether a checkpoint is half-written."""
    return any((out / "checkpoints").glob(f"{TEMPORARY}*"))


def finish(data: Path, out: Path) -> None:
    """Begin or resume, and wait for the end."""
    done = subprocess.run(command(data, out), capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"a training failed: {done.stderr}")


def command(data: Path, out: Path) -> list[str]:
    """What a user would type: --resume where the training had begun."""
    begun = ["--resume"] if (out / "plan.yaml").is_file() else []
    return [sys.executable, "-m", "genseg", "train", str(data), "-o", str(out), *OPTIONS, *begun]


def phase(out: Path) -> str:
    """How far a killed training was."""
    if not (out / "plan.yaml").is_file():
        return "before it began"
    if is_writing(out):
        return "while a checkpoint was written"
    if (out / "model" / "model.json").is_file():
        return "after it delivered"
    if not (out / "checkpoints" / "manifest.json").is_file():
        return "before the first checkpoint"
    return "between checkpoints"


def digests(out: Path) -> dict[str, str]:
    """Of the files that must be equal to the byte: weights of segmenter and generator, trust, card, and the split."""
    files = [*sorted((out / "model").iterdir()), out / "split.json", out / "validation" / "scores.csv"]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == "__main__":
    main()
