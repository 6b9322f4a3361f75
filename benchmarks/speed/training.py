"""Seconds per training step and peak memory, in one run: of the segmenters, float32 against the default precision; and
of the joint loop, as a ratio to a plain update on as many images, with stage III at every update, every fourth and
every eighth (the default), with exact and with cheap hypergradients; and of whole trainings on growing pictures of 256
pixels, with and without generated pairs, the generator's own updates before them included.

    python -m benchmarks.speed.training [--steps 8] [--segmenters unet-small ...] [--threads 2]
        [--only segmenters|joint|growing]

Each setting runs in a process of its own, so that peak memory is its own. Of plain steps the median is reported, after
two of warming up; of joint steps the mean, for they come in kinds. Of whole trainings an update of each kind is timed
and counted as often as the kind comes; with one thread, in seconds of the processor, which other work on the machine
does not lengthen. Writes benchmarks/results/speed.json, speed-joint.json or speed-growing.json, and prints a table.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.locations import RESULTS, write_record

if TYPE_CHECKING:
    from genseg.compute.device import Machine
    from genseg.config import Plan
    from genseg.prepare.preprocess import Prepared
    from genseg.runs.state import TrainingState
    from genseg.training.advance import Course

SETTINGS = [(2, (128, 128), 8), (2, (256, 256), 8), (3, (32, 32, 32), 8), (3, (64, 64, 64), 2)]
"""Spatial rank, patch size, images per update."""

WARM_UP = 2


JOINT = [("strong-augmentation", 4, "exact")] + [
    ("joint", every, method) for every in (8, 4, 1) for method in ("exact", "central-difference")
]
"""Way of training, updates from one stage III to the next, how hypergradients are computed."""

JOINT_SIZE, JOINT_BATCH, JOINT_CASES = (128, 128), 16, 32

GROWING_WAYS = ("strong-augmentation", "joint", "separate")
GROWING_SIZE, UPDATES, PRETRAINING, SHARE_GROWING = (256, 256), 600, 400, 0.75
"""A training as it is planned for a CPU, but for its size."""


def measure(
    segmenter: str, size: tuple[int, ...], batch: int, precision: str, steps: int, threads: int
) -> dict[str, Any]:
    """Median seconds of a training step, from a batch on the device to changed weights, and peak memory in MiB."""
    import torch

    from genseg.compute.device import choose_machine
    from genseg.segmenters.learner import begin, make_update

    torch.set_num_threads(threads)
    machine = choose_machine("auto", precision)
    plan = plan_of(segmenter, size, batch, steps + WARM_UP)
    state = begin(plan, 0, machine)
    image = machine.send(torch.randn(batch, plan.channels, *size))
    mask = torch.randint(0, 2, (batch, *size), dtype=torch.uint8, device=machine.device)
    seconds = []
    for _ in range(plan.updates):
        started = time.perf_counter()
        make_update(state, image, mask, plan, 0, machine)
        seconds.append(time.perf_counter() - started)
    return {
        "segmenter": segmenter,
        "parameters": sum(weight.numel() for weight in state.segmenter.parameters()),
        "size": list(size),
        "images_per_update": batch,
        "precision": str(machine.dtype_for(plan.rank)).removeprefix("torch."),
        "seconds_per_step": round(statistics.median(seconds[WARM_UP:]), 4),
        "peak_memory_mib": peak_mib(machine.device.type),
        "device": machine.describe(plan.rank),
    }


def measure_joint(segmenter: str, way: str, every: int, method: str, steps: int, threads: int) -> dict[str, Any]:
    """Mean seconds of an update on as many images, real and synthetic, and peak memory in MiB; batches included."""
    import torch

    from genseg.compute.device import choose_machine
    from genseg.config import GenerationPlan

    torch.set_num_threads(threads)
    machine = choose_machine()
    plan = plan_of(segmenter, JOINT_SIZE, JOINT_BATCH, steps + every, "strong")
    if way == "joint":
        plan = plan.model_copy(
            update={"generation": GenerationPlan(method="joint", pretraining=1, every=every, hypergradient=method)}
        )
    cases = disks(JOINT_CASES, JOINT_SIZE)
    with updates_of(plan, cases, machine) as update:
        for _ in range(every):
            update()
        started = time.perf_counter()
        for _ in range(steps):
            update()
        seconds = (time.perf_counter() - started) / steps
    return {
        "segmenter": segmenter,
        "way": way,
        "every": every,
        "method": method,
        "images_per_update": JOINT_BATCH,
        "seconds_per_step": round(seconds, 4),
        "peak_memory_mib": peak_mib(machine.device.type),
        "device": machine.describe(plan.rank),
    }


def measure_growing(segmenter: str, way: str, threads: int) -> dict[str, Any]:
    """Seconds of a whole training divided by the segmenter's updates, and what of it each kind of update takes."""
    import torch

    from genseg.compute.device import choose_machine

    torch.set_num_threads(threads)
    machine, clock = choose_machine(), time.process_time if threads == 1 else time.perf_counter
    plan = growing_plan(segmenter, way)
    seconds: dict[str, float] = {}
    kinds: dict[str, list[int]] = {}
    with numbered_updates_of(plan, disks(JOINT_CASES, GROWING_SIZE), machine) as (kind_of, update):
        for number in range(plan.pretraining + plan.updates):
            kinds.setdefault(kind_of(number), []).append(number)
        warm: set[tuple[str, bool]] = set()
        for kind, numbers in kinds.items():
            networks = kind.partition(":")[0], kind.endswith("search over")
            if networks not in warm:
                update(numbers[0])  # warms up, and ends the search where it is over
            warm.add(networks)
            started = clock()
            update(numbers[-1])
            seconds[kind] = len(numbers) * (clock() - started)
    return {
        "segmenter": segmenter,
        "way": way,
        "patch_size": list(plan.patch_size),
        "images_per_update": plan.batch_size,
        "updates": plan.updates,
        "pretraining": plan.pretraining,
        "seconds_per_update": round(sum(seconds.values()) / plan.updates, 4),
        "kinds": {
            kind: {"updates": len(kinds[kind]), "seconds_each": round(seconds[kind] / len(kinds[kind]), 3)}
            for kind in kinds
        },
        "device": machine.describe(plan.rank),
    }


