"""One model used by eight threads at once: each result is held against that of a single thread.

    python -m benchmarks.robustness.threads [--predictions 1000] [--threads 8]

A tiny network is trained for a few updates on phantoms and exported to every runtime. Pictures of many sizes are
segmented by one thread, one after the other, then again and again by all threads at once; mask, confidence, expected
Dice and ood_score must be the same to the last bit. PyTorch and OpenVINO compute with one thread for each call.
Writes benchmarks/results/threads.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.locations import RESULTS, write_record

PICTURES = 50
SIDES = 32, 96
Said = tuple[bytes, bytes, float | None, float | None]


def main() -> None:
    """Try every runtime and keep the counts."""
    asked = _arguments()
    with tempfile.TemporaryDirectory() as temporary:
        rows = [{"runtime": name, **tried(model, asked)} for name, model in models(Path(temporary))]
    command = f"python -m benchmarks.robustness.threads --predictions {asked.predictions} --threads {asked.threads}"
    write_record(RESULTS / "threads.json", {"command": command, "rows": rows})
    for row in rows:
        sys.stdout.write("{runtime}: {different} of {predictions} differ, {seconds} s\n".format(**row))


def models(folder: Path) -> Iterator[tuple[str, Any]]:
    """Every way to run the same small model, by name."""
    import torch

    import genseg
    from genseg.export.bundle import open_bundle
    from genseg.segmenters import unet
    from genseg.segmenters.network import Ensemble
    from genseg.synthetic.phantoms import write_phantoms

    torch.set_num_threads(1)
    unet.SMALL = {2: [8, 16, 24], 3: [8, 16, 24]}
    data = write_phantoms(folder / "data", "rgb", cases=20, size=64)
    settings = genseg.Settings(segmenter="unet-small", method="strong-augmentation", size=64, updates=60, device="cpu")
    model = genseg.fit(data, folder / "run", settings=settings)
    yield "PyTorch", model
    yield "PyTorch, ensemble of two", replace(model, network=Ensemble([model.network] * 2))
    yield "ONNX Runtime", genseg.load(genseg.export_model(model.run, data, "onnx").path, threads=1)
    for precision in ("float32", "bfloat16", "int8"):
        made = genseg.export_model(model.run, data, "openvino", folder / f"{precision}.xml", precision=precision)
        yield f"OpenVINO, {precision}", genseg.load(made.path, threads=1)
    yield "MONAI bundle", open_bundle(genseg.export_model(model.run, data, "bundle").path)


def tried(model: Any, asked: argparse.Namespace) -> dict[str, Any]:
    """How many predictions of many threads differ from a single thread's."""
    images = pictures()
    alone = [said(model, image) for image in images]
    numbers = [number % len(images) for number in range(asked.predictions)]
    began = time.perf_counter()
    with ThreadPoolExecutor(asked.threads) as pool:
        together = list(pool.map(lambda number: said(model, images[number]), numbers))
    seconds = round(time.perf_counter() - began, 1)
    different = sum(one != alone[number] for number, one in zip(numbers, together, strict=True))
    counts = {"threads": asked.threads, "predictions": len(together), "pictures": len(set(alone))}
    return {**counts, "different": different, "seconds": seconds}


def said(model: Any, image: NDArray[np.uint8]) -> Said:
    """All that a model says of an image, to compare."""
    found = model.examine(image)
    return found.mask.tobytes(), found.confidence.tobytes(), found.expected_dice, found.ood_score


def pictures() -> list[NDArray[np.uint8]]:
    """RGB pictures of different sizes, each with a bright box."""
    made = []
    for number in range(PICTURES):
        draw = np.random.default_rng(number)
        rows, columns = draw.integers(*SIDES, 2)
        picture = draw.integers(0, 90, (3, rows, columns)).astype(np.uint8)
        picture[:, rows // 4 : rows // 2, columns // 4 : columns // 2] += np.uint8(120 + number)
        made.append(picture)
    return made


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=1000, help="of each runtime, in all")
    parser.add_argument("--threads", type=int, default=8)
    return parser.parse_args()


if __name__ == "__main__":
    main()
