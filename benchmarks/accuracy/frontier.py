"""Dice against minutes of a processor, for several sizes of pictures: trains what is missing and draws the picture.

    python -m benchmarks.accuracy.frontier [--tasks NAME ...] [--sizes 96 128 192 256 384]
        [--growing 0 0.5 0.75] [--labels 10] [--seeds 0] [--updates 400] [--images 16] [--threads 1] [--data DIR]
        [--keep DIR] [--draw]

growing: share of the updates in which images are smaller than in the end, as in a plan; 0: none. Real pairs with strong
augmentation alone; scored on development cases, which are labelled and not among those that may be used. Minutes are
those of all threads together, validation and calibration included, so that other work on the machine counts little.
Runs whose record is in `benchmarks/results/frontier/` are passed over. Writes `docs/images/frontier.png`; `--draw` does
that alone. With `--keep` the run folders stay, in that folder.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.run import development_list, labels_of, scores_of
from benchmarks.locations import RESULTS, ROOT, TASKS, data_root, write_record

USUAL_IMAGES = 16
"""In an update."""

GROWING = (0.0, 0.5, 0.75)
PICTURE = ROOT / "docs" / "images" / "frontier.png"


@dataclass(frozen=True)
class Run:
    """One training: of a task, on images that end at a size. growing: as in a plan."""

    task: str
    size: int
    growing: float
    labels: int
    seed: int
    updates: int
    images: int = USUAL_IMAGES

    @property
    def record(self) -> Path:
        """Where its record is kept."""
        name = f"{self.task}-{self.size}px-growing-{self.growing:g}-{self.labels}-labels"
        name += f"-{self.updates}-updates-seed{self.seed}"
        name += f"-{self.images}-images" if self.images != USUAL_IMAGES else ""
        return RESULTS / "frontier" / f"{name}.json"

    @property
    def command(self) -> str:
        """What makes it."""
        return (
            f"python -m benchmarks.accuracy.frontier --tasks {self.task} --sizes {self.size} "
            f"--growing {self.growing:g} --labels {self.labels} --seeds {self.seed} --updates {self.updates} "
            f"--images {self.images}"
        )


def main() -> None:
    """Make the runs that are missing, then draw."""
    asked = _arguments()
    if not asked.draw:
        import torch

        torch.set_num_threads(asked.threads)
        for run in _runs(asked):
            if not run.record.exists():
                _keep(run, asked.data, asked.keep)
    draw([json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / "frontier").glob("*.json"))])


def _runs(asked: argparse.Namespace) -> Iterator[Run]:
    """Seed by seed, smaller sizes first."""
    for seed, size, task, growing in product(asked.seeds, sorted(asked.sizes), asked.tasks, asked.growing):
        yield Run(task, size, growing, asked.labels, seed, asked.updates, asked.images)


def _keep(run: Run, data: Path, runs: Path | None) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        record = carry_out(run, data, (runs or Path(temporary)) / run.record.stem, Path(temporary))
    write_record(run.record, record)
    sys.stdout.write(f"{run.record.stem}: Dice {record['dice']:.4f}, {record['cpu_minutes']} CPU minutes\n")
    sys.stdout.flush()


def carry_out(run: Run, data: Path, out: Path, temporary: Path) -> dict[str, Any]:
    """Train into the run folder `out`, and score on development cases."""
    import genseg

    folder = data / run.task
    settings = genseg.Settings(
        method="strong-augmentation",
        size=run.size,
        updates=run.updates,
        batch_size=run.images,
        labels=labels_of(folder, run.labels),
        seed=run.seed,
        device="cpu",
    )
    others = development_list(folder, settings.labels or 0, temporary)
    if others is None:
        raise SystemExit(f"{run.task}: all labelled cases are used; none is left for development")
    plan = genseg.plan(folder, settings).model_copy(update={"growing": run.growing})
    started = time.process_time()
    model = genseg.fit(folder, out, settings=settings, plan=plan)
    minutes = (time.process_time() - started) / 60
    scores = scores_of(model, others)
    return {
        **{key: getattr(run, key) for key in ("task", "size", "growing", "labels", "seed", "updates", "images")},
        "patch_size": list(plan.patch_size),
        "cpu_minutes": round(minutes, 2),
        **scores,
        "command": run.command,
    }


def draw(records: list[dict[str, Any]]) -> None:
    """A panel a task and number of labels, a line for each growing; points are means of seeds, marked by the size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    panels = sorted({(one["task"], one["labels"]) for one in records})
    if not panels:
        return
    figure, axes = pyplot.subplots(1, len(panels), figsize=(4 * len(panels), 3.6), squeeze=False, layout="constrained")
    records = [one for one in records if one["images"] == USUAL_IMAGES]
    for (task, labels), panel in zip(panels, axes[0], strict=True):
        own = [one for one in records if (one["task"], one["labels"]) == (task, labels)]
        for growing in GROWING:
            _line(panel, [one for one in own if one["growing"] == growing], growing)
        panel.set_title(f"{task}, {labels} labels", fontsize="medium")
        panel.set_xscale("log")
        panel.set_xlabel("minutes of one core")
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("Dice, development cases")
    axes[0][0].legend(fontsize="small")
    figure.savefig(PICTURE, dpi=110)


def _line(panel: Any, records: list[dict[str, Any]], growing: float) -> None:
    """`panel` is matplotlib's Axes."""
    by_size = defaultdict(list)
    for one in records:
        by_size[one["size"]].append((one["cpu_minutes"], one["dice"]))
    points = [(size, *np.mean(found, axis=0)) for size, found in sorted(by_size.items())]
    if not points:
        return
    sizes, minutes, dice = zip(*points, strict=True)
    panel.plot(minutes, dice, "o-" if growing else "s--", label=f"growing in {growing:.0%}" if growing else "one size")
    for size, x, y in zip(sizes, minutes, dice, strict=True):
        panel.annotate(str(size), (x, y), textcoords="offset points", xytext=(4, 4), fontsize="x-small")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[96, 128, 192, 256, 384])
    parser.add_argument("--growing", nargs="+", type=float, default=GROWING)
    parser.add_argument("--labels", type=int, default=10)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--images", type=int, default=USUAL_IMAGES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--draw", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