def growing_plan(segmenter: str, way: str) -> Plan:
    """A plan for pictures that grow to `GROWING_SIZE`."""
    from genseg.config import GenerationPlan

    changes: dict[str, Any] = {"growing": SHARE_GROWING}
    if way != "strong-augmentation":
        changes["generation"] = GenerationPlan.model_validate({"method": way, "pretraining": PRETRAINING})
    return plan_of(segmenter, GROWING_SIZE, JOINT_BATCH, UPDATES, "strong").model_copy(update=changes)


@contextmanager
def numbered_updates_of(
    plan: Plan, cases: Sequence[Prepared], machine: Machine
) -> Iterator[tuple[Callable[[int], str], Callable[[int], None]]]:
    """Yield what tells the kind of an update by its number, the generator's own first, and what makes that update."""
    with begun(plan, cases, machine) as (course, state, advance):

        def make(number: int) -> None:
            state.learner.update = max(0, number - plan.pretraining)
            if state.generation is not None:
                state.generation.pretrained = min(number, plan.pretraining)
            advance()

        yield partial(_kind_of, course), make


def _kind_of(course: Course, number: int) -> str:
    """Size of an update's images and what is done in it, in words."""
    plan, loop = course.plan, course.joint
    update = number - plan.pretraining
    if update < 0:
        return f"{plan.pretraining_size_at(number)[0]}: pretraining"
    kind = f"{plan.size_at(update)[0]}: stage II"
    if loop is None or plan.generation is None:
        return kind
    done = {
        "I": loop.trains_generator(update),
        "III": update in loop.steered,
        "styles": loop.takes_styles(update) and not loop.trains_generator(update),  # both together are rare
        "search over": 0 < loop.searched <= update,
    }
    return ", ".join([kind, *(name for name, is_done in done.items() if is_done)])


@contextmanager
def updates_of(plan: Plan, cases: Sequence[Prepared], machine: Machine) -> Iterator[Callable[[], object]]:
    """Yield what makes the next update of a training, its batch included; a generator counts as pretrained."""
    with begun(plan, cases, machine) as (_, state, advance):
        if state.generation is not None:
            state.generation.pretrained = 1
        yield advance


@contextmanager
def begun(
    plan: Plan, cases: Sequence[Prepared], machine: Machine
) -> Iterator[tuple[Course, TrainingState, Callable[[], object]]]:
    """Yield a training before its first update, its state, and what makes the update that the state says is next."""
    from genseg.runs.events import EventLog
    from genseg.runs.state import begin_training
    from genseg.training.advance import Advance, Course

    course = Course(plan, 0, cases, [case.name for case in cases], machine)
    advance, state = Advance(course), begin_training(plan, len(cases), 0, machine)
    with tempfile.TemporaryDirectory() as folder, EventLog(Path(folder), 0) as log, unjudged():
        yield course, state, lambda: advance(state, log)


def unjudged() -> AbstractContextManager[object]:
    """Let a generator that has learned nothing stay on."""
    return patch("genseg.joint.guards.check_health", lambda *_: None)


