"""How many unlabelled images of another kind would train: those that the models of the folds take for their own.

    python -m benchmarks.accuracy.other_pools --keep DIR [--tasks NAME ...] [--folds 0 1 2 3 4] [--images 60]
        [--data DIR]

`--keep` is the folder of runs that `benchmarks.accuracy.all_labels` has made. Of each `pool_TASK`, the first images are
segmented by the model of each fold, as `genseg train --also-images` does; their own kind is shown beside. Writes
`benchmarks/results/other_pools.json`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

import genseg
from benchmarks.locations import RESULTS, TASKS, data_root, write_record
from genseg.base.progress import silent
from genseg.evidence.pool import Pool, PoolImage
from genseg.evidence.unlabelled import TRAINS, segment_pool
from genseg.index import index_images
from genseg.models.model import Model
from genseg.read.identity import pixels_hash


def main() -> None:
    """Count, print and write."""
    asked = _arguments()
    torch.set_num_threads(1)
    found: dict[str, dict[str, dict[str, int]]] = {}
    for task in asked.tasks:
        run = next(asked.keep.glob(f"{task}-*-seed0"))
        models = [
            genseg.load(run / "comparison" / f"strong-augmentation-fold-{fold}", device="cpu") for fold in asked.folds
        ]
        found[run.name] = {}
        for other in TASKS:
            uses = sum((_uses(model, asked.data / f"pool_{other}", asked.images) for model in models), Counter[str]())
            found[run.name][other] = dict(uses)
            sys.stdout.write(f"{run.name}, images of {other}: {dict(uses)}\n")
            sys.stdout.flush()
    folds = " ".join(map(str, asked.folds))
    command = f"python -m benchmarks.accuracy.other_pools --keep DIR --tasks {' '.join(asked.tasks)} --folds {folds}"
    write_record(RESULTS / "other_pools.json", {"uses": found, "command": f"{command} --images {asked.images}"})


def _uses(model: Model, pool: Path, most: int) -> Counter[str]:
    entries = index_images(pool / "images")[:most]
    images = [PoolImage(files, pixels_hash(model.read(files))) for files in entries]
    with tempfile.TemporaryDirectory() as folder:
        said = segment_pool(Pool(images, {}), model, Path(folder), silent).images
    return Counter(image.reason or TRAINS for image in said)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=TASKS[:2])
    parser.add_argument("--folds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--data", type=Path, default=data_root())
    return parser.parse_args()


if __name__ == "__main__":
    main()
