"""Damaged files of every format are read as a user's are: each gives a case or a named refusal, and nothing else.

    python -m benchmarks.robustness.fuzz [--minutes 15] [--seed 0] [--data FOLDER] [--memory 4] [--seconds 20]

Small valid files are made (`fuzz_samples.py`), and the smallest of a folder of data sets join them; each input is one
of these with some bytes changed (`fuzz_edits.py`). It is read as an image and as a mask, measured, its labels are
mapped, and a mask is written for it, all in a process (`fuzz_worker.py`) with limits on memory (GiB) and on processor
time for an input. Such a process reads many inputs; where one ends it, another takes over. Looked for are exceptions
that are no `GensegError`, signals, inputs beyond the limits, cases that are not what their type promises, and names of
patients that are shown.

A seed goes on where it was left: counts add up in benchmarks/results/fuzz.json. What was found is read again first. It
is kept with the recipe of its smallest input, and with what was done about it, `fixed`, which is written by hand.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.locations import RESULTS, ROOT, data_root
from benchmarks.robustness.fuzz_edits import Edit, damage, draw_damage
from benchmarks.robustness.fuzz_samples import Sample, make_samples, real_samples

WORKER = Path(__file__).with_name("fuzz_worker.py")
_WALL = 6
"""An input may take so many times its processor time by the clock, on a machine that is busy."""

Answer = dict[str, Any]
"""What became of an input: outcome, detail, seconds of processor time, bytes printed, and of a crash its where."""


@dataclass(frozen=True)
class Limits:
    """What one input may take: GiB of memory, seconds of processor time."""

    memory: float
    seconds: float


@dataclass(frozen=True)
class Recipe:
    """How an input is made: which file of which sample is damaged, and how; lenient: read with lenient options."""

    sample: str
    file: str
    edits: tuple[Edit, ...]
    finish: str
    lenient: bool

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Recipe:
        """The recipe that `asdict` made to text."""
        return cls(**{**kept, "edits": tuple(Edit(**edit) for edit in kept["edits"])})


@dataclass
class Record:
    """What the fuzzing has come to. next: first number of each seed that is still to be tried."""

    seconds: float = 0
    inputs: int = 0
    next: dict[str, int] = field(default_factory=dict)
    by_format: dict[str, Counter[str]] = field(default_factory=dict)
    refusals: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    printed: Counter[str] = field(default_factory=Counter)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, sample: Sample, recipe: Recipe, size: int, answer: Answer) -> None:
        """Count an input."""
        self.inputs += 1
        self.by_format.setdefault(sample.format, Counter())[answer["outcome"]] += 1
        self.slowest[sample.format] = max(self.slowest.get(sample.format, 0), round(answer["seconds"], 2))
        self.printed[sample.format] += answer["printed"] > 0
        if answer["outcome"] == "refused":
            self.refusals.update(set(answer["detail"].split()))
        elif answer["outcome"] != "read":
            self._find(sample, recipe, size, answer)

    def _find(self, sample: Sample, recipe: Recipe, size: int, answer: Answer) -> None:
        """Keep a finding that is new, or the smaller input of one that is known."""
        shown = {"format": sample.format, **{key: answer[key] for key in ("outcome", "where", "detail")}}
        known = next((one for one in self.findings if _same(one, shown)), None)
        if known is None:
            self.findings.append({**shown, "times": 1, "bytes": size, "recipe": asdict(recipe), "fixed": ""})
            return
        known["times"] += 1
        if size < known["bytes"]:
            known.update(bytes=size, recipe=asdict(recipe), detail=answer["detail"])


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one[key] == other[key] for key in ("format", "outcome", "where"))


class Worker:
    """A process that reads one input after another, begun again whenever one of them has ended it."""

    def __init__(self, limits: Limits, folder: Path) -> None:
        self._limits = limits
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path, kind: str, lenient: bool) -> Answer:
        """What becomes of reading a file or folder."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"path": str(path), "kind": kind, "lenient": lenient}).encode() + b"\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            in_time = bool(selector.select(self._limits.seconds * _WALL))
        line = process.stdout.readline() if in_time else b""
        return json.loads(line) if line.endswith(b"\n") else self._died(in_time)

    def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, str(WORKER), str(self._limits.memory), str(self._limits.seconds), str(self._folder)]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit("the process that reads does not start")
        return process

    def _died(self, in_time: bool) -> Answer:
        """The answer that a process owes which has ended, or hangs."""
        process = self._process
        assert process is not None
        if not in_time:
            process.kill()
        process.communicate()
        self._process = None
        number = -process.returncode
        name = signal.Signals(number).name if number > 0 else f"exit {process.returncode}"
        slow = not in_time or number == signal.SIGXCPU
        trace = self._folder / "trace"
        stack = trace.read_text(errors="replace") if trace.exists() else ""
        answer = {"outcome": "time" if slow else "signal", "detail": name, "where": _place(stack)}
        return {**answer, "seconds": float(self._limits.seconds) if slow else 0.0, "printed": 0}


