"""The package's figures against an independent scorer that lies beside the real data, where there is one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.evaluate.metrics import score_case
from genseg.evaluate.summary import summarise

CLASSES = ("background", "lung", "heart")
CASES = tuple(f"case{k}" for k in range(7))


@pytest.fixture(scope="module")
def scorer(real_data: Path) -> Path:
    script = real_data.parent / "score.py"
    if not script.is_file():
        pytest.skip(f"no independent scorer: {script} does not exist")
    return script


@pytest.fixture
def label_maps() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Truth and prediction of each case; class 2 is absent from both in one case, missed and invented in others."""
    rng = np.random.default_rng(11)
    maps = {}
    for place, name in enumerate(CASES):
        truth = rng.integers(0, 3, (15, 12)).astype(np.uint8)
        prediction = np.where(rng.uniform(size=truth.shape) < 0.7, truth, rng.integers(0, 3, truth.shape))
        if place in (0, 1):
            truth[truth == 2] = 0
        if place in (0, 2):
            prediction[prediction == 2] = 1
        maps[name] = truth, prediction.astype(np.uint8)
    return maps


def test_figures_equal_those_of_the_independent_scorer(
    scorer: Path, label_maps: dict[str, tuple[np.ndarray, np.ndarray]], tmp_path: Path
) -> None:
    meta = {"name": "toy", "class_names": CLASSES, "splits": {"test": CASES}}
    for folder in ("data/masks", "predictions"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data" / "dataset.json").write_text(json.dumps(meta))
    for name, (truth, prediction) in label_maps.items():
        Image.fromarray(truth).save(tmp_path / "data" / "masks" / f"{name}.png")
        Image.fromarray(prediction).save(tmp_path / "predictions" / f"{name}.png")
    command = [sys.executable, str(scorer), str(tmp_path / "data"), str(tmp_path / "predictions")]
    subprocess.run([*command, "--json", str(tmp_path / "theirs.json")], check=True, capture_output=True)
    theirs = json.loads((tmp_path / "theirs.json").read_text())

    ours = summarise([score_case(n, *label_maps[n], len(CLASSES), (1, 1)) for n in CASES], CLASSES, {}).to_json()
    for key in ("dice", "dice_95", "iou", "dice_by_class", "dice_by_case"):
        assert ours[key] == pytest.approx(theirs[key], abs=1e-9), key
    assert 0 < theirs["dice"] < 1
