"""Images per second from decoded file to mask, on 1 and on 2 threads, of every way to run a model on a processor.

    python -m benchmarks.speed.latency [--sizes 128 256] [--volume] [--seconds 5] [--threads 1 2]

A model is trained for a few updates on phantoms (its speed does not depend on what it has learned), exported, and given
a folder of PNG pictures of the same size, or NIfTI volumes of 36 voxels an edge; each is read from disk, prepared,
segmented and brought back to its own size, as `genseg predict` does without writing. "mirrored" averages over all ways
to mirror the image, as the model does by default. Each way runs in a process of its own. Agreement is the share of
pixels with the class that PyTorch in float32 gives. "exports" are seconds, and seconds of the processor, that each
export took; "steps" the milliseconds of the processor that reading, preparing, the network and all after it take of an
image that is looked at once on one thread. Writes benchmarks/results/latency.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.locations import RESULTS, write_record

IMAGES = 12
"""Different files that are read in turn."""


@dataclass(frozen=True)
class Way:
    """A way to run the model. precision: of PyTorch, or of the exported file."""

    runtime: str
    precision: str


WAYS = (
    Way("pytorch", "float32"),
    Way("pytorch", "bfloat16"),
    Way("onnxruntime", "float32"),
    Way("openvino", "float32"),
    Way("openvino", "bfloat16"),
    Way("openvino", "int8"),
)
TARGETS = {"onnxruntime": ("onnx", ".onnx"), "openvino": ("openvino", ".xml")}


def main() -> None:
    """Measure everything that is asked for and keep it."""
    asked = _arguments()
    rows: list[dict[str, Any]] = []
    exports: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        kinds = [("volume", 36)] if asked.volume else [("rgb", size) for size in asked.sizes]
        for kind, size in kinds:
            folder = Path(temporary) / f"{kind}-{size}"
            alone(prepare_kind, folder, kind, size)
            for way in WAYS:
                if way.runtime in TARGETS:
                    exports.append({"kind": kind, "size": size, **alone(export, folder, way)})
                parts.append({"kind": kind, "size": size, **alone(steps, folder, way, asked.seconds)})
            expected = None
            for way in WAYS:
                for threads in asked.threads:
                    row = alone(measure, folder, way, threads, asked.seconds)
                    masks = row.pop("masks")
                    expected = masks if expected is None else expected
                    same = np.mean([np.mean(one == other) for one, other in zip(masks, expected, strict=True)])
                    rows.append({"kind": kind, "size": size, **row, "agreement": round(float(same), 6)})
                    sys.stdout.write(json.dumps(rows[-1]) + "\n")
                    sys.stdout.flush()
    target = RESULTS / ("latency-volume.json" if asked.volume else "latency.json")
    command = "python -m benchmarks.speed.latency" + " --volume" * asked.volume
    kept = {"command": command, "device": processor(), "rows": rows, "exports": exports, "steps": parts}
    write_record(target, kept)


def prepare_kind(folder: Path, kind: str, size: int) -> None:
    """Make images and a model in `folder`."""
    import genseg
    from genseg.synthetic.phantoms import write_phantoms

    data = write_phantoms(folder / "data", kind, cases=IMAGES + 4, size=size)  # type: ignore[arg-type]
    settings = genseg.Settings(
        method="strong-augmentation", size=size if kind == "rgb" else None, updates=10, batch_size=4
    )
    genseg.fit(data, folder / "run", settings=settings)


def export(folder: Path, way: Way) -> dict[str, Any]:
    """Export the run in `folder` for a way of running: seconds, and seconds of the processor, with all imports."""
    started, spent = time.perf_counter(), time.process_time()
    import genseg

    to, suffix = TARGETS[way.runtime]
    out = folder / f"{way.runtime}-{way.precision}{suffix}"
    made = genseg.export_model(folder / "run", folder / "data", to, out, precision=way.precision)  # type: ignore[arg-type]
    return {
        "runtime": way.runtime,
        "precision": way.precision,
        "seconds": round(time.perf_counter() - started, 1),
        "processor_seconds": round(time.process_time() - spent, 1),
        "cases_compared": made.parity.cases,
    }


def steps(folder: Path, way: Way, seconds: float) -> dict[str, Any]:
    """Milliseconds of the processor, least of several images, that each step from file to mask takes on one thread."""
    from genseg.index import index_images
    from genseg.prepare.preprocess import prepare
    from genseg.trust.suitability import fit_case

    model = open_model(folder, way, 1).without_mirroring()
    entries = [index_images(file)[0] for file in sorted((folder / "data" / "images").iterdir())[:IMAGES]]
    least = dict.fromkeys(("read", "prepare", "network", "all"), float("inf"))
    started = time.perf_counter()
    while time.perf_counter() - started < seconds:
        for files in entries:
            case, read = spent(model.read, files)
            prepared, preparing = spent(lambda case=case: prepare(fit_case(case, model.plan), model.plan))
            _, network = spent(model.network, prepared.image[None])
            _, examined = spent(model.examine_case, case)
            took = {"read": read, "prepare": preparing, "network": network, "all": read + examined}
            least = {name: min(least[name], took[name]) for name in least}
    after = least["all"] - least["read"] - least["prepare"] - least["network"]
    milliseconds = {name: round(1000 * took, 2) for name, took in {**least, "after": after}.items()}
    return {"runtime": way.runtime, "precision": way.precision, "milliseconds": milliseconds}


def spent(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a function returns, and the seconds of the processor that it took."""
    started = time.process_time()
    returned = function(*arguments)
    return returned, time.process_time() - started


def measure(folder: Path, way: Way, threads: int, seconds: float) -> dict[str, Any]:
    """Images per second of one way, with mirroring and without, and the masks."""
    model = open_model(folder, way, threads)
    files = sorted((folder / "data" / "images").iterdir())[:IMAGES]
    plain = model.without_mirroring()
    return {
        "runtime": way.runtime,
        "precision": way.precision,
        "threads": threads,
        "per_second": round(rate(plain, files, seconds), 2),
        "per_second_mirrored": round(rate(model, files, seconds), 2),
        "masks": [plain.predict(file) for file in files],
    }


def open_model(folder: Path, way: Way, threads: int) -> Any:
    """The model of a way of running, on so many threads."""
    import genseg

    if way.runtime != "pytorch":
        return genseg.load(folder / f"{way.runtime}-{way.precision}{TARGETS[way.runtime][1]}", threads=threads)
    model = genseg.load(folder / "run", device="cpu", threads=threads)
    return model if way.precision == "float32" else replace(model, network=in_bfloat16(model.network))


def in_bfloat16(network: Any) -> Any:
    """A PyTorch network whose convolutions run in bfloat16."""
    import torch

    class Rounded:
        is_fixed = False

        def __call__(self, image: NDArray[np.float32]) -> Any:
            with torch.autocast("cpu", torch.bfloat16):
                return network(image)

    return Rounded()


def rate(model: Any, files: list[Path], seconds: float) -> float:
    """Files a second from disk to mask, after one round of warming up."""
    for file in files:
        model.predict(file)
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        model.predict(files[done % len(files)])
        done += 1
    return done / (time.perf_counter() - started)


def processor() -> str:
    """Its name."""
    from genseg.compute.device import processor_name

    return processor_name()


def alone(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own, so that thread pools and memory are its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--volume", action="store_true", help="volumes instead of pictures")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
