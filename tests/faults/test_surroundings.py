"""Clock, time zone, locale, hash seed and order of listing change no split and no number; a full disk loses nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPARED = ("split.json", "cases.json", "plan.yaml", "model/segmenter.safetensors", "validation/scores.csv")
TRAINING = """
import itertools, sys, time
from pathlib import Path
from genseg.cli import main

clock, listed, is_odd = itertools.count(2e9, -3600), Path.iterdir, sys.argv.pop() == "odd"
if is_odd:
    time.time = lambda: float(next(clock))
    Path.iterdir = lambda folder: iter(sorted(listed(folder), reverse=True))
main()
"""
ON_A_SMALL_DISK = """
import resource
from genseg.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # more than every file but those of weights
main()
"""
EVEN = {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
ODD = {"PYTHONHASHSEED": "4711", "TZ": "Pacific/Kiritimati", "LC_ALL": "de_DE.UTF-8", "LANG": "de_DE.UTF-8"}


def _train(data: Path, out: Path, kind: str, environment: dict[str, str]) -> dict[str, bytes]:
    """Train in a process of its own; what is compared of the run folder."""
    options = ["--size", "32", "--updates", "2", "--batch-size", "2", "--device", "cpu", "--precision", "float32"]
    command = ["train", str(data), "-o", str(out), "--method", "strong-augmentation", "--segmenter", "unet-small"]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *command, *options, kind],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return {name: (out / name).read_bytes() for name in COMPARED}


@pytest.mark.fault(38)
def test_a_run_is_the_same_whatever_surrounds_it(rgb_phantoms: Path, tmp_path: Path) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    (data / "dataset.json").unlink()
    even, odd = _train(data, tmp_path / "even", "even", EVEN), _train(data, tmp_path / "odd", "odd", ODD)
    assert [name for name in COMPARED if even[name] != odd[name]] == []


@pytest.mark.fault(29)
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit of file sizes")
def test_where_the_disk_is_full_the_run_stops_and_goes_on_when_there_is_space(
    rgb_phantoms: Path, rgb_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(rgb_run, tmp_path / "run")
    shutil.rmtree(run / "model")
    kept = {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()}
    resumed = ["train", str(rgb_phantoms), "-o", str(run), "--resume", "--no-compare"]
    done = subprocess.run([sys.executable, "-c", ON_A_SMALL_DISK, *resumed], capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "File too large" in done.stderr
    assert "segmenter.safetensors" in done.stderr.replace("\n", "")
    assert "Traceback" not in done.stderr
    assert {path.name: path.read_bytes() for path in (run / "checkpoints").iterdir()} == kept
    assert list((run / "model").iterdir()) == []
    again = subprocess.run([sys.executable, "-m", "genseg", *resumed], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    weights = "model/segmenter.safetensors"
    assert (run / weights).read_bytes() == (rgb_run / weights).read_bytes()
