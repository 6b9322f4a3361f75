"""Where the disk is full every verb ends with exit code 4 and the place, and leaves nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]

VERBS = ("predict", "evaluate", "check", "phantom", "plan", "train")


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def _arguments(verb: str, model: Path, data: Path, out: Path) -> list[object]:
    match verb:
        case "phantom":
            return [out, "--cases", 3, "--size", 16]
        case "predict":
            return [model, data / "images", "-o", out]
        case "evaluate":
            return [model, data, "-o", out]
        case "train":
            return [data, "-o", out, "--updates", 2, "--size", 32, "--method", "plain", "--segmenter", "unet-small"]
    return [data, "-o", out / "plan.yaml" if verb == "plan" else out]


@pytest.mark.fault(97)
@pytest.mark.parametrize("verb", VERBS)
def test_a_disk_that_takes_no_content(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    out = tmp_path / "out"
    if verb == "plan":
        out.mkdir()
    if verb == "phantom":
        monkeypatch.setattr("PIL.Image.Image.save", _full)
    monkeypatch.setattr(os, "fsync", _full)
    code, _, errors = run(verb, *_arguments(verb, rgb_run, rgb_phantoms, out))
    assert (code, "Traceback" in errors) == (4, False)
    assert "No space left on device" in errors
    assert str(out) in errors
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.fault(97)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "plan"])
def test_a_disk_that_takes_no_folder(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(Path, "mkdir", _full)
    code, _, errors = run(verb, *_arguments(verb, rgb_run, rgb_phantoms, tmp_path / "out"))
    assert (code, "Traceback" in errors) == (4, False), errors
    assert "No space left on device" in errors
    assert not list(tmp_path.iterdir())
