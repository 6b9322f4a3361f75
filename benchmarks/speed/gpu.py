"""Everything that has to be seen on a GPU, in one command of under ten minutes: tests, updates, predictions, trainings.

    python -m benchmarks.speed.gpu [--device cuda] [--minutes 9] [--parts tests updates prediction training]
        [--sizes 128 256 512] [--steps 20] [--data DIR] [--at-once 4] [--out FILE]

tests: those of the joint loop and of resuming, on that device. updates: seconds and peak memory of a plain and of a
joint update, against the forecast. prediction: images per second by PyTorch (float32, bfloat16, compiled) and, where
they are installed, ONNX Runtime and TensorRT. training: 10 and 40 labels at 256 pixels, several at once, scored on
development cases.

Each result is written as it comes, and results that are there are passed over: a command that was cut short goes on
where it stopped. What fails is kept with its error, and tried again. No part is begun after `--minutes`. It runs on a
CPU too, for trying: `--device cpu --sizes 32 --steps 2`. Writes benchmarks/results/gpu.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.locations import RESULTS, ROOT, TASKS, data_root, write_record
from benchmarks.speed.training import JOINT_CASES, disks, plan_of, updates_of

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from genseg.config import Plan

TESTS = ("tests/joint", "tests/training/test_trainer.py", "tests/runs/test_checkpoint.py", "tests/generators")
"""Tests that follow GENSEG_TEST_DEVICE to another device."""

SEGMENTER, BATCH, VOLUME, VOLUME_BATCH = "unet-pretrained", 16, (64, 64, 64), 2
EVERY = 8
"""Updates from one feedback to the next, as in the default plan."""

WARM_UP, IMAGES_AT_ONCE = 3, 32
LABELS = (10, 40)
WAYS = ("strong-augmentation", "separate", "joint")
Row = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One thing to measure. key: what it is called among the results."""

    key: str
    measure: Callable[[], Row]


class Results:
    """The file of results, written whole after each."""

    def __init__(self, path: Path, about: Row) -> None:
        self.path = path
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.rows: dict[str, Row] = kept.get("rows", {}) if kept.get("about") == about else {}
        self.about = about

    def keep(self, part: Part) -> None:
        """Measure a part and write what was found, or how it failed."""
        started = time.perf_counter()
        try:
            row = part.measure()
        except Exception as error:  # whatever a driver, a compiler or a package throws is a result too
            row = {"failed": f"{type(error).__name__}: {error}"[:2000], "trace": traceback.format_exc()[-4000:]}
        self.rows[part.key] = {**row, "took_seconds": round(time.perf_counter() - started, 1)}
        write_record(self.path, {"about": self.about, "rows": self.rows})
        sys.stdout.write(json.dumps({part.key: {k: v for k, v in row.items() if k != "trace"}}) + "\n")
        sys.stdout.flush()

    def is_done(self, part: Part) -> bool:
        """Whether a part has a result that is no failure."""
        return part.key in self.rows and "failed" not in self.rows[part.key]


def main() -> None:
    """Measure what is missing until the time is up."""
    asked = _arguments()
    until = time.monotonic() + 60 * asked.minutes
    results = Results(asked.out, _about(asked.device))
    for part in parts(asked):
        if time.monotonic() > until:
            sys.stdout.write(f"{asked.minutes} minutes are over; the same command goes on with {part.key}\n")
            return
        if not results.is_done(part):
            results.keep(part)


