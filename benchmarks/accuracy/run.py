"""Make the runs of a suite that are not there yet: train with few labels through the public API, score, keep a JSON.

    python -m benchmarks.accuracy.run SUITE [--tasks NAME ...] [--ways NAME ...] [--segmenters NAME ...]
        [--labels 10 40] [--seeds 0 1 2] [--draws 0 1] [--data DIR] [--device auto] [--threads 2] [--development]

`--data` is a folder of data sets, by default what GENSEG_DATA says. Runs whose record is in `benchmarks/results/runs/`
are passed over, so that an interrupted suite goes on where it stopped; several processes may share one, each with tasks
or seeds of its own. Test cases are scored once, at the end, and decide nothing. Choices are made by the labelled cases
beyond those that may be used: every run scores them too, where there are any, and with `--development` them alone, into
`benchmarks/results/development/`.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import genseg
from benchmarks.accuracy.draws import drawn
from benchmarks.accuracy.recipe import fit_recipe
from benchmarks.accuracy.suite import RECIPE, Run, Suite, Task, suite_names
from benchmarks.locations import data_root, write_record
from genseg.examine.split import labelled_subset
from genseg.index import index_dataset
from genseg.read.case import CaseFiles

KEPT = ("count", "dice", "dice_95", "iou", "dice_by_class", "dice_by_case")


def main() -> None:
    """Run what is missing, one after the other."""
    asked = _arguments()
    suite = Suite.read(asked.suite)
    torch.set_num_threads(asked.threads)
    for run in suite.runs():
        wanted = (asked.tasks, asked.ways, asked.segmenters, asked.labels, asked.seeds, asked.draws)
        own = (run.task, run.way, run.segmenter, run.labels, run.seed, run.draw)
        if all(some is None or one in some for one, some in zip(own, wanted, strict=True)):
            keep(suite, run, asked.data, asked.device, asked.development)


def keep(suite: Suite, run: Run, data: Path, device: str, development: bool) -> None:
    """Make one run and write its record, unless it is there."""
    target = run.record(development)
    if target.exists():
        return
    record = carry_out(suite, run, data, device, development)
    write_record(target, record)
    dice = (record["development"] if development else record)["dice"]
    sys.stdout.write(f"{run.name}: Dice {dice:.4f}, {record['seconds']} s\n")
    sys.stdout.flush()


def carry_out(suite: Suite, run: Run, data: Path, device: str, development: bool) -> dict[str, Any]:
    """Train and score; the record that is kept."""
    task = suite.tasks[run.task]
    settings = genseg.Settings(
        segmenter=None if run.segmenter == RECIPE else run.segmenter,
        method=run.way,
        size=run.size if task.rank == 2 else None,
        updates=run.updates,
        labels=labels_of(data / run.task, run.labels),
        seed=run.seed,
        device=device,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = drawn(data / run.task, run.draw, Path(temporary) / "data")
        others = development_list(folder, settings.labels or 0, Path(temporary))
        if development and others is None:
            raise SystemExit(f"{run.task}: all labelled cases are used; none is left for development")
        started = time.monotonic()
        model = fit(folder, Path(temporary) / "run", run.segmenter, settings)
        seconds = time.monotonic() - started
        return {
            **described(run, model, seconds),
            "development": None if others is None else scores_of(model, others),
            **({} if development else test_scores(model, data, run.task, task)),
            "command": command(suite, run, development),
        }


def fit(data: Path, out: Path, segmenter: str, settings: genseg.Settings) -> genseg.Model:
    """Train by genseg, or by the recipe."""
    return fit_recipe(data, out, settings) if segmenter == RECIPE else genseg.fit(data, out, settings=settings)


def described(run: Run, model: genseg.Model, seconds: float) -> dict[str, Any]:
    """What was trained on what, with what effort."""
    split, environment, validation = (
        json.loads((model.run / name).read_text(encoding="utf-8"))
        for name in ("split.json", "environment.json", "validation/scores.json")
    )
    plan = model.plan
    return {
        "dataset": run.task,
        "labels": len(split["train"]) + len(split["validation"]),
        "trained_on": len(split["train"]),
        "held_out": len(split["validation"]),
        "way": run.way,
        "segmenter": run.segmenter,
        "seed": run.seed,
        "draw": run.draw,
        "size": list(plan.patch_size),
        "updates": plan.updates,
        "images_per_update": plan.batch_size,
        "generation": None if plan.generation is None else plan.generation.model_dump(mode="json"),
        "seconds": round(seconds, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": environment["machine"],
        "validation_dice": validation["dice"],
    }


def test_scores(model: genseg.Model, data: Path, name: str, task: Task) -> dict[str, Any]:
    """Scores on the task's own test cases, and on those of other places."""
    elsewhere = {other: scores_of(model, data / other) for other in task.also}
    return {**scores_of(model, data / name), "elsewhere": elsewhere}


def scores_of(model: genseg.Model, cases: Path) -> dict[str, Any]:
    """What is kept of the scores on the test cases of a data set or a list."""
    scores = model.evaluate(cases).to_json()
    return {key: scores[key] for key in KEPT}


def labels_of(data: Path, most: int) -> int:
    """`most`, or as many as the data set's train and val lists hold."""
    splits = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["splits"]
    return min(most, len(splits["train"]) + len(splits["val"]))


def development_list(data: Path, used: int, folder: Path) -> Path | None:
    """A list, as `genseg evaluate` reads it, of the labelled cases beyond the first `used` that are not for testing.

    None where all are used.
    """
    files = labelled_subset(index_dataset(data), None)[used:]
    if not files:
        return None
    return write_list(folder / "development.csv", files, "test")


def write_list(path: Path, cases: Sequence[CaseFiles], split: str = "") -> Path:
    """A list of labelled cases that genseg takes for a dataset; all are of this split."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "mask", "split"))
        rows.writerows((one.images[0].resolve(), one.mask.resolve(), split) for one in cases if one.mask is not None)
    return path


def command(suite: Suite, run: Run, development: bool) -> str:
    """The command that makes this run."""
    chosen = (
        f"python -m benchmarks.accuracy.run {suite.name} --tasks {run.task} --ways {run.way} "
        f"--segmenters {run.segmenter} --labels {run.labels} --seeds {run.seed} --draws {run.draw} "
        f"--threads {torch.get_num_threads()}"
    )
    return chosen + " --development" * development


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=suite_names())
    for name in ("tasks", "ways", "segmenters"):
        parser.add_argument(f"--{name}", nargs="+")
    for name in ("labels", "seeds", "draws"):
        parser.add_argument(f"--{name}", nargs="+", type=int)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--development", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
