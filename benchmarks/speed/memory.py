"""The forecast of memory against the peak that is measured, from the same process, over whole trainings on phantoms.

    python -m benchmarks.speed.memory [--threads 1] [--rows 6 ...]

Each setting is trained for a few updates in a process of its own, with everything that a training does: reading, the
generator's updates, feedback, validation, the report. The forecast is made where a run makes it, before the first
update. With `--rows` those settings alone are measured anew, and the other results stay. Writes
benchmarks/results/memory.json, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.locations import RESULTS, write_record
from benchmarks.speed.training import alone, peak_mib, unjudged

if TYPE_CHECKING:
    from genseg.compute.device import Machine
    from genseg.training.gather import TrainingData

SETTINGS = [
    ("rgb", 160, "strong-augmentation", "unet-pretrained", "small", 256, 16, 1.0),
    ("rgb", 128, "joint", "unet-small", "small", 128, 16, 1.0),
    ("rgb", 128, "joint", "unet-pretrained", "small", 256, 16, 1.0),
    ("rgb", 128, "separate", "deeplab", "medium", 128, 16, 1.0),
    ("volume", 48, "strong-augmentation", "unet-large", "small", None, 4, 1.0),
    ("volume", 40, "joint", "unet-small", "small", None, 8, 1.0),
    ("rgb", 128, "joint", "unet-pretrained", "small", 256, 16, 0.7),
]
"""Kind and size of phantoms, way of training, segmenter, generator, size asked for, images per update, share of the
updates in which there is feedback: to the end, or, as planned, no longer when pictures have grown."""

UPDATES = 9
"""As many as bring stage III twice."""


def measure(
    kind: str,
    scan: int,
    way: str,
    segmenter: str,
    generator: str,
    size: int | None,
    batch: int,
    search: float,
    threads: int,
) -> dict[str, Any]:
    """Forecast and peak of one training, MiB."""
    import torch

    import genseg
    from genseg.config import Settings
    from genseg.synthetic.phantoms import write_phantoms
    from genseg.training.memory_forecast import forecast_memory

    torch.set_num_threads(threads)
    forecast: list[int] = []

    def record(gathered: TrainingData, machine: Machine) -> None:
        found = forecast_memory(gathered, machine)
        forecast.append((found.held + found.more) // 2**20)

    pretraining = None if way == "strong-augmentation" else 2
    settings = Settings(
        method=way, segmenter=segmenter, size=size, batch_size=batch, updates=UPDATES, pretraining=pretraining
    )
    with tempfile.TemporaryDirectory() as folder, unjudged(), patch("genseg.training.run.check_memory", record):
        data = write_phantoms(Path(folder, "data"), kind, 40 if kind == "rgb" else 20, size=scan)
        plan = genseg.plan(data, settings)
        if plan.generation is not None:
            changed = plan.generation.model_copy(update={"generator": generator, "search": search})
            plan = plan.model_copy(update={"generation": changed})
        genseg.fit(data, Path(folder, "run"), settings=settings, plan=plan)
    return {
        "way": way,
        "segmenter": segmenter,
        "generator": generator if plan.generation is not None else None,
        "patch_size": list(plan.patch_size),
        "images_per_update": batch,
        "search": search,
        "forecast_mib": forecast[0],
        "peak_mib": peak_mib("cpu"),
        "ratio": round(forecast[0] / peak_mib("cpu"), 3),
    }


def _kept(path: Path) -> list[dict[str, Any]]:
    """Rows of an earlier run, in the order of `SETTINGS`; none where there was none."""
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    return rows


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rows", type=int, nargs="+", choices=range(len(SETTINGS)), default=range(len(SETTINGS)))
    asked = parser.parse_args()
    path = RESULTS / "memory.json"
    rows = {number: row for number, row in enumerate(_kept(path)) if number not in asked.rows}
    for number in asked.rows:
        row = rows[number] = alone(measure, *SETTINGS[number], asked.threads)
        shape = " x ".join(map(str, row["patch_size"]))
        sys.stdout.write(
            f"{row['way']:20} {row['segmenter']:16} {shape:14} batch {row['images_per_update']:2}  "
            f"forecast {row['forecast_mib']:6} MiB  peak {row['peak_mib']:6} MiB  {row['ratio']:.2f}\n"
        )
        sys.stdout.flush()
    record = {
        "command": f"python -m benchmarks.speed.memory --threads {asked.threads}",
        "rows": [rows[number] for number in sorted(rows)],
    }
    write_record(path, record)


if __name__ == "__main__":
    main()
