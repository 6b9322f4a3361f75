#!/usr/bin/env python3
"""Baselines on real data: train with few labels through the public API, score the test cases, keep one JSON a run.

    benchmarks/foundation.py [--data DIR] [--tasks NAME ...] [--arms NAME ...] [--seeds 0 1 2] [--threads 2]

Runs whose result is there already are passed over, so that an interrupted suite goes on where it stopped. `--data` is
a folder of data sets, by default what GENSEG_DATA says. Test cases are scored once, at the end, and decide nothing.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from locations import RESULTS, data_root

import genseg


@dataclass(frozen=True)
class Arm:
    """A way of training. `None` leaves a setting to the plan. ranks: spatial ranks that it is for."""

    segmenter: str
    ranks: tuple[int, ...]


ARMS = {
    "strong-augmentation": Arm("unet-small", (2, 3)),
    "pretrained-encoder": Arm("unet-pretrained", (2,)),
}
TASKS = {
    "skin_isic2017": 2,
    "polyp_cvc_clinicdb": 2,
    "foot_ulcer_fuseg": 2,
    "breast_us_busi": 2,
    "lung_heart_jsrt_multiclass": 2,
    "hippocampus_msd": 3,
}
LABELS = 40
SIZE = 128


def labels_of(data: Path) -> int:
    """40, or as many as the data set's train and val lists hold."""
    splits = json.loads((data / "dataset.json").read_text(encoding="utf-8"))["splits"]
    return min(LABELS, len(splits["train"]) + len(splits["val"]))


def run(task: str, arm: str, seed: int, data: Path) -> dict[str, Any]:
    """Train and score one arm; the record that is kept."""
    threads = torch.get_num_threads()
    settings = genseg.Settings(
        segmenter=ARMS[arm].segmenter,
        size=SIZE if TASKS[task] == 2 else None,
        labels=labels_of(data),
        seed=seed,
        device="cpu",
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        model = genseg.fit(data, Path(folder) / "run", settings=settings)
        seconds = time.monotonic() - started
        split = json.loads((model.run / "split.json").read_text(encoding="utf-8"))
        environment = json.loads((model.run / "environment.json").read_text(encoding="utf-8"))
        test = model.evaluate(data)
        validation = json.loads((model.run / "validation" / "scores.json").read_text(encoding="utf-8"))
    scores = test.to_json()
    return {
        "dataset": task,
        "labels": settings.labels,
        "trained_on": len(split["train"]),
        "held_out": len(split["validation"]),
        "arm": arm,
        "segmenter": model.plan.segmenter,
        "seed": seed,
        "size": list(model.plan.patch_size),
        "updates": model.plan.updates,
        "images_per_update": model.plan.batch_size,
        "seconds": round(seconds, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": environment["machine"],
        "validation_dice": validation["dice"],
        **{key: scores[key] for key in ("count", "dice", "dice_95", "iou", "dice_by_class", "dice_by_case")},
        "command": f"benchmarks/foundation.py --tasks {task} --arms {arm} --seeds {seed} --threads {threads}",
    }


def main() -> None:
    """Run what is missing, one process at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    for seed in asked.seeds:
        for task in asked.tasks:
            for arm in asked.arms:
                if TASKS[task] in ARMS[arm].ranks:
                    keep(task, arm, seed, asked.data / task)


def keep(task: str, arm: str, seed: int, data: Path) -> None:
    """Make one run and write its record, unless it is there."""
    target = RESULTS / "foundation" / f"{task}-{arm}-seed{seed}.json"
    if target.exists():
        return
    record = run(task, arm, seed, data)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{task} {arm} seed {seed}: Dice {record['dice']:.4f}, {record['seconds']} s\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