def _place(trace: str) -> str:
    """The innermost functions of a dump by `faulthandler` that name a place in a library or in genseg."""
    lines = [line.strip() for line in trace.splitlines() if line.strip().startswith("File")]
    return " < ".join(f"{Path(line.split(chr(34))[1]).name}:{line.rsplit(' ', 1)[-1]}" for line in lines[:4])


class Inputs:
    """Inputs by number, made from samples."""

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        self.samples = {sample.name: sample for sample in samples}
        self._seed = seed
        self._formats: dict[str, list[Sample]] = {}
        for sample in samples:
            self._formats.setdefault(sample.format, []).append(sample)
        self._content = {
            (sample.name, file): (sample.folder / file).read_bytes() for sample in samples for file in sample.damaged
        }

    def recipe(self, number: int) -> Recipe:
        """The recipe of a number; all formats come equally often."""
        draw = random.Random(f"{self._seed}/{number}")
        sample = draw.choice(self._formats[draw.choice(sorted(self._formats))])
        file = draw.choice(sample.damaged)
        others = [self._content[other.name, other.damaged[0]] for other in self._formats[sample.format]]
        edits, finish = draw_damage(self._content[sample.name, file], draw, others)
        return Recipe(sample.name, file, tuple(edits), finish, lenient=draw.random() < 0.5)

    def read(self, recipe: Recipe, worker: Worker) -> tuple[int, Answer]:
        """Make the input and read it; its size in bytes, and what became of it."""
        sample, whole = self.samples[recipe.sample], self._content[recipe.sample, recipe.file]
        damaged = damage(whole, recipe.edits, recipe.finish)
        target = sample.folder / recipe.file
        target.write_bytes(damaged)
        try:
            return len(damaged), worker.read(sample.folder / sample.target, sample.format, recipe.lenient)
        finally:
            target.write_bytes(whole)


def main() -> None:
    """Fuzz for as long as is asked for, and keep the record."""
    asked = _arguments()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    results = RESULTS / "fuzz.json"
    record = read_record(results)
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        samples = make_samples(work / "made")
        if asked.data.is_dir():
            samples += real_samples(asked.data, work / "real")
        (work / "scratch").mkdir()
        worker = Worker(Limits(asked.memory, asked.seconds), work / "scratch")
        try:
            read_findings_again(record, Inputs(samples, asked.seed), worker)
            fuzz(record, Inputs(samples, asked.seed), worker, asked.seed, 60 * asked.minutes, results)
        finally:
            worker.stop()


def read_findings_again(record: Record, inputs: Inputs, worker: Worker) -> None:
    """Note for each finding what becomes of its input today."""
    for finding in record.findings:
        recipe = Recipe.from_json(finding["recipe"])
        if recipe.sample in inputs.samples:
            finding["today"] = inputs.read(recipe, worker)[1]["outcome"]


def fuzz(record: Record, inputs: Inputs, worker: Worker, seed: int, seconds: float, results: Path) -> None:
    """Read inputs until the time is over; the record is written now and then."""
    before, began, written = record.seconds, time.monotonic(), 0.0
    while (passed := time.monotonic() - began) < seconds:
        number = record.next.get(str(seed), 0)
        recipe = inputs.recipe(number)
        size, answer = inputs.read(recipe, worker)
        record.add(inputs.samples[recipe.sample], recipe, size, answer)
        record.next[str(seed)] = number + 1
        record.seconds = before + time.monotonic() - began
        if passed - written > 30:
            written = passed
            write_record(record, results)
    write_record(record, results)


def read_record(results: Path) -> Record:
    """The record that was kept, or a new one."""
    if not results.exists():
        return Record()
    kept = json.loads(results.read_text(encoding="utf-8"))
    del kept["command"], kept["hours"]
    kept["by_format"] = {name: Counter(counts) for name, counts in kept["by_format"].items()}
    return Record(**{**kept, "refusals": Counter(kept["refusals"]), "printed": Counter(kept["printed"])})


def write_record(record: Record, results: Path) -> None:
    """Keep the record, and say on one line how it stands."""
    head = {"command": "python -m benchmarks.robustness.fuzz", "hours": round(record.seconds / 3600, 3)}
    kept = {**head, **vars(record), "seconds": round(record.seconds)}
    kept["by_format"] = {name: dict(sorted(counts.items())) for name, counts in sorted(record.by_format.items())}
    kept["refusals"] = dict(record.refusals.most_common())
    results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    totals = sum(record.by_format.values(), Counter())
    sys.stdout.write(f"{record.inputs} inputs, {dict(totals)}, {len(record.findings)} findings\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", type=Path, default=data_root(), help="folder of data sets; left out where it is not")
    parser.add_argument("--memory", type=float, default=4, help="GiB of address space")
    parser.add_argument("--seconds", type=int, default=20, help="of processor time for an input")
    return parser.parse_args()


if __name__ == "__main__":
    main()
