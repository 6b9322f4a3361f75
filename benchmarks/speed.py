#!/usr/bin/env python3
"""Seconds per training step and peak memory of the segmenters, float32 against the default precision, in one run.

    benchmarks/speed.py [--steps 8] [--segmenters unet-small ...] [--threads 2]

Each setting runs in a process of its own, so that peak memory is its own. The median step is reported, after two steps
of warming up. Writes benchmarks/results/speed.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import statistics
import sys
import time
from typing import Any

from locations import RESULTS

SETTINGS = [(2, (128, 128), 8), (2, (256, 256), 8), (3, (32, 32, 32), 8), (3, (64, 64, 64), 2)]
"""Spatial rank, patch size, images per update."""

WARM_UP = 2


def measure(
    segmenter: str, size: tuple[int, ...], batch: int, precision: str, steps: int, threads: int
) -> dict[str, Any]:
    """Median seconds of a training step, from a batch on the device to changed weights, and peak memory in MiB."""
    import torch

    from genseg.config import IntensityRule, Plan
    from genseg.device import choose_machine
    from genseg.segmenters.learner import begin, make_update

    torch.set_num_threads(threads)
    rank = len(size)
    machine = choose_machine("auto", precision)
    plan = Plan(
        rank=2 if rank == 2 else 3,
        channels=3 if rank == 2 else 1,
        class_names=("background", "object"),
        intensity=IntensityRule(rule="z-score"),
        spacing=None if rank == 2 else (1.0, 1.0, 1.0),
        patch_size=size,
        segmenter=segmenter,
        batch_size=batch,
        updates=steps + WARM_UP,
        learning_rate=1e-4,
        augmentation="none",
        flip_axes=(),
    )
    state = begin(plan, 0, machine)
    image = machine.send(torch.randn(batch, plan.channels, *size))
    mask = torch.randint(0, 2, (batch, *size), dtype=torch.uint8, device=machine.device)
    seconds = []
    for _ in range(plan.updates):
        started = time.perf_counter()
        make_update(state, image, mask, plan, 0, machine)
        seconds.append(time.perf_counter() - started)
    on_gpu = machine.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "segmenter": segmenter,
        "parameters": sum(weight.numel() for weight in state.segmenter.parameters()),
        "size": list(size),
        "images_per_update": batch,
        "precision": str(machine.dtype).removeprefix("torch."),
        "seconds_per_step": round(statistics.median(seconds[WARM_UP:]), 4),
        "peak_memory_mib": peak // 2**20,
        "device": machine.describe(),
    }


def main() -> None:
    """Measure every setting in both precisions; write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--segmenters", nargs="+", default=["unet-small", "unet-large", "unet-pretrained"])
    asked = parser.parse_args()
    rows = []
    context = multiprocessing.get_context("spawn")
    for segmenter in asked.segmenters:
        for rank, size, batch in SETTINGS:
            if rank == 3 and segmenter == "unet-pretrained":
                continue
            for precision in ("float32", "auto"):
                with context.Pool(1) as pool:
                    row = pool.apply(measure, (segmenter, size, batch, precision, asked.steps, asked.threads))
                rows.append(row)
                shape = " x ".join(map(str, size))
                sys.stdout.write(
                    f"{segmenter:16} {shape:14} batch {batch}  {row['precision']:9} "
                    f"{row['seconds_per_step']:7.3f} s  {row['peak_memory_mib']:6} MiB\n"
                )
                sys.stdout.flush()
    RESULTS.mkdir(exist_ok=True)
    record = {"command": f"benchmarks/speed.py --steps {asked.steps} --threads {asked.threads}", "rows": rows}
    (RESULTS / "speed.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
