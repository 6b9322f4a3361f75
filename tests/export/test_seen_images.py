"""A score on images that training has seen is marked as such, by a run and by an exported model."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import genseg
from genseg.errors import RunError
from genseg.models.model import Model


@pytest.fixture(scope="module")
def onnx_model(picture_run: Path, rgb_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`picture_run` as an ONNX file. Read only."""
    return genseg.export_model(picture_run, rgb_phantoms, "onnx", tmp_path_factory.mktemp("seen") / "m.onnx").path


@pytest.fixture(params=["run", "onnx"])
def model(request: pytest.FixtureRequest, picture_run: Path, onnx_model: Path) -> Model:
    return genseg.load(picture_run if request.param == "run" else onnx_model, device="cpu")


def _undeclared(phantoms: Path, folder: Path, names: dict[str, str]) -> Path:
    """A data set that declares no split: phantoms by name, each under another name and as an uncompressed TIFF."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
        for old, new in names.items():
            Image.open(phantoms / kind / f"{old}.png").save(folder / kind / f"{new}.tif")
    return folder


def _split(run: Path) -> dict[str, Any]:
    return json.loads((run / "split.json").read_text())


@pytest.mark.fault(72)
def test_training_images_are_no_test_images(
    model: Model, rgb_phantoms: Path, picture_run: Path, tmp_path: Path
) -> None:
    split = _split(picture_run)
    seen = {name: f"new_{number}" for number, name in enumerate([*split["train"], *split["validation"]])}
    with pytest.raises(RunError, match=f"no test case among the {len(seen)} labelled cases"):
        model.evaluate(_undeclared(rgb_phantoms, tmp_path / "data", seen))


@pytest.mark.fault(72)
def test_those_among_test_images_are_left_out_and_named(
    model: Model, rgb_phantoms: Path, picture_run: Path, tmp_path: Path
) -> None:
    split = _split(picture_run)
    names = {split["train"][0]: "copy", split["validation"][0]: "other", split["test"][0]: split["train"][1]}
    summary = model.evaluate(_undeclared(rgb_phantoms, tmp_path / "data", names))
    assert [case.name for case in summary.cases] == [split["train"][1]]
    assert summary.warnings == ("Not scored, because the model was trained on these images: copy, other.",)
    assert summary.in_training == {split["train"][1]: "no"}


@pytest.mark.fault(72)
def test_scores_on_everything_are_marked_in_every_file(
    model: Model, rgb_phantoms: Path, picture_run: Path, tmp_path: Path
) -> None:
    split = _split(picture_run)
    summary = model.evaluate(rgb_phantoms, tmp_path / "out", split="all")
    trained, held_out = len(split["train"]), len(split["validation"])
    assert summary.warnings[0].startswith(f"The model was trained on {trained} of these 10 images; ")
    assert f"{held_out} of these 10 images were held out" in summary.warnings[1]
    uses = dict.fromkeys(split["train"], "trained on") | dict.fromkeys(split["validation"], "held out")
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["case"]: row["in_training"] for row in rows} == dict.fromkeys(split["test"], "no") | uses
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["warnings"] == list(summary.warnings)
    assert {row["case"]: row["in_training"] for row in scores["cases"]} == dict(summary.in_training)
    report = (tmp_path / "out" / "report.html").read_text()
    assert report.count("<small>(trained on)</small>") == trained
    assert "their scores show memorisation, not performance" in report


@pytest.mark.fault(72)
def test_held_out_images_are_found_by_what_they_show(
    model: Model, rgb_phantoms: Path, picture_run: Path, tmp_path: Path
) -> None:
    split = _split(picture_run)
    swapped = {split["train"][0]: split["validation"][0], split["validation"][0]: split["train"][0]}
    summary = model.evaluate(_undeclared(rgb_phantoms, tmp_path / "data", swapped), split="validation")
    assert [case.name for case in summary.cases] == [split["train"][0]]
    assert summary.warnings == ()


@pytest.mark.fault(72)
def test_an_ensemble_has_seen_what_any_of_its_members_has(picture_run: Path, rgb_phantoms: Path) -> None:
    model = genseg.load(picture_run, device="cpu")
    (seen,) = model.seen
    other = replace(seen, trained_on=seen.held_out, held_out=seen.trained_on)
    summary = replace(model, seen=(seen, other)).evaluate(rgb_phantoms, split="all")
    assert sorted(summary.in_training.values()) == ["no"] * 3 + ["trained on"] * 7


@pytest.mark.fault(72)
def test_a_model_that_does_not_say_what_it_has_seen_leaves_that_open(picture_run: Path, rgb_phantoms: Path) -> None:
    summary = replace(genseg.load(picture_run, device="cpu"), seen=()).evaluate(rgb_phantoms)
    assert "It is not known whether the model was trained on these images" in summary.warnings[0]
    assert set(summary.in_training.values()) == {"unknown"}


@pytest.mark.fault(72)
def test_the_command_line_says_it(run: Any, onnx_model: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    code, printed, _ = run("evaluate", onnx_model, rgb_phantoms, "--split", "all", "-o", tmp_path / "out")
    assert code == 0
    assert "Warning: The model was trained on 5 of these 10 images" in printed


def test_no_name_of_a_case_leaves_with_an_exported_model(onnx_model: Path, picture_run: Path) -> None:
    content = onnx_model.read_bytes()
    split = _split(picture_run)
    assert not any(name.encode() in content for name in (*split["train"], *split["validation"]))
    assert np.all([len(one.trained_on) == 5 for one in genseg.load(onnx_model).seen])
