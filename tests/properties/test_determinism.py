"""The same data and seed give the same model, byte by byte, whatever machine, clock and folders are like."""

from __future__ import annotations

import locale
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPARED = (
    "model/segmenter.safetensors",
    "model/generator.safetensors",
    "split.json",
    "cases.json",
    "plan.yaml",
    "validation/scores.csv",
)
TRAINING = """
import itertools, locale, os, pathlib, sys, time

locale.setlocale(locale.LC_ALL, "")
order = sys.argv.pop()
if order == "reversed":
    listed, scanned, iterated = os.listdir, os.scandir, pathlib.Path.iterdir

    class Scanned(list):
        close = __exit__ = lambda *_: None
        __enter__ = lambda self: self
        __next__ = lambda self: self.pop() if self else next(iter(()))

    clock = itertools.count(2e9, -3600)
    time.time = lambda: float(next(clock))
    os.listdir = lambda *place: sorted(listed(*place), reverse=True)
    os.scandir = lambda *place: Scanned(sorted(scanned(*place), key=lambda entry: entry.name))
    pathlib.Path.iterdir = lambda folder: iter(sorted(iterated(folder), reverse=True))

from genseg.cli import main
from genseg.generators import registry
from genseg.joint import guards
from genseg.segmenters import unet

registry.GENERATORS["small"] = registry.GeneratorSpec("small", "tiny", {2: (4, 6), 3: (3, 4)})
guards.check_health = lambda *_: None
unet.SMALL = {2: [4, 8], 3: [4, 8]}
main()
"""
OPTIONS = {
    **{"method": "joint", "segmenter": "unet-small", "updates": "2", "pretraining": "2", "batch-size": "2"},
    **{"device": "cpu", "precision": "float32"},
}


def _foreign_locale() -> str:
    """A locale of decimal commas where the machine has one."""
    before = locale.setlocale(locale.LC_ALL)
    for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "C.UTF-8"):
        try:
            locale.setlocale(locale.LC_ALL, name)
        except locale.Error:
            continue
        locale.setlocale(locale.LC_ALL, before)
        return name
    return "C"


def _copy(data: Path, target: Path, is_reversed: bool, modified: float) -> Path:
    """The data set with its files made in this order or the other, each modified an hour after the one before it."""
    files = sorted(path for path in data.rglob("*") if path.is_file() and path.name != "dataset.json")
    for place, path in enumerate(reversed(files) if is_reversed else files):
        copy = target / path.relative_to(data)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        os.utime(copy, (modified, modified + 3600 * place))
    return target


def _train(data: Path, out: Path, order: str, surroundings: dict[str, str]) -> dict[str, bytes]:
    """Train in a process of its own; what is compared of the run folder."""
    options = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
    command = ["train", str(data), "-o", str(out), "--effort", "quick", *options, order]
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *command], env=os.environ | surroundings, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return {name: (out / name).read_bytes() for name in COMPARED}


@pytest.mark.fault(38)
def test_a_model_is_the_same_byte_by_byte_whatever_surrounds_its_training(rgb_phantoms: Path, tmp_path: Path) -> None:
    usual = _copy(rgb_phantoms, tmp_path / "usual", is_reversed=False, modified=1e9)
    unusual = _copy(rgb_phantoms, tmp_path / "unusual", is_reversed=True, modified=0)
    first = _train(usual, tmp_path / "first", "listed", {"PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C"})
    strange = {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": _foreign_locale(), "COLUMNS": "20"}
    second = _train(unusual, tmp_path / "second", "reversed", strange)
    assert [name for name in COMPARED if first[name] != second[name]] == []