def plan_of(segmenter: str, size: tuple[int, ...], batch: int, updates: int, augmentation: str = "none") -> Plan:
    """A plan for two classes, RGB pictures or volumes of one channel."""
    from genseg.config import IntensityRule, Plan

    rank = len(size)
    return Plan(
        rank=2 if rank == 2 else 3,
        channels=3 if rank == 2 else 1,
        class_names=("background", "object"),
        intensity=IntensityRule(rule="z-score"),  # of every channel
        spacing=None if rank == 2 else (1.0, 1.0, 1.0),
        patch_size=size,
        segmenter=segmenter,
        batch_size=batch,
        updates=updates,
        learning_rate=1e-4,
        augmentation="strong" if augmentation == "strong" else "none",
        flip_axes=(),
    )


def disks(count: int, size: tuple[int, ...], channels: int = 3) -> list[Prepared]:
    """Noise with a bright disk, or ball, of object."""
    import numpy as np

    from genseg.prepare.preprocess import Geometry, Prepared

    cases = []
    for number in range(count):
        random = np.random.default_rng(number)
        radius = random.uniform(0.12, 0.23) * min(size)
        axes = [np.arange(side) - random.uniform(0.4, 0.6) * side for side in size]
        distance = sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij"))
        mask = (distance < radius**2).astype(np.uint8)
        image = (random.normal(size=(channels, *size)) + mask).astype(np.float32)
        cases.append(Prepared(f"case{number}", image, mask, Geometry(None, size, size), np.flatnonzero(mask)))
    return cases


def peak_mib(device: str) -> int:
    """Most memory that was in use: of the GPU where there is one, else of this process."""
    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated() // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure_segmenters(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Every setting of every segmenter in both precisions."""
    rows = []
    for segmenter in asked.segmenters:
        for rank, size, batch in SETTINGS:
            if rank == 3 and segmenter == "unet-pretrained":
                continue
            for precision in ("float32", "auto"):
                row = alone(measure, segmenter, size, batch, precision, asked.steps, asked.threads)
                rows.append(row)
                shape = " x ".join(map(str, size))
                sys.stdout.write(
                    f"{segmenter:16} {shape:14} batch {batch}  {row['precision']:9} "
                    f"{row['seconds_per_step']:7.3f} s  {row['peak_memory_mib']:6} MiB\n"
                )
                sys.stdout.flush()
    return rows


def measure_loops(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """The joint loop with each segmenter, against a plain update."""
    rows = []
    for segmenter in sorted(set(asked.segmenters) & {"unet-small", "unet-pretrained"}):
        plain = 0.0
        for way, every, method in JOINT:
            row = alone(measure_joint, segmenter, way, every, method, asked.steps, asked.threads)
            plain = plain or row["seconds_per_step"]
            row["ratio"] = round(row["seconds_per_step"] / plain, 2)
            rows.append(row)
            sys.stdout.write(
                f"{segmenter:16} {way:20} every {every}  {method:18} {row['seconds_per_step']:7.3f} s  "
                f"x {row['ratio']:.2f}  {row['peak_memory_mib']:6} MiB\n"
            )
            sys.stdout.flush()
    return rows


def measure_trainings(asked: argparse.Namespace) -> list[dict[str, Any]]:
    """Whole trainings on growing pictures, against that on real pairs alone."""
    rows = []
    for segmenter in sorted(set(asked.segmenters) & {"unet-small", "unet-pretrained"}):
        plain = 0.0
        for way in GROWING_WAYS:
            row = alone(measure_growing, segmenter, way, asked.threads)
            plain = plain or row["seconds_per_update"]
            row["ratio"] = round(row["seconds_per_update"] / plain, 2)
            rows.append(row)
            sys.stdout.write(f"{segmenter:16} {way:20} {row['seconds_per_update']:7.3f} s  x {row['ratio']:.2f}\n")
            sys.stdout.flush()
    return rows


def alone(function: Callable[..., dict[str, Any]], *given: object) -> dict[str, Any]:
    """Call a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, given)


PARTS = {
    "segmenters": (measure_segmenters, "speed"),
    "joint": (measure_loops, "speed-joint"),
    "growing": (measure_trainings, "speed-growing"),
}
"""What can be measured, and the file of its results."""


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--segmenters", nargs="+", default=["unet-small", "unet-large", "unet-pretrained"])
    parser.add_argument("--only", choices=tuple(PARTS))
    asked = parser.parse_args()
    command = f"python -m benchmarks.speed.training --steps {asked.steps} --threads {asked.threads}"
    for part, (measured, name) in PARTS.items():
        if asked.only in (None, part):
            record = {"command": f"{command} --only {part}", "rows": measured(asked)}
            write_record(RESULTS / f"{name}.json", record)


if __name__ == "__main__":
    main()
