"""The read-out of frozen features on few labels: Dice with one image size and with three, seconds, and both networks.

    python -m benchmarks.accuracy.readout [--tasks NAME ...] [--labels 10] [--size 256] [--cases 30] [--seed 0]
        [--data DIR] [--threads 2] [--other SIZE UPDATES]

Scored are the first labelled cases beyond those that may be used (at most `--cases`), never test cases. `--other` also
trains `unet-pretrained` at this size for so many updates on the same labels and scores it alone and averaged with the
read-out: logits of both at the size of the expert's mask, half and half. What is in benchmarks/results/readout.json
already is passed over.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch

import genseg
from benchmarks.accuracy.run import labels_of
from benchmarks.locations import RESULTS, TASKS, data_root, write_record
from genseg.base.progress import silent
from genseg.evaluate.metrics import dice_scores
from genseg.examine.split import labelled_subset
from genseg.index import index_dataset
from genseg.models.scored_cases import labelled_cases
from genseg.prepare.preprocess import prepare
from genseg.read.case import Case
from genseg.segmenters import readout
from genseg.segmenters.inference import responses
from genseg.segmenters.network import Array
from genseg.segmenters.resample import resampled
from genseg.trust.suitability import fit_case

SIZES = {"one size": (Fraction(1),), "three sizes": readout.SCALES}


def main() -> None:
    """Measure what is missing, task by task."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    target = RESULTS / "readout.json"
    for task in asked.tasks:
        rows = json.loads(target.read_text(encoding="utf-8"))["rows"] if target.exists() else []
        for name in SIZES:
            if not any((row["task"], row["read"], row["seed"]) == (task, name, asked.seed) for row in rows):
                rows += measure(task, name, asked)
        write_record(target, {"rows": rows})


def measure(task: str, name: str, asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The read-out by itself, and with `unet-pretrained` where that is asked for."""
    settings = genseg.Settings(
        segmenter="readout", labels=labels_of(asked.data / task, asked.labels), size=asked.size, seed=asked.seed
    )
    with tempfile.TemporaryDirectory() as folder, reading(SIZES[name]):
        model, seconds = trained(asked.data / task, Path(folder) / "readout", settings)
        cases = development_cases(asked.data / task, model, settings.labels or 0, asked.cases)
        own = [logits(model, case) for case in cases]
        found = [{"read": name, "seconds": seconds, "updates": model.plan.updates, "dice": dice(own, cases)}]
        if asked.other and name == "three sizes":
            size, updates = asked.other
            changes = {
                "segmenter": "unet-pretrained",
                "size": size,
                "updates": updates,
                "method": "strong-augmentation",
            }
            other, seconds = trained(asked.data / task, Path(folder) / "unet", settings.model_copy(update=changes))
            theirs = [logits(other, case) for case in cases]
            both = [(one + two) / 2 for one, two in zip(own, theirs, strict=True)]
            found.append({"read": f"unet-pretrained {size} px", "seconds": seconds, "dice": dice(theirs, cases)})
            found.append({"read": "half of each", "dice": dice(both, cases)})
    shared = {"task": task, "labels": settings.labels, "size": asked.size, "cases": len(cases), "seed": asked.seed}
    rows = [{**shared, **one, "threads": asked.threads, "command": command(task, asked)} for one in found]
    for row in rows:
        sys.stdout.write(f"{row['task']}, {row['read']}: Dice {row['dice']:.3f}, {row.get('seconds', '-')} s\n")
        sys.stdout.flush()
    return rows


@contextmanager
def reading(scales: tuple[Fraction, ...]) -> Iterator[None]:
    """Within, read-outs are built for these image sizes."""
    usual = readout.SCALES
    readout.SCALES = scales
    try:
        yield
    finally:
        readout.SCALES = usual


def trained(data: Path, out: Path, settings: genseg.Settings) -> tuple[genseg.Model, float]:
    """A model, and the seconds from data to its last update and report."""
    started = time.monotonic()
    model = genseg.fit(data, out, settings=settings)
    return model, round(time.monotonic() - started, 1)


def development_cases(data: Path, model: genseg.Model, used: int, most: int) -> Sequence[Case]:
    """Labelled cases beyond the first `used` that are not for testing."""
    names = {files.name for files in labelled_subset(index_dataset(data), None)[used : used + most]}
    return labelled_cases(
        data, lambda found: [one for one in found if one.name in names], model.labels, model.options, silent
    )


def logits(model: genseg.Model, case: Case) -> Array:
    """`(class, row, column)` at the size of the expert's mask."""
    prepared = prepare(fit_case(case, model.plan), model.plan)
    pieces = (said.logits[0] for said in responses(model.network, prepared, model.plan))
    rows = resampled(pieces, prepared.geometry.worked, prepared.geometry.oriented)
    return np.concatenate(list(rows), axis=1)


def dice(said: Sequence[Array], cases: Sequence[Case]) -> float:
    """Mean over cases and foreground classes."""
    scores = [
        np.mean(dice_scores(case.mask, one.argmax(0).astype(np.uint8), len(one)))
        for one, case in zip(said, cases, strict=True)
        if case.mask is not None
    ]
    return round(float(np.mean(scores)), 4)


def command(task: str, asked: argparse.Namespace) -> str:
    """The command that makes these rows."""
    other = f" --other {' '.join(map(str, asked.other))}" if asked.other else ""
    chosen = f"--tasks {task} --labels {asked.labels} --size {asked.size} --cases {asked.cases} --seed {asked.seed}"
    return f"python -m benchmarks.accuracy.readout {chosen} --threads {asked.threads}{other}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS))
    for name, usual in (("labels", 10), ("size", 256), ("cases", 30), ("seed", 0), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--other", nargs=2, type=int, metavar=("SIZE", "UPDATES"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
