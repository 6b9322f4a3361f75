"""The public functions: what they return, and what they refuse."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deliveries import change_description

import genseg
from genseg.errors import DataError, DeviceError, RunError, SettingsError


@pytest.fixture
def run(rgb_run: Path, tmp_path: Path) -> Path:
    """A finished run to be changed."""
    return shutil.copytree(rgb_run, tmp_path / "run")


def test_public_names_are_found_and_others_are_not() -> None:
    assert dir(genseg) == sorted(genseg.__all__)
    assert all(getattr(genseg, name) for name in genseg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'train'"):
        _ = genseg.train


def test_check_reads_every_case_and_writes_nothing(rgb_phantoms: Path) -> None:
    before = sorted(rgb_phantoms.rglob("*"))
    told: list[tuple[str, int, int]] = []
    examination = genseg.check(rgb_phantoms, progress=lambda *news: told.append(news))
    assert len(examination.cases) == 10
    assert told[-1] == ("Reading", 10, 10)
    assert sorted(rgb_phantoms.rglob("*")) == before


def test_check_names_every_fault(rgb_phantoms: Path, tmp_path: Path) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    for name in ("phantom_000.png", "phantom_008.png"):
        (data / "images" / name).write_bytes(b"")
    with pytest.raises(DataError) as refused:
        genseg.check(data)
    assert [Path(fault.file).name for fault in refused.value.faults] == ["phantom_000.png", "phantom_008.png"]


def test_a_plan_can_be_written_edited_and_read(rgb_phantoms: Path, tmp_path: Path) -> None:
    plan = genseg.plan(rgb_phantoms, genseg.Settings(device="cpu", updates=7))
    assert plan.updates == 7
    assert plan.class_names == ("background", "lesion")
    plan.to_yaml(tmp_path / "plan.yaml")
    assert genseg.Plan.from_yaml(tmp_path / "plan.yaml") == plan


def test_fit_refuses_a_plan_that_contradicts_the_settings(rgb_phantoms: Path, rgb_run: Path, tmp_path: Path) -> None:
    plan = genseg.Plan.from_yaml(rgb_run / "plan.yaml")
    with pytest.raises(SettingsError, match=r"updates: .* in the plan, 9 requested"):
        genseg.fit(rgb_phantoms, tmp_path / "out", settings=genseg.Settings(updates=9), plan=plan)
    assert not (tmp_path / "out").exists()


def test_a_loaded_model_predicts_what_was_delivered(rgb_run: Path, rgb_phantoms: Path) -> None:
    model = genseg.load(str(rgb_run), device="cpu")
    image = rgb_phantoms / "images" / "phantom_007.png"
    assert isinstance(model, genseg.Model)
    assert model.run == rgb_run
    assert model.labels.names == ("background", "lesion")
    assert np.array_equal(model.predict(image), genseg.load(rgb_run).predict(image))


def test_validation_scores_are_those_of_the_held_out_cases(rgb_run: Path) -> None:
    scores = json.loads((rgb_run / "validation" / "scores.json").read_text())
    split = json.loads((rgb_run / "split.json").read_text())
    assert sorted(scores["dice_by_case"]) == split["validation"] == ["phantom_005", "phantom_006"]
    assert set(split["validation"]).isdisjoint(split["train"])


def test_resuming_a_finished_run_makes_up_for_a_missing_report(run: Path, rgb_run: Path, rgb_phantoms: Path) -> None:
    shutil.rmtree(run / "validation")
    model = genseg.fit(rgb_phantoms, run, resume=True)
    assert model.run == run
    scores, before = (json.loads((path / "validation" / "scores.json").read_text()) for path in (run, rgb_run))
    assert scores["dice_by_case"] == before["dice_by_case"]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="not a run folder"):
            genseg.load(path)


@pytest.mark.fault(88)
def test_a_run_that_does_not_exist_is_named_before_any_target(tmp_path: Path) -> None:
    for absent in (tmp_path / "absent", tmp_path / "absent.onnx"):
        with pytest.raises(RunError, match=r"absent.*no such file or folder"):
            genseg.export_model(absent, tmp_path, "onnx", tmp_path / "target.txt")
        with pytest.raises(RunError, match=r"absent.*no such file or folder"):
            genseg.generate(absent, tmp_path)


def test_an_unfinished_run_is_refused_with_the_cure(run: Path) -> None:
    (run / "model" / "model.json").unlink()
    with pytest.raises(RunError, match=f"not finished; continue with `genseg train DATA -o {run} --resume`"):
        genseg.load(run)


def _flip_a_byte(weights: Path) -> None:
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip_a_byte, "SHA-256 differs"),
        (lambda weights: weights.write_bytes(b""), "SHA-256 differs"),
        (lambda weights: weights.unlink(), "is missing"),
    ],
)
def test_damaged_weights_are_refused(run: Path, damage: Callable[[Path], Any], message: str) -> None:
    damage(run / "model" / "segmenter.safetensors")
    with pytest.raises(RunError, match=rf"segmenter\.safetensors .*{message}"):
        genseg.load(run)


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99, "genseg": "9.9"}, "format 99, by genseg 9.9"),
        ({"plan": None}, "plan: "),
        ({"labels": {}}, "labels: the stored label map is damaged"),
        ({"reading": {"mask_repair": "guess"}}, "reading.mask_repair: .*'guess'"),
        ({"channels": 5, "intensity": {"rule": "eight-bit"}}, "another network"),
        ({"segmenter": "unet"}, "unknown segmenter .unet."),
        ({"segmenter": "unet-large"}, "another network"),
    ],
)
def test_a_model_of_another_version_or_a_damaged_one_is_refused(
    run: Path, change: dict[str, Any], message: str
) -> None:
    path = run / "model" / "model.json"
    described = json.loads(path.read_text())
    for key, value in change.items():
        (described["plan"] if key in described["plan"] else described)[key] = value
    change_description(run, **described)
    with pytest.raises(RunError, match=message):
        genseg.load(run)


def test_an_absent_device_is_refused(rgb_run: Path) -> None:
    with pytest.raises(DeviceError, match="unknown device 'abacus'"):
        genseg.load(rgb_run, device="abacus")
