"""Volumes are computed right on this processor, whatever precision is asked for and whatever lay in memory.

    python -m benchmarks.robustness.precision [--tries 200] [--threads 1]

Convolutions of the small U-Net whose gradients were seen to go wrong in bfloat16 are tried, each time with NaN in the
memory that was freed before and 3e38 in fresh memory, and compared with float64; where the processor has bfloat16, so
are PyTorch's own in it. Trainings on flat patches are repeated with other bytes in fresh memory, and their weights
compared. Last, the seconds that an update takes. Writes benchmarks/results/precision.json.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.locations import RESULTS, write_record
from benchmarks.speed.training import alone, plan_of

if TYPE_CHECKING:
    from torch import Tensor

HIT = [
    ((2, 128, 8, 8, 1), 256, 2, (64, 64, 8)),
    ((2, 256, 2, 2, 1), 256, 1, (32, 32, 16)),
    ((2, 256, 2, 4, 4), 256, 1, (24, 64, 64)),
    ((2, 128, 2, 8, 8), 128, 1, (16, 64, 64)),
    ((2, 384, 2, 8, 8), 128, 1, (16, 64, 64)),
    ((2, 64, 2, 16, 16), 64, 1, (8, 64, 64)),
    ((2, 192, 2, 16, 16), 64, 1, (8, 64, 64)),
]
"""Images (batch, channel, *spatial), output channels and stride of convolutions of 3 x 3 x 3 that were hit, and the
patch of the small U-Net that they are of."""

PATCHES = ((24, 64, 64), (64, 64, 8))
FILLS = ("0", "128")
"""Of glibc's MALLOC_PERTURB_: fresh memory is left as it is, or filled with float32 of 3e38."""

TIMED = ((40, 40, 40), 4), ((24, 64, 64), 2)
WITHOUT = "this processor has no bfloat16: PyTorch emulates it by other kernels"


