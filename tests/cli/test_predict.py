"""`genseg predict` on folders, on folders that are watched, and on videos; `genseg export`."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from csv_rows import read_rows
from PIL import Image
from videos import quarters, read_video, write_video

import genseg
from genseg.base.files import temporary_name
from genseg.models.load import load_run

Run = Callable[..., tuple[int, str, str]]


def test_everything_that_is_asked_for_is_written(run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    options = ("--overlays", "--confidence", "--contours", "--dicom-seg")
    code, printed, _ = run("predict", rgb_run, rgb_phantoms / "images", "-o", tmp_path, *options)
    assert code == 0
    assert "10 masks" in printed
    predictions, measured = read_rows(tmp_path / "predictions.csv"), read_rows(tmp_path / "measurements.csv")
    assert [row["case"] for row in predictions] == [f"phantom_{number:03d}" for number in range(10)]
    mask = np.array(Image.open(tmp_path / predictions[4]["mask"]))
    assert int(measured[4]["pixels"]) == np.count_nonzero(mask) > 0
    assert {row["case"] for row in read_rows(tmp_path / "contours.csv")} <= {row["case"] for row in predictions}
    assert len(list((tmp_path / "overlays").iterdir())) == len(list((tmp_path / "confidence").iterdir())) == 10
    assert not list(tmp_path.glob("*.dcm"))  # these are no DICOM images


def test_odd_images_are_listed_for_a_person_to_look_at(run: Run, rgb_run: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / "new" / "odd.png")
    code, printed, _ = run("predict", rgb_run, tmp_path / "new", "-o", tmp_path / "out")
    assert code == 0
    assert "Needs review: 1 of 1" in printed
    assert "differs from the training images" in printed


def test_fast_looks_at_each_image_once(run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    image = rgb_phantoms / "images" / "phantom_000.png"
    assert run("predict", rgb_run, image, "-o", tmp_path, "--fast")[0] == 0
    expected = genseg.load(rgb_run).without_mirroring().predict(image)
    assert np.array_equal(np.array(Image.open(tmp_path / "phantom_000.png")), expected)


@pytest.mark.parametrize(
    ("folds", "message"), [(1, "there is no ensemble"), (3, "the models of the other folds are not all there")]
)
def test_an_ensemble_that_there_is_not_is_refused(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, folds: int, message: str
) -> None:
    shutil.copytree(rgb_run, tmp_path / "run")
    split = json.loads((rgb_run / "split.json").read_text())
    (tmp_path / "run" / "split.json").write_text(json.dumps({**split, "folds": folds}))
    code, _, errors = run("predict", tmp_path / "run", rgb_phantoms / "images", "-o", tmp_path / "out", "--ensemble")
    assert code == 2
    assert message in errors
    assert not (tmp_path / "out").exists()


def test_a_video_gets_outlines(run: Run, rgb_run: Path, tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mp4", quarters(4))
    code, printed, _ = run("predict", rgb_run, video, "-o", tmp_path / "out.mp4", "--video", "--fast")
    assert code == 0
    assert "4 frames saved to" in printed
    assert "frames per second" in printed
    assert read_video(tmp_path / "out.mp4").frames.shape == (4, 48, 64, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [(("--watch", "--video"), "leave one out"), (("--video", "--overlays"), "not available for a video")],
)
def test_options_that_contradict_each_other_are_refused(
    run: Run, rgb_run: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    code, _, errors = run("predict", rgb_run, tmp_path, "-o", tmp_path / "out", *options)
    assert code == 2
    assert message in errors


@pytest.mark.fault(70)
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_watched_folder_is_segmented_until_ctrl_c_or_sigterm(
    rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, stop: signal.Signals
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    first, second = (rgb_phantoms / "images" / f"phantom_00{number}.png" for number in (0, 1))
    (folder / "a.png").write_bytes(first.read_bytes())
    (folder / "broken.png").write_bytes(b"no picture")
    command = [sys.executable, "-m", "genseg", "predict", rgb_run, folder, "-o", out, "--watch", "--device", "cpu"]
    wide = {**os.environ, "COLUMNS": "600"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=wide) as process:
        guard = threading.Timer(100, process.kill)
        guard.start()
        _wait_for(out / "a.png", process)
        (folder / "b.png").write_bytes(second.read_bytes())
        _wait_for(out / "b.png", process)
        os.kill(process.pid, stop)
        printed, errors = process.communicate()
        guard.cancel()
    assert process.returncode == 0, errors
    assert "2 new masks" in printed
    assert errors.count("Cannot be segmented") == 1
    assert "broken.png" in errors
    assert [row["case"] for row in read_rows(out / "predictions.csv")] == ["a", "b"]
    model = genseg.load(rgb_run, device="cpu")
    assert np.array_equal(np.array(Image.open(out / "b.png")), model.predict(second))


@pytest.mark.fault(70)
def test_a_watch_that_is_killed_leaves_its_table_and_the_next_goes_on(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "genseg", "predict", rgb_run, rgb_phantoms / "images", "-o", out, "--watch"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        _wait_for(out / "phantom_001.png", process)
        process.kill()
    (out / f"{temporary_of(process.pid)}.png").write_bytes(b"half a mask")
    (out / ".genseg-mine").write_bytes(b"no file of genseg's")
    rows = {row["mask"]: row["image_sha256"] for row in read_rows(out / "predictions.csv")}
    assert rows.keys() >= {path.name for path in out.glob("*.png") if not path.name.startswith(".")}
    code, printed, _ = run("predict", rgb_run, rgb_phantoms / "images", "-o", out)
    assert code == 0
    assert "already existed" in printed
    assert [row["case"] for row in read_rows(out / "predictions.csv")] == [f"phantom_{n:03d}" for n in range(10)]
    assert [path.name for path in out.glob(".genseg-*")] == [".genseg-mine"]


def temporary_of(number: int) -> str:
    """The name of something temporary of another process."""
    own = temporary_name().split("-")
    return "-".join([*own[:2], str(number), "0" * 8, own[-1]])


@pytest.mark.fault(90)
def test_paths_that_look_like_markup_or_steer_a_terminal_are_printed_as_they_are(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    out = tmp_path / "x[/b]\x1b[31m"
    shown = str(out).replace("\x1b", "\\x1b")
    for number, verb in enumerate(("predict", "evaluate")):
        data = rgb_phantoms / "images" if verb == "predict" else rgb_phantoms
        code, printed, errors = run(verb, rgb_run, data, "-o", out / str(number))
        assert (code, f"{shown}/{number}" in printed, "\x1b" in printed + errors) == (0, True, False), errors
    for verb, target in (("check", out / "check"), ("phantom", out / "set")):
        arguments = [rgb_phantoms, "-o", target] if verb == "check" else [target, "--cases", 3, "--size", 16]
        assert run(verb, *arguments)[0] == 0
    shutil.copytree(rgb_phantoms, tmp_path / "[/b]")
    assert run("check", tmp_path / "[/b]")[0] == 0
    code, _, errors = run("predict", tmp_path / "[/b]\x1b", out, "-o", out / "other")
    assert (code, "[/b]\\x1b" in errors) == (2, True)
    assert run("predict[/b]")[0] == 2
    assert run("predict", "--no[/b]such")[0] == 2


@pytest.mark.fault(84)
def test_the_report_on_an_exported_model_lies_beside_it_unless_a_folder_is_given(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "models" / "best.onnx"
    model.parent.mkdir()
    model.write_bytes(b"")
    monkeypatch.setattr(genseg, "load", lambda *_, **__: load_run(rgb_run, "cpu"))
    code, printed, _ = run("evaluate", model, rgb_phantoms)
    folder = tmp_path / "models" / "evaluation" / f"best-{rgb_phantoms.name}-test"
    assert (code, str(folder) in printed) == (0, True)
    assert sorted(path.name for path in folder.iterdir()) == ["report.html", "scores.csv", "scores.json"]


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    while not path.is_file():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.1)


def test_export_tells_how_near_the_file_comes(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*_: object, **asked: object) -> object:
        assert asked["precision"] == "int8"
        return type("Made", (), {"path": tmp_path / "model.xml", "parity": "99.9 % of the pixels"})

    monkeypatch.setattr(genseg.api, "export_model", export)
    code, printed, _ = run("export", rgb_run, rgb_phantoms, "--to", "openvino", "--precision", "int8")
    assert code == 0
    assert "model.xml" in printed
    assert "99.9 % of the pixels" in printed


def test_a_precision_that_does_not_exist_is_refused(run: Run, rgb_run: Path, rgb_phantoms: Path) -> None:
    code, _, errors = run("export", rgb_run, rgb_phantoms, "--to", "onnx", "--precision", "int8")
    assert code == 2
    assert "unknown precision for onnx 'int8'; choose from float32" in errors
