"""What every label, and images without labels, bring: one fold, all folds together, and the final model.

    python -m benchmarks.accuracy.all_labels --keep DIR [--tasks NAME ...] [--size 96] [--labels 10] [--seeds 0]
        [--updates 400] [--images 16] [--threads 1] [--data DIR]

Real pairs with strong augmentation alone, five folds. Scored on development cases, which are labelled and not among
those that may be used: the model of each fold, their ensemble, the final model on all labels; with the images of
`pool_TASK` the model of each fold, and what is delivered then, which has learned from them where they help on the
held-out cases (`used`). Run folders stay in `--keep`, so that an interrupted command goes on. Minutes are
those of the processor. Writes `benchmarks/results/all_labels/`, a file a task and seed; what is there is passed over.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import genseg
from benchmarks.accuracy.run import development_list, labels_of, scores_of
from benchmarks.locations import RESULTS, TASKS, data_root, write_record
from genseg.evidence.unlabelled import used_images
from genseg.export.card import GAIN
from genseg.runs.folder import RunFolder, and_unlabelled

METHOD = "strong-augmentation"
FOLDS = 5


@dataclass(frozen=True)
class Run:
    """What is trained on a task."""

    task: str
    size: int
    labels: int
    seed: int
    updates: int
    images: int

    @property
    def name(self) -> str:
        """Of its folder and record."""
        recipe = f"{self.updates}-updates-{self.images}-images"
        return f"{self.task}-{self.size}px-{self.labels}-labels-{recipe}-seed{self.seed}"

    @property
    def command(self) -> str:
        """What makes its record."""
        asked = " ".join(f"--{key} {value}" for key, value in asdict(self).items() if key not in ("task", "seed"))
        return f"python -m benchmarks.accuracy.all_labels --tasks {self.task} {asked} --seeds {self.seed} --keep DIR"


def main() -> None:
    """Make the records that are missing."""
    asked = _arguments()
    import torch

    torch.set_num_threads(asked.threads)
    for seed in asked.seeds:
        for task in asked.tasks:
            run = Run(task, asked.size, asked.labels, seed, asked.updates, asked.images)
            record = RESULTS / "all_labels" / f"{run.name}.json"
            if not record.exists():
                found = carry_out(run, asked.data, asked.keep / run.name)
                write_record(record, found)
                told = ", ".join(
                    f"{name} {found[name]['dice']:.4f}" for name in ("ensemble", "all_labels", "unlabelled")
                )
                sys.stdout.write(f"{run.name}: folds {[round(one['dice'], 4) for one in found['folds']]}, {told}\n")
                sys.stdout.flush()


def carry_out(run: Run, data: Path, out: Path) -> dict[str, Any]:
    """Train in the run folder `out`, or go on, and score on development cases."""
    folder, pool = data / run.task, data / f"pool_{run.task}" / "images"
    settings = genseg.Settings(
        method=METHOD,
        size=run.size,
        updates=run.updates,
        batch_size=run.images,
        labels=labels_of(folder, run.labels),
        folds=FOLDS,
        seed=run.seed,
        device="cpu",
    )
    minutes = [time.process_time() / 60]
    with tempfile.TemporaryDirectory() as temporary:
        others = development_list(folder, settings.labels or 0, Path(temporary))
        if others is None:
            raise SystemExit(f"{run.task}: all labelled cases are used; none is left for development")
        genseg.fit(folder, out, settings=settings, resume=(out / "plan.yaml").is_file())
        minutes.append(time.process_time() / 60)
        alone = genseg.refit(folder, out)
        minutes.append(time.process_time() / 60)
        scores = {"all_labels": scores_of(alone, others)}
        scores["ensemble"] = scores_of(genseg.load(out, device="cpu", ensemble=True), others)
        folds = [RunFolder(out).compared(METHOD, fold).path for fold in range(FOLDS)]
        each = [scores_of(genseg.load(fold, device="cpu"), others) for fold in folds]
        before = time.process_time() / 60
        scores["unlabelled"] = scores_of(genseg.refit(folder, out, also_images=pool), others)
        minutes.append(time.process_time() / 60 - before)
        students = [scores_of(genseg.load(and_unlabelled(fold), device="cpu"), others) for fold in folds]
    return {
        **asdict(run),
        "folds": each,
        "students": students,
        **scores,
        "images_used": used_images(out),
        **RunFolder(out).read_json(GAIN),
        "cpu_minutes": {
            "first_fold": round(minutes[1] - minutes[0], 2),
            "other_folds_and_all_labels": round(minutes[2] - minutes[1], 2),
            "with_unlabelled": round(minutes[3], 2),
        },
        "command": run.command,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    for name, usual in (("size", 96), ("labels", 10), ("updates", 400), ("images", 16), ("threads", 1)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    parser.add_argument("--data", type=Path, default=data_root())
    return parser.parse_args()


if __name__ == "__main__":
    main()
