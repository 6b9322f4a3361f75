"""The delivered model is trained on every label, and what is said of it comes from models that had held them out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import genseg
from genseg.config import Settings
from genseg.errors import RunError, SettingsError
from genseg.evidence import refit as refit_module
from genseg.models.scored_cases import own_cases
from genseg.prepare.preprocess import prepare
from genseg.runs.folder import RunFolder
from genseg.trust.calibration import calibrate
from genseg.trust.ood import OODDetector, distances
from genseg.trust.suitability import fit_case
from genseg.trust.trust import labelled_logits

FOLDS = 2
METHOD = "strong-augmentation"
LABELLED = [f"phantom_00{number}" for number in range(6)]


@pytest.fixture(scope="module")
def trained(scans: Path, tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one of two folds. Read only."""
    asked = {**tiny_training, "pretraining": None}
    settings = Settings(**asked, method=METHOD, folds=FOLDS, fold=1)
    return genseg.fit(scans, tmp_path_factory.mktemp("runs") / "run", settings=settings).run


@pytest.fixture(scope="module")
def refitted(trained: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same once it delivers the model of all labels. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("refitted") / "run")
    genseg.refit(scans, run)
    return run


def _folds(run: Path) -> list[Path]:
    return [run / "comparison" / f"{METHOD}-fold-{fold}" for fold in range(FOLDS)]


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model" / json.loads((folder / "model" / "model.json").read_text())["weights"])


