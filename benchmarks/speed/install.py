"""What an installation weighs and how long its first mask takes: with PyTorch, with ONNX Runtime, with OpenVINO.

    python -m benchmarks.speed.install [--runtimes train runtime openvino]

For each, genseg is installed with that extra under constraints.txt into a new environment, and predicts one phantom of
256 pixels in a new process; the median of five is reported, and what `import genseg; genseg.load` alone takes is part
of it. The model is trained and exported beforehand by the environment that runs this. Writes
benchmarks/results/install.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from benchmarks.locations import RESULTS, ROOT

MODELS = {"train": "run", "runtime": "model.onnx", "openvino": "model.xml"}
REPEATS = 5


def main() -> None:
    """Install, measure, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtimes", nargs="+", default=list(MODELS), choices=list(MODELS))
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        make_models(work)
        for extra in asked.runtimes:
            rows.append(measure(work, extra))
            sys.stdout.write(json.dumps(rows[-1]) + "\n")
    text = json.dumps({"command": "python -m benchmarks.speed.install", "rows": rows}, indent=1)
    (RESULTS / "install.json").write_text(text + "\n", encoding="utf-8")


def make_models(work: Path) -> None:
    """A run of a few updates, and its exports."""
    import genseg
    from genseg.synthetic.phantoms import write_phantoms

    data = write_phantoms(work / "data", "rgb", cases=12, size=256)
    genseg.fit(
        data, work / "run", settings=genseg.Settings(method="strong-augmentation", updates=5, batch_size=4, size=256)
    )
    genseg.export_model(work / "run", data, "onnx", work / "model.onnx")
    genseg.export_model(work / "run", data, "openvino", work / "model.xml")


def measure(work: Path, extra: str) -> dict[str, object]:
    """One environment: its size and its cold start."""
    environment = work / f"venv-{extra}"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    before = size_of(environment)
    constraints = {
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_BUILD_CONSTRAINT": str(ROOT / "constraints.txt"),
    }
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-q", f"{ROOT}[{extra}]"], check=True, env={**os.environ, **constraints}
    )
    seconds = [first_mask(work, environment, extra, number) for number in range(REPEATS)]
    has_torch = subprocess.run([python, "-c", "import torch"], capture_output=True).returncode == 0
    return {
        "extra": extra,
        "pytorch": has_torch,
        "mib": round((size_of(environment) - before) / 2**20),
        "first_mask_seconds": round(statistics.median(seconds), 2),
    }


def first_mask(work: Path, environment: Path, extra: str, number: int) -> float:
    """Seconds from the command to the mask on disk."""
    image = work / "data" / "images" / "phantom_000.png"
    out = work / f"masks-{extra}-{number}"
    began = time.perf_counter()
    command = [environment / "bin" / "genseg", "predict", work / MODELS[extra], image, "-o", out]
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def size_of(folder: Path) -> int:
    """Bytes of all files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