def try_shape(
    shape: tuple[int, ...], outputs: int, stride: int, tries: int, threads: int, bare: bool
) -> dict[str, Any]:
    """Tries that gave gradients of weights that are not finite, and the largest deviation from float64 of the others.

    bare: by PyTorch's autocast alone, without what genseg puts around it.
    """
    import torch

    from genseg.compute.device import choose_machine

    torch.set_num_threads(threads)
    machine = choose_machine("cpu", "bfloat16")

    def arithmetic() -> AbstractContextManager[object]:
        return torch.autocast("cpu", torch.bfloat16) if bare else machine.autocast(3)

    torch.manual_seed(0)
    layer, image = torch.nn.Conv3d(shape[1], outputs, 3, stride, padding=1, bias=False), torch.randn(shape)
    exact = in_float64(layer, image)
    worst, broken = 0.0, 0
    for layout in (torch.channels_last_3d, torch.contiguous_format):
        layer, image = layer.to(memory_format=layout), image.contiguous(memory_format=layout)
        for _ in range(tries // 2):
            soiled = [torch.full((layer.weight.numel(),), torch.nan) for _ in range(3)]
            del soiled
            with arithmetic():
                output = layer(image)
            (gradient,) = torch.autograd.grad(output, layer.weight, torch.ones_like(output) * 0.01)
            broken += not bool(gradient.isfinite().all())
            far = ((gradient - exact).abs().max() / exact.abs().max()).item()
            worst = max(worst, far if math.isfinite(far) else 0.0)
    return {"tries": tries, "not_finite": broken, "largest_deviation": float(f"{worst:.3g}")}


def in_float64(layer: Any, image: Tensor) -> Tensor:
    """The gradient of the weights by PyTorch's own kernels, for oneDNN has none of float64."""
    import torch

    precise = copy.deepcopy(layer).double()
    output = precise(image.double())
    gradient: Tensor = torch.autograd.grad(output, precise.weight, torch.ones_like(output) * 0.01)[0]
    return gradient


def try_shapes(tries: int, threads: int, has_bfloat16: bool) -> list[dict[str, Any]]:
    """Every shape that was hit, as genseg computes it and, where the processor has bfloat16, as PyTorch does."""
    rows = []
    for shape, outputs, stride, patch in HIT:
        row: dict[str, Any] = {"patch": patch, "image": shape, "outputs": outputs, "stride": stride}
        row["genseg"] = filled("128", try_shape, shape, outputs, stride, tries, threads, False)
        bare = (shape, outputs, stride, 20, threads, True)
        row["bare_bfloat16"] = filled("0", try_shape, *bare) if has_bfloat16 else WITHOUT
        rows.append(row)
        tell(row)
    return rows


def digest(data: Path, out: Path, patch: tuple[int, ...], precision: str, threads: int) -> str:
    """The hash of the weights that a short training ends with."""
    import torch

    import genseg

    torch.set_num_threads(threads)
    settings = genseg.Settings(method="strong-augmentation", updates=2, batch_size=2, device="cpu", precision=precision)
    plan = genseg.plan(data, settings).model_copy(update={"patch_size": patch, "mirroring": False})
    run = genseg.fit(data, out, settings=settings, plan=plan).run
    return hashlib.sha256((run / "model" / "segmenter.safetensors").read_bytes()).hexdigest()


def repeat_trainings(threads: int) -> list[dict[str, Any]]:
    """Weights of the same training in bfloat16, with other bytes in fresh memory each time, and in float32."""
    from genseg.synthetic.phantoms import write_phantoms

    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        data = write_phantoms(Path(temporary) / "data", "volume", cases=6, size=36)
        for patch in PATCHES:
            found = {}
            for precision, fill in [*(("bfloat16", fill) for fill in FILLS), ("float32", "0")]:
                name = f"{precision}, memory filled with {fill}"
                out = Path(temporary) / f"{'-'.join(map(str, patch))}-{precision}-{fill}"
                found[name] = filled(fill, digest, data, out, patch, precision, threads)
            rows.append({"patch": patch, "weights": found, "equal": len(set(found.values())) == 1})
            tell(rows[-1])
    return rows


def filled(fill: str, function: Callable[..., Any], *given: object) -> Any:
    """Call a function in a process whose fresh memory is filled."""
    os.environ["MALLOC_PERTURB_"] = fill
    try:
        return alone(function, *given)
    finally:
        del os.environ["MALLOC_PERTURB_"]


def seconds_an_update(size: tuple[int, ...], batch: int, how: str, steps: int, threads: int) -> float:
    """Median seconds of an update of the small U-Net. how: the precision asked for, or "bare" bfloat16."""
    from unittest.mock import patch

    import torch

    from genseg.compute.device import Machine, choose_machine
    from genseg.segmenters.learner import begin, make_update

    torch.set_num_threads(threads)
    machine = choose_machine("cpu", "bfloat16" if how == "bare" else how)
    plan = plan_of("unet-small", size, batch, steps + 1)
    learner = begin(plan, 0, machine)
    image, mask = machine.send(torch.randn(batch, 1, *size)), torch.zeros(batch, *size, dtype=torch.uint8)
    bare = patch.object(Machine, "autocast", lambda *_: torch.autocast("cpu", torch.bfloat16))
    seconds = []
    with bare if how == "bare" else nullcontext():
        for _ in range(plan.updates):
            started = time.perf_counter()
            make_update(learner, image, mask, plan, 0, machine)
            seconds.append(time.perf_counter() - started)
    return round(statistics.median(seconds[1:]), 3)


def time_updates(steps: int, threads: int, has_bfloat16: bool) -> list[dict[str, Any]]:
    """Seconds of an update as genseg makes it, in either precision asked for, and of one in bare bfloat16."""
    rows = []
    for size, batch in TIMED:
        row: dict[str, Any] = {"patch": size, "batch": batch}
        for how in ("float32", "bfloat16", *(("bare",) if has_bfloat16 else ())):
            row[how] = alone(seconds_an_update, size, batch, how, steps, threads)
        row["bfloat16 / float32"] = round(row["bfloat16"] / row["float32"], 2)
        row["float32 / bare"] = round(row["float32"] / row["bare"], 2) if has_bfloat16 else WITHOUT
        rows.append(row)
        tell(row)
    return rows


def tell(row: dict[str, Any]) -> None:
    """Print a row at once."""
    sys.stdout.write(json.dumps(row) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Try, repeat, time, and keep the record."""
    import torch

    from genseg.compute.device import choose_machine, processor_name

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=200)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    has_bfloat16 = choose_machine("cpu").dtype == torch.bfloat16
    record = {
        "command": f"python -m benchmarks.robustness.precision --tries {asked.tries} --steps {asked.steps} "
        f"--threads {asked.threads}",
        "processor": processor_name(),
        "has_bfloat16": has_bfloat16,
        "torch": torch.__version__,
        "shapes": try_shapes(asked.tries, asked.threads, has_bfloat16),
        "trainings": repeat_trainings(asked.threads),
        "seconds": time_updates(asked.steps, asked.threads, has_bfloat16),
    }
    write_record(RESULTS / "precision.json", record)


if __name__ == "__main__":
    main()