def _are_equal(one: Path, other: Path) -> bool:
    ours, theirs = _weights(one), _weights(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_delivered_model_was_trained_on_every_label(refitted: Path, trained: Path) -> None:
    split = json.loads((refitted / "all-labels" / METHOD / "split.json").read_text())
    assert (split["train"], split["validation"], split["test"]) == (LABELLED, [], ["phantom_006", "phantom_007"])
    assert _are_equal(refitted, refitted / "all-labels" / METHOD)
    assert not _are_equal(refitted, trained)
    assert RunFolder(refitted / "all-labels" / METHOD).settings().fold == "all"
    (seen,) = genseg.load(refitted).seen
    assert len(seen.trained_on) == len(LABELLED)
    assert not seen.held_out


def test_the_run_s_own_fold_is_kept_among_the_others(refitted: Path, trained: Path, scans: Path) -> None:
    assert [RunFolder(folder).split().validation != () for folder in _folds(refitted)] == [True] * FOLDS
    assert _are_equal(_folds(refitted)[1], trained)
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    logits = [genseg.load(folder).network(image).logits for folder in _folds(refitted)]
    assert genseg.load(refitted, ensemble=True).network(image).logits == pytest.approx(np.mean(logits, 0), abs=1e-5)
    assert genseg.load(_folds(refitted)[1]).evaluate(scans, split="validation").overall.dice.mean >= 0


def test_its_scores_are_those_of_the_models_that_held_the_cases_out(refitted: Path) -> None:
    scores = json.loads((refitted / "validation" / "scores.json").read_text())
    expected: dict[str, float] = {}
    for folder in _folds(refitted):
        expected |= json.loads((folder / "validation" / "scores.json").read_text())["dice_by_case"]
    assert scores["dice_by_case"] == expected
    assert sorted(expected) == LABELLED
    assert "trained on 3 or more of the 6 cases" in scores["warnings"][0]


def test_its_trust_is_learned_from_the_models_that_held_the_cases_out(refitted: Path, scans: Path) -> None:
    model = genseg.load(refitted)
    cases = own_cases(scans, RunFolder(refitted).delivered_from.split(), model.labels, model.options, lambda *_: None)
    logits, unseen = [], []
    for folder in _folds(refitted):
        fold, split = genseg.load(folder), RunFolder(folder).split()
        prepared = {case.name: prepare(fit_case(case, model.plan), model.plan) for case in cases}
        logits += [labelled_logits(fold.network, prepared[name], model.plan) for name in split.validation]
        train, held_out = (
            [_features(fold, prepared[name]) for name in part] for part in (split.train, split.validation)
        )
        unseen.append(distances(train, held_out))
    assert model.trust.calibration == calibrate(logits)
    known = [_features(model, prepared[case.name]) for case in cases]
    expected = OODDetector.learn(known, [np.concatenate(pair) for pair in zip(*unseen, strict=True)])
    assert model.trust.ood is not None
    assert expected is not None
    assert model.trust.ood.highest == pytest.approx(expected.highest, rel=1e-4)


def _features(model: genseg.Model, prepared: Any) -> Any:
    from genseg.segmenters.inference import segment
    from genseg.trust.trust import ood_features

    return ood_features(prepared, segment(model.network, prepared, model.plan))


def test_the_card_says_who_judged(refitted: Path) -> None:
    card = (refitted / "model" / "card.md").read_text()
    assert "All 6 labelled cases were trained on. Each was held out from one of 2 further models" in card
    assert "Out of fold: each of the 6 labelled cases" in card


def test_its_own_cases_are_no_held_out_cases(refitted: Path, scans: Path) -> None:
    with pytest.raises(RunError, match="no validation case"):
        genseg.load(refitted).evaluate(scans, split="validation")
    assert genseg.load(refitted).evaluate(scans).overall.dice.mean >= 0


def test_what_is_done_is_not_done_again(refitted: Path, scans: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in refitted.rglob("*") if path.is_file()}
    genseg.refit(scans, refitted)
    assert {path: path.stat().st_mtime_ns for path in refitted.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("stage", ["deliver_instead", "learn_trust", "evaluate_out_of_fold", "write_card"])
def test_an_interrupted_refit_goes_on(
    trained: Path, refitted: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    for name in ("comparison", "all-labels"):
        shutil.copytree(refitted / name, run / name)
    owner = RunFolder if stage == "deliver_instead" else refit_module
    with monkeypatch.context() as patch:
        patch.setattr(owner, stage, _interrupt)
        with pytest.raises(KeyboardInterrupt):
            genseg.refit(scans, run)
    assert genseg.fit(scans, run, resume=True).predict(scans / "images" / "phantom_000.png").shape == (32, 32)
    genseg.refit(scans, run)
    for name in ("model/trust.json", "model/card.json", "validation/scores.csv"):
        assert (run / name).read_bytes() == (refitted / name).read_bytes()


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("fold", [0, "all"])
def test_without_folds_there_is_nothing_to_judge_by(
    scans: Path, tiny_training: dict[str, Any], tmp_path: Path, fold: int | str
) -> None:
    settings = Settings(**{**tiny_training, "pretraining": None}, method=METHOD, fold=fold)
    model = genseg.fit(scans, tmp_path / "run", settings=settings)
    expected = {0: "declares which cases are held out", "all": "no case was held out in this run"}[fold]
    with pytest.raises(SettingsError, match=expected):
        genseg.refit(scans, model.run)
    if fold == 0:
        return
    assert model.trust.calibration is None
    assert not (model.run / "validation").exists()
    assert "Not measured: no case was held out." in (model.run / "model" / "card.md").read_text()


def test_fold_all_is_told_from_a_mistyped_one() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_mapping({"fold": "al"})
    assert re.search(r"fold: .*'al'.*all", str(refused.value))
    assert Settings.from_mapping({"fold": "3"}).fold == 3


def test_what_is_known_of_the_ensemble_comes_from_all_folds_but_for_ood_limits(refitted: Path) -> None:
    ensemble, delivered = genseg.load(refitted, ensemble=True), genseg.load(refitted)
    first = genseg.load(_folds(refitted)[1])
    assert ensemble.trust.calibration == delivered.trust.calibration != first.trust.calibration
    assert delivered.trust.ood is not None
    assert ensemble.trust.ood is first.trust.ood is None  # of the features of the first fold's network, on three cases
    assert ensemble.run == refitted
