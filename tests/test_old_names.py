"""What earlier versions called by other names: options, settings, plans, run folders and manifests are still read."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import genseg
from genseg.config import GenerationPlan, Plan, Settings
from genseg.errors import SettingsError
from genseg.results.folder import maker_of
from genseg.runs.delivered import read_sealed, write_sealed
from genseg.runs.folder import RunFolder

Run = Callable[..., tuple[int, str, str]]


def _as_before(generation: dict[str, Any]) -> dict[str, Any]:
    """A plan's generation as earlier versions wrote it."""
    names = {"method": "arm", "hypergradient": "method", "held_out": "waiting", "steering_rate": "knob_rate"}
    return {names.get(name, name): value for name, value in generation.items()}


def _age(run: Path) -> None:
    """Give the settings, the plan and the description of a run the names that they had before."""
    settings = run / "settings.yaml"
    settings.write_text(re.sub(r"^method:", "arm:", settings.read_text(), flags=re.MULTILINE))
    plan = yaml.safe_load((run / "plan.yaml").read_text())
    plan["generation"] = _as_before(plan["generation"])
    (run / "plan.yaml").write_text(yaml.safe_dump(plan))
    told = run / "model" / "model.json"
    if told.is_file():
        content = read_sealed(told)
        content["plan"]["generation"] = _as_before(content["plan"]["generation"])
        write_sealed(told, content)


@pytest.fixture
def interrupted(rgb_phantoms: Path, tiny_training: dict[str, Any], tmp_path: Path) -> tuple[Path, Settings]:
    """A run with a generator that stopped after its first update; and its settings."""
    settings = Settings(**{**tiny_training, "method": "separate", "size": 32})

    def stop(doing: str, _done: int, _total: int) -> None:
        if doing.startswith("Training"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        genseg.fit(rgb_phantoms, tmp_path / "run", settings=settings, progress=stop)
    return tmp_path / "run", settings


def test_a_run_of_an_earlier_version_is_resumed_loaded_and_used(
    interrupted: tuple[Path, Settings], rgb_phantoms: Path, tmp_path: Path
) -> None:
    run, settings = interrupted
    _age(run)
    assert "arm: separate" in (run / "settings.yaml").read_text()
    assert (RunFolder(run).settings(), RunFolder(run).plan().method) == (settings, "separate")
    genseg.fit(rgb_phantoms, run, settings=settings, resume=True)
    masks = genseg.load(run).predict_folder(rgb_phantoms / "images", tmp_path / "masks")
    old = shutil.copytree(run, tmp_path / "old")
    _age(old)
    again = genseg.load(old).predict_folder(rgb_phantoms / "images", tmp_path / "masks")
    assert [case.state for case in masks] == ["new"] * 10
    assert [case.state for case in again] == ["kept"] * 10


def test_masks_stay_those_of_their_model_when_a_name_changes_or_training_knows_more(
    make_model: Callable[..., Any],
) -> None:
    model = make_model(generation=GenerationPlan(pretraining=2), batch_size=4, unlabelled_share=0.5)
    plan = model.plan.model_dump(mode="json", exclude={"unlabelled_share"})
    told = {
        "plan": {**plan, "generation": _as_before(plan["generation"])},
        "trust": model.trust.to_json(),
        "labels": model.labels.to_json(),
        "reading": asdict(model.options),
    }
    expected = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    assert maker_of(model).settings_sha256 == expected


def test_settings_take_the_former_name_with_a_notice() -> None:
    with pytest.warns(FutureWarning, match="arm is now called method"):
        settings = Settings.model_validate({"arm": "joint"})
    assert settings == Settings(method="joint")
    assert settings.model_fields_set == {"method"}
    with pytest.raises(SettingsError, match="arm: unknown key"):
        Settings.from_mapping({"arm": "joint", "method": "joint"})


@pytest.mark.parametrize(
    "old", [{"arm": "separate", "method": "central-difference"}, {"method": "exact"}, {"arm": "joint"}, {}]
)
def test_plans_take_the_former_names(old: dict[str, str]) -> None:
    plan = GenerationPlan.model_validate({"pretraining": 3, **old})
    assert (plan.method, plan.hypergradient) == (old.get("arm", "joint"), old.get("method", "exact"))
    assert GenerationPlan.model_validate(plan.model_dump()) == plan


def test_the_former_option_works_and_says_its_new_name(run: Run, rgb_phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.yaml"
    code, _, said = run("plan", rgb_phantoms, "--arm", "plain", "--device", "cpu", "-o", out)
    assert (code, Plan.from_yaml(out).method) == (0, "plain")
    assert "--arm is now called --method" in said
    assert "--arm" not in run("train", "--help")[1]
    assert "use --method alone" in run("plan", rgb_phantoms, "--arm", "plain", "--method", "plain")[2]


def test_a_manifest_of_an_earlier_version_is_read_and_written_anew(
    make_model: Callable[..., Any], write_picture: Callable[..., Path], tmp_path: Path
) -> None:
    write_picture(tmp_path / "scans" / "a.png")
    make_model().predict_folder(tmp_path / "scans", tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    record = json.loads(manifest.read_text())
    record["strangeness"] = record.pop("ood_score")
    manifest.write_text(json.dumps(record) + "\n")
    mask = np.frombuffer((tmp_path / "out" / "a.png").read_bytes(), np.uint8)
    (case,) = make_model().predict_folder(tmp_path / "scans", tmp_path / "out")
    assert case.state == "kept"
    assert np.array_equal(mask, np.frombuffer((tmp_path / "out" / "a.png").read_bytes(), np.uint8))
    assert "ood_score" in (tmp_path / "out" / "predictions.csv").read_text().splitlines()[0]
