"""A full disk loses nothing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import genseg

ON_A_SMALL_DISK = """
import resource
from genseg.cli import main

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # more than every file but those of weights
main()
"""


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
    genseg.fit(rgb_phantoms, run, resume=True)
    weights = "model/segmenter.safetensors"
    assert (run / weights).read_bytes() == (rgb_run / weights).read_bytes()