def parts(asked: argparse.Namespace) -> Iterator[Part]:
    """What was asked for, in the order of what matters most."""
    if "tests" in asked.parts:
        for path in TESTS:
            yield Part(f"tests {path}", partial(run_tests, path, asked.device))
    if "updates" in asked.parts:
        for size in [*((side, side) for side in asked.sizes), VOLUME]:
            for way in ("strong-augmentation", "joint"):
                shape = "x".join(map(str, size))
                yield Part(f"update {way} {shape}", partial(time_updates, way, size, asked.steps, asked.device))
    if "prediction" in asked.parts:
        for how, predictor in PREDICTORS.items():
            for side in asked.sizes:
                yield Part(f"prediction {how} {side}", partial(time_prediction, predictor, side, asked.device))
    if "training" in asked.parts:
        wanted = [(task, labels, way) for labels in LABELS for task in TASKS for way in WAYS]
        for start in range(0, len(wanted), asked.at_once):
            group = wanted[start : start + asked.at_once]
            yield Part(f"training {group}", partial(train_together, group, asked.device, asked.data))


# Tests


def run_tests(path: str, device: str) -> Row:
    """Pass a folder or file of tests on the device; the last lines say which failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--maxfail=20", "-p", "no:cacheprovider", path]
    environment = {**os.environ, "GENSEG_TEST_DEVICE": device, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    tail = done.stdout.splitlines()[-12:]
    return {"passed": True, "summary": tail[-1]} if done.returncode == 0 else {"failed": "\n".join(tail)}


# Updates


def time_updates(way: str, size: tuple[int, ...], steps: int, device: str) -> Row:
    """Mean seconds of an update on the device, batches included, its peak memory, and what was forecast."""
    from genseg.compute.device import choose_machine
    from genseg.training.rehearsal import rehearse

    machine = choose_machine(device)
    plan = _joint_plan(size, steps + EVERY) if way == "joint" else _plain_plan(size, steps + EVERY)
    cases = disks(JOINT_CASES, size, plan.channels)
    forecast = rehearse(plan, len(cases), machine).peak
    with updates_of(plan, cases, machine) as update:
        for _ in range(EVERY):
            update()
        reset_peak(machine.device)
        seconds = timed(update, steps, machine.device)
    return {
        "seconds_per_update": round(seconds, 5),
        "images_per_second": round(plan.batch_size / seconds, 1),
        "forecast_mib": forecast // 2**20,
        "peak_mib": peak_mib(machine.device),
        "precision": str(machine.dtype).removeprefix("torch."),
    }


def _plain_plan(size: tuple[int, ...], updates: int) -> Plan:
    if len(size) == 2:
        return plan_of(SEGMENTER, size, BATCH, updates, "strong")
    return plan_of("unet-small", size, VOLUME_BATCH, updates, "strong")


def _joint_plan(size: tuple[int, ...], updates: int) -> Plan:
    from genseg.config import GenerationPlan

    generation = GenerationPlan(method="joint", pretraining=1, every=EVERY)
    return _plain_plan(size, updates).model_copy(update={"generation": generation})


# Prediction


def _module(size: int, device: str) -> torch.nn.Module:
    from genseg.compute.device import choose_machine
    from genseg.segmenters.registry import build_segmenter

    machine = choose_machine(device, "float32")
    plan = _plain_plan((size, size), 1)
    return machine.place(build_segmenter(plan.segmenter, 2, plan.channels, plan.classes), 2).eval()


def eager(size: int, device: str, precision: str = "float32", compiled: bool = False) -> Callable[[Tensor], object]:
    """PyTorch, channels last; compiled: with CUDA graphs where the device has them."""
    import torch

    module = _module(size, device)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    called = torch.compile(module, mode="reduce-overhead") if compiled else module

    def predict(image: Tensor) -> object:
        with torch.autocast(image.device.type, dtype, enabled=dtype != torch.float32):
            return called(image)

    return predict


def onnx_runtime(size: int, device: str, provider: str = "CUDAExecutionProvider") -> Callable[[Tensor], object]:
    """ONNX Runtime by one of its providers; the image is copied from the processor, as a user's is."""
    import onnxruntime
    import torch

    from genseg.export.onnx import write_onnx

    wanted = provider if device != "cpu" else "CPUExecutionProvider"
    if wanted not in onnxruntime.get_available_providers():
        raise RuntimeError(f"this ONNX Runtime has {onnxruntime.get_available_providers()} and no {wanted}")
    module = _module(size, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        write_onnx(module, _plain_plan((size, size), 1), "{}", path)
        session = onnxruntime.InferenceSession(path.read_bytes(), providers=[wanted])

    def predict(image: Tensor) -> object:
        return torch.from_numpy(session.run(["logits"], {"image": image.cpu().numpy()})[0])

    return predict


PREDICTORS: dict[str, Callable[[int, str], Callable[[Tensor], object]]] = {
    "pytorch float32": eager,
    "pytorch bfloat16": partial(eager, precision="bfloat16"),
    "pytorch bfloat16 compiled": partial(eager, precision="bfloat16", compiled=True),
    "onnxruntime": onnx_runtime,
    "tensorrt": partial(onnx_runtime, provider="TensorrtExecutionProvider"),
}


def time_prediction(predictor: Callable[[int, str], Callable[[Tensor], object]], size: int, device: str) -> Row:
    """Images per second, each looked at once, one and `IMAGES_AT_ONCE` at a time; images lie on the device."""
    import torch

    from genseg.compute.device import layout

    predict, place = predictor(size, device), torch.device(device)
    rows: Row = {}
    with torch.inference_mode():
        for count in (1, IMAGES_AT_ONCE):
            image = torch.randn(count, 3, size, size, device=place).contiguous(memory_format=layout(2))
            for _ in range(WARM_UP):
                predict(image)
            reset_peak(place)
            seconds = timed(lambda image=image: predict(image), 30 if place.type == "cuda" else 2, place)
            rows[f"images_per_second_by_{count}"] = round(count / seconds, 1)
            rows[f"peak_mib_by_{count}"] = peak_mib(place)
    return rows


# Trainings


def train_together(runs: list[tuple[str, int, str]], device: str, data: Path) -> Row:
    """Several trainings at once on one device, each a process; their development Dice and seconds."""
    started = time.perf_counter()
    with ThreadPoolExecutor(len(runs)) as pool:
        found = list(pool.map(lambda run: _train(*run, device, data), runs))
    failed = [one["failed"] for one in found if "failed" in one]
    rows = {"runs": found, "seconds_together": round(time.perf_counter() - started, 1)}
    return {**rows, "failed": "; ".join(failed)} if failed else rows


def _train(task: str, labels: int, way: str, device: str, data: Path) -> Row:
    chosen = ["--tasks", task, "--labels", str(labels), "--ways", way, "--segmenters", SEGMENTER, "--seeds", "0"]
    command = [sys.executable, "-m", "benchmarks.accuracy.run", "size", *chosen, "--draws", "0", "--development"]
    command += ["--device", device, "--data", str(data), "--threads", "2"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500, check=False)
    said = (done.stdout or done.stderr).splitlines()[-1:]
    row: Row = {"task": task, "labels": labels, "way": way, "said": said}
    return row if done.returncode == 0 else {**row, "failed": done.stderr[-1000:]}


# Measuring


def timed(function: Callable[[], object], count: int, device: torch.device) -> float:
    """Mean seconds of a call, the device's work done."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(count):
        function()
    wait_for(device)
    return (time.perf_counter() - started) / count


def wait_for(device: torch.device) -> None:
    """Until the device has done what it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


def reset_peak(device: torch.device) -> None:
    """Begin to look for the peak of a GPU's memory anew."""
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: torch.device) -> int | None:
    """Most memory of tensors since then; None on a CPU, where nothing counts it."""
    import torch

    return torch.cuda.max_memory_allocated(device) // 2**20 if device.type == "cuda" else None


def _about(device: str) -> Row:
    import torch

    from genseg.compute.device import choose_machine

    return {
        "command": f"python -m benchmarks.speed.gpu --device {device}",
        "device": choose_machine(device).describe(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ("tests", "updates", "prediction", "training")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--parts", nargs="+", choices=names, default=names)
    parser.add_argument("--sizes", nargs="+", type=int, default=[128, 256, 512])
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
