"""What choosing the next labels brings: ten at random, then ten chosen by `genseg next`, or ten more at random.

    python -m benchmarks.accuracy.next_labels [--tasks NAME ...] [--draws 0 1 2 3 4] [--size 96] [--segmenter readout]
        [--updates N] [--threads 1] [--data DIR]

A draw takes ten cases of the train list, trains on them, lets the model choose ten of the others without seeing their
masks, and trains on the twenty; beside that it trains on the ten and ten others at random, and on the ten and those ten
whose masks the model expects to be worst. Scored on the val list, which is development data. Writes
`benchmarks/results/next_labels/`, a file a task and draw; what is there is passed over.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import genseg
from benchmarks.accuracy.run import write_list
from benchmarks.locations import RESULTS, TASKS, data_root, write_record
from genseg.index import index_dataset
from genseg.read.case import CaseFiles

COUNT = 10
"""Labels at first, and labels that are added."""


def main() -> None:
    """Make the records that are missing."""
    asked = _arguments()
    import torch

    torch.set_num_threads(asked.threads)
    for draw in asked.draws:
        for task in asked.tasks:
            record = RESULTS / "next_labels" / f"{task}-{asked.segmenter}-{asked.size}px-draw{draw}.json"
            if not record.exists():
                found = carry_out(asked.data / task, draw, asked)
                write_record(record, {"task": task, "draw": draw, **found, "command": _command(task, draw, asked)})
                sys.stdout.write(f"{record.stem}: {found['dice']}\n")
                sys.stdout.flush()


def carry_out(data: Path, draw: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Dice on the val list by how the labels were chosen."""
    began = time.process_time()
    entries = [files for files in index_dataset(data).entries if files.split != "test"]
    train = [files for files in entries if files.split == "train"]
    judged = [files for files in entries if files.split == "val"]
    order = np.random.default_rng(draw).permutation(len(train))
    first, others = ([train[place] for place in part] for part in (order[:COUNT], order[COUNT:]))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pool = folder / "pool"
        pool.mkdir()
        for files in others:
            shutil.copy(files.images[0], pool)

        def trained(name: str, labelled: Sequence[CaseFiles]) -> genseg.Model:
            listed = write_list(folder / f"{name}.csv", labelled)
            return genseg.fit(listed, folder / name, settings=_settings(draw, asked))

        begun = trained("first", first)
        found = genseg.next_images(begun.run, pool, COUNT)
        doubted = sorted(genseg.next_images(begun.run, pool, len(others)), key=_expected)
        chosen = {
            "random": [files.images[0].name for files in others[:COUNT]],
            "next": [one.path.name for one in found],
            "doubted": [one.path.name for one in doubted[:COUNT]],
        }
        listed = write_list(folder / "judged.csv", judged, "test")
        dice = {"first": _dice(begun, listed)}
        for name, names in chosen.items():
            added = [files for files in others if files.images[0].name in names]
            dice[name] = _dice(trained(name, [*first, *added]), listed)
    return {"dice": dice, "chosen": chosen, "cpu_minutes": round((time.process_time() - began) / 60, 2)}


def _expected(one: Any) -> float:
    return 0.0 if one.expected_dice is None else float(one.expected_dice)


def _settings(draw: int, asked: argparse.Namespace) -> genseg.Settings:
    return genseg.Settings(
        method="strong-augmentation",
        segmenter=asked.segmenter,
        size=asked.size,
        updates=asked.updates,
        fold="all",
        seed=draw,
        device="cpu",
    )


def _dice(model: genseg.Model, listed: Path) -> float:
    return round(model.evaluate(listed).overall.dice.mean or 0.0, 4)


def _command(task: str, draw: int, asked: argparse.Namespace) -> str:
    settings = f"--size {asked.size} --segmenter {asked.segmenter}"
    settings += "" if asked.updates is None else f" --updates {asked.updates}"
    return f"python -m benchmarks.accuracy.next_labels --tasks {task} --draws {draw} {settings}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--segmenter", default="readout")
    parser.add_argument("--updates", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=data_root())
    return parser.parse_args()


if __name__ == "__main__":
    main()
