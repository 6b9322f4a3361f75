"""Which image to label next: the rule on features, and the verb on a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from csv_rows import read_rows
from PIL import Image

import genseg
from genseg.config import Settings
from genseg.errors import DataError, RunError, SettingsError
from genseg.evidence.next_labels import represent
from genseg.models.model import Model
from genseg.runs.folder import RunFolder

Run = Callable[..., tuple[int, str, str]]
METHOD = "strong-augmentation"


def _clusters() -> Any:
    """Features of three groups of 6, 3 and 1 images."""
    centres = np.eye(3, 8).repeat((6, 3, 1), axis=0)
    return (centres + 0.05 * np.random.default_rng(0).normal(size=centres.shape)).astype(np.float32)


def _similarity(features: Any) -> Any:
    centred = features - features.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return np.maximum(unit @ unit.T, 0)


def _value(features: Any, unknown: Any, chosen: Any) -> float:
    return float(unknown @ _similarity(features)[:, list(chosen)].max(1))


def test_one_image_of_each_group_is_chosen_the_largest_first() -> None:
    chosen, _, nearest = represent(_clusters(), np.ones(10), 5)
    assert sorted((place >= 6) + (place >= 9) for place in chosen[:3]) == [0, 1, 2]
    assert chosen[0] < 6
    assert len(nearest) == 10


def test_images_of_which_the_model_is_sure_are_not_asked_for() -> None:
    unknown = np.array([0.01] * 6 + [0.9] * 3 + [0.5])
    chosen, gains, nearest = represent(_clusters(), unknown, 2)
    assert chosen[0] in (6, 7, 8)
    assert chosen[1] == 9
    assert gains[0] > gains[1]
    assert nearest[6:].tolist() == [0, 0, 0, 1]


def test_the_unsure_ones_that_represent_all_best_are_chosen() -> None:
    rng = np.random.default_rng(1)
    features, unknown = rng.normal(size=(12, 5)).astype(np.float32), rng.random(12)
    chosen, gains, nearest = represent(features, unknown, 4)
    candidates = np.argsort(-unknown)[:8]
    assert set(chosen) <= set(candidates)
    for count in range(1, 5):
        assert sum(gains[:count]) == pytest.approx(_value(features, unknown, chosen[:count]), rel=1e-5)
    assert gains[0] == pytest.approx(max(_value(features, unknown, [one]) for one in candidates), rel=1e-5)
    best = max(_value(features, unknown, some) for some in combinations(candidates, 4))
    assert sum(gains) >= (1 - 1 / np.e) * best
    similarity = _similarity(features)[:, chosen]
    covered = similarity.max(1) > 0
    assert np.array_equal(nearest[covered], similarity.argmax(1)[covered])


def test_no_more_are_chosen_than_there_are_and_none_twice() -> None:
    same = np.ones((3, 4), np.float32)
    assert sorted(represent(same, np.ones(3), 9)[0]) == [0, 1, 2]


@pytest.fixture(scope="module")
def trained(scans: Path, tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one of two folds. Read only."""
    settings = Settings(**{**tiny_training, "pretraining": None}, method=METHOD, folds=2)
    return genseg.fit(scans, tmp_path_factory.mktemp("runs") / "run", settings=settings).run


@pytest.fixture
def archive(scans: Path, tmp_path: Path) -> Path:
    """The images of the labelled dataset, and three that nobody has labelled, one of them twice."""
    folder = tmp_path / "archive"
    shutil.copytree(scans / "images", folder)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"new_{number}.png")
    shutil.copy(folder / "new_1.png", folder / "new_1-again.png")
    return folder


def test_images_to_label_are_listed_with_reasons_and_shown(
    trained: Path, archive: Path, tmp_path: Path, run: Run
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    code, out, err = run("next", folder, archive, "-n", 20)
    assert code == 0, err
    rows = read_rows(folder / "next" / "next.csv")
    # Neither those that the run has labels for, nor one twice; of test images it has none.
    names = {Path(row["image"]).stem for row in rows}
    assert names == {"new_0", "new_1", "new_2", "phantom_006", "phantom_007"}
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert all(f"{name}.png" in out for name in names)
    assert all(row["reason"].startswith(("expected Dice 0.", "nothing was found in it")) for row in rows)
    assert sum(int(row["alike"]) for row in rows) == 5
    with Image.open(folder / "next" / "next.png") as sheet:
        assert sheet.width > 5 * 192


def test_the_models_of_all_folds_judge_together_and_no_image_is_segmented_twice(
    trained: Path, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    run = RunFolder(folder)
    run.keep_as_fold(run.compared(METHOD, 1))  # it stands for the other fold's
    asked = list[str]()
    with monkeypatch.context() as patch:
        patch.setattr(Model, "examine_case", _noted(asked))
        found = genseg.next_images(folder, archive, 2, tmp_path / "out")
    assert set(asked) == {genseg.load(folder, ensemble=True).sha256}
    monkeypatch.setattr(Model, "examine_case", lambda *_: pytest.fail("segmented again"))
    assert genseg.next_images(folder, archive, 2, tmp_path / "out") == found
    assert genseg.load(folder).sha256 not in asked
    assert len(found) == 2
    assert found[0].gain >= found[1].gain


def _noted(asked: list[str]) -> Any:
    """`Model.examine_case`, which notes who was asked."""
    examine = Model.examine_case

    def noted(model: Model, case: Any) -> Any:
        asked.append(model.sha256)
        return examine(model, case)

    return noted


def test_what_cannot_be_done_is_said(trained: Path, scans: Path, archive: Path, tmp_path: Path, run: Run) -> None:
    for name in ("bad.png", "worse.png"):
        (archive / name).write_bytes(b"no picture")
    with pytest.raises(DataError) as refused:
        genseg.next_images(trained, archive, out=tmp_path / "out")
    assert {Path(fault.file).name for fault in refused.value.faults} == {"bad.png", "worse.png"}
    with pytest.raises(SettingsError, match="count: 0 found"):
        genseg.next_images(trained, archive, 0)
    labelled = tmp_path / "labelled"
    labelled.mkdir()
    shutil.copy(scans / "images" / "phantom_000.png", labelled)
    with pytest.raises(DataError, match="labelled images alone"):
        genseg.next_images(trained, labelled, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RunError, match="among the images"):
        genseg.next_images(trained, scans / "images", out=scans / "images")
    assert run("next", tmp_path, archive)[0] == 2
