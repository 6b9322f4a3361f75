"""What the suites share: train with few labels through the public API, score the test cases, keep one JSON a run.

Runs whose result is there already are passed over, so that an interrupted suite goes on where it stopped. Test cases
are scored once, at the end, and decide nothing. Choices are made by the labelled cases beyond those that may be used:
every run scores them too, where there are any, and with `--development` alone, into a folder of its own.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from locations import RESULTS, data_root

import genseg
from genseg.config import Arm as Way
from genseg.data.index import index_dataset
from genseg.data.split import labelled_subset

LABELS = 40
SIZE = 128


@dataclass(frozen=True)
class Arm:
    """A way of training. ranks: spatial ranks that it is for.

    twin: suite and arm that train in the very same way, as "suite/arm": what was run there is not run again.
    """

    segmenter: str
    ranks: tuple[int, ...]
    way: Way = "strong-augmentation"
    twin: str | None = None


@dataclass(frozen=True)
class Task:
    """A data set. rank: its spatial rank. labels: how many labelled cases may be used."""

    rank: int
    labels: int = LABELS


@dataclass(frozen=True)
class Suite:
    """Arms times tasks times seeds. name: of the script, and of the folder of results."""

    name: str
    arms: Mapping[str, Arm]
    tasks: Mapping[str, Task]


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
    path = folder / "development.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "mask", "split"))
        rows.writerows((one.images[0].resolve(), one.mask.resolve(), "test") for one in files if one.mask is not None)
    return path


def run(suite: Suite, task: str, arm: str, seed: int, data: Path, development: bool) -> dict[str, Any]:
    """Train and score one arm; the record that is kept."""
    threads, labels = torch.get_num_threads(), labels_of(data, suite.tasks[task].labels)
    settings = genseg.Settings(
        segmenter=suite.arms[arm].segmenter,
        arm=suite.arms[arm].way,
        size=SIZE if suite.tasks[task].rank == 2 else None,
        labels=labels,
        seed=seed,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        others = development_list(data, labels, Path(folder))
        if development and others is None:
            raise SystemExit(f"{task}: all labelled cases are used; none is left for development")
        started = time.monotonic()
        model = genseg.fit(data, Path(folder) / "run", settings=settings)
        seconds = time.monotonic() - started
        split = json.loads((model.run / "split.json").read_text(encoding="utf-8"))
        environment = json.loads((model.run / "environment.json").read_text(encoding="utf-8"))
        by_others = None if others is None else scores_of(model, others)
        by_test = {} if development else scores_of(model, data)
        validation = json.loads((model.run / "validation" / "scores.json").read_text(encoding="utf-8"))
    return {
        "dataset": task,
        "labels": labels,
        "trained_on": len(split["train"]),
        "held_out": len(split["validation"]),
        "arm": arm,
        "segmenter": model.plan.segmenter,
        "seed": seed,
        "size": list(model.plan.patch_size),
        "updates": model.plan.updates,
        "images_per_update": model.plan.batch_size,
        "generation": None if model.plan.generation is None else model.plan.generation.model_dump(mode="json"),
        "seconds": round(seconds, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": environment["machine"],
        "validation_dice": validation["dice"],
        "development": by_others,
        **by_test,
        "command": f"benchmarks/{suite.name}.py --tasks {task} --arms {arm} --seeds {seed} --threads {threads}"
        + " --development" * development,
    }


def scores_of(model: genseg.Model, cases: Path) -> dict[str, Any]:
    """What is kept of the scores on the test cases of a data set or a list."""
    scores = model.evaluate(cases).to_json()
    return {key: scores[key] for key in ("count", "dice", "dice_95", "iou", "dice_by_class", "dice_by_case")}


def main(suite: Suite, description: str) -> None:
    """Run what is missing, one process at a time."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--tasks", nargs="+", choices=suite.tasks, default=list(suite.tasks))
    parser.add_argument("--arms", nargs="+", choices=suite.arms, default=list(suite.arms))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--development", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for seed in asked.seeds:
        for task in asked.tasks:
            for arm in asked.arms:
                if suite.tasks[task].rank in suite.arms[arm].ranks:
                    keep(suite, task, arm, seed, asked.data / task, asked.development)


def keep(suite: Suite, task: str, arm: str, seed: int, data: Path, development: bool) -> None:
    """Make one run and write its record, unless it is there."""
    target = target_of(suite.name, task, arm, seed, development)
    if target.exists():
        return
    labels = labels_of(data, suite.tasks[task].labels)
    record = twin_of(suite.arms[arm], task, seed, labels, development) or run(suite, task, arm, seed, data, development)
    record["arm"] = arm
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    dice = (record["development"] if development else record)["dice"]
    sys.stdout.write(f"{task} {arm} seed {seed}: Dice {dice:.4f}, {record['seconds']} s\n")
    sys.stdout.flush()


def target_of(suite: str, task: str, arm: str, seed: int, development: bool) -> Path:
    """Where the record of a run is kept."""
    return RESULTS / (f"{suite}-development" if development else suite) / f"{task}-{arm}-seed{seed}.json"


def twin_of(arm: Arm, task: str, seed: int, labels: int, development: bool) -> dict[str, Any] | None:
    """The record of the same run in another suite, with that suite's command; None where there is none."""
    if arm.twin is None:
        return None
    suite, name = arm.twin.split("/")
    path = target_of(suite, task, name, seed, development)
    if not path.exists():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record if record["labels"] == labels else None
