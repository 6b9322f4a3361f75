"""With generated pairs or without: a fair contest on the user's own cases, and the better model delivered."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import genseg
from genseg.config import Settings
from genseg.errors import MemoryRanOutError, RunError, SettingsError
from genseg.evidence import comparison as comparison_module
from genseg.evidence import trainings as trainings_module
from genseg.evidence.comparison import Comparison, judge
from genseg.runs.folder import RunFolder
from genseg.segmenters import learner as learner_module

FOLDS = 2
CASES = [f"case {number}" for number in range(12)]


def _judged(differences: list[float], groups: dict[str, str] | None = None) -> Comparison:
    names = CASES[: len(differences)]
    baseline = dict(zip(names, np.linspace(0.5, 0.6, len(names)).tolist(), strict=True))
    generated = {name: baseline[name] + one for name, one in zip(names, differences, strict=True)}
    return judge("joint", generated, baseline, groups or {name: name for name in names})


@pytest.mark.parametrize(
    ("differences", "says", "delivered"),
    [
        ([0.05, 0.06] * 6, "help on this dataset: +5.5 points (95 %: +5.3 to +5.8)", "joint"),
        ([-0.05, -0.06] * 6, "harm on this dataset: -5.5 points", "strong-augmentation"),
        ([0.1, -0.09] * 6, "no detectable difference on this dataset: +0.5 points", "joint"),
        ([-0.1, 0.09] * 6, "no detectable difference on this dataset: -0.5 points", "strong-augmentation"),
        ([0.0] * 12, "no detectable difference on this dataset: +0.0 points", "joint"),
        ([0.1], "too few cases to tell", "joint"),
    ],
    ids=["help", "harm", "perhaps", "perhaps not", "equal", "one case"],
)
def test_the_verdict_follows_the_interval_and_the_model_the_mean(
    differences: list[float], says: str, delivered: str
) -> None:
    found = _judged(differences)
    assert says in found.verdict
    assert found.delivered == delivered
    assert found.verdict.endswith(f"Model kept: {delivered}.")
    assert f"over {len(differences)} held-out cases" in found.verdict


def test_scans_of_one_patient_are_one_witness() -> None:
    patients = {name: "one" if place < 10 else name for place, name in enumerate(CASES)}
    found = _judged([0.1] * 10 + [-0.1, -0.1], patients).difference
    assert found.count == 3
    assert found.difference == pytest.approx((0.1 - 0.1 - 0.1) / 3)


@pytest.mark.fault(83)
def test_dice_and_difference_are_over_patients_and_say_so() -> None:
    patients = {name: "one" if place < 10 else name for place, name in enumerate(CASES)}
    baseline = dict.fromkeys(CASES, 0.5) | {CASES[10]: 0.8, CASES[11]: 0.8}
    generated = {name: one + 0.1 for name, one in baseline.items()}
    found = judge("joint", generated, baseline, patients)
    assert (found.generated, found.baseline) == pytest.approx((0.8, 0.7))
    assert (
        "Dice 80.0 % with generated pairs, Dice 70.0 % without, over 3 patients (12 held-out cases)." in found.verdict
    )
    assert "over 12 held-out cases." in judge("joint", generated, baseline, {name: name for name in CASES}).verdict
    few = judge("joint", {"a": 0.5, "b": 0.9}, {"a": 0.5, "b": 0.9}, {"a": "one", "b": "one"})
    assert "over 1 patient (2 held-out cases): too few cases to tell" in few.verdict


def test_arms_that_were_scored_on_different_cases_are_not_compared() -> None:
    with pytest.raises(RunError, match=r"not scored on the same cases \(b\)"):
        judge("joint", {"a": 0.5, "b": 0.5}, {"a": 0.5}, {"a": "a", "b": "b"})


@pytest.fixture(scope="module")
def trained(scans: Path, tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with generated pairs on one of two folds. Read only."""
    settings = Settings(**tiny_training, method="separate", folds=FOLDS, fold=1)
    return genseg.fit(scans, tmp_path_factory.mktemp("runs") / "run", settings=settings).run


@pytest.fixture(scope="module")
def compared(trained: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after the comparison, which the generated pairs won. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("compared") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_module, "held_out_dice", _biased(0.2))
        genseg.compare(scans, run)
    return run


def _biased(bonus: float) -> Callable[[Path], dict[str, float]]:
    """Dice with a bonus for generated pairs, so that it is known who wins."""
    read = trainings_module.held_out_dice

    def held_out_dice(folder: Path) -> dict[str, float]:
        return {name: dice + bonus * ("separate" in folder.name) for name, dice in read(folder).items()}

    return held_out_dice


def test_both_arms_are_trained_on_every_fold_alike(compared: Path, trained: Path) -> None:
    folders = sorted(path.name for path in (compared / "comparison").iterdir() if path.is_dir())
    assert folders == ["separate-fold-0", "separate-fold-1", "strong-augmentation-fold-0", "strong-augmentation-fold-1"]
    plans = {}
    for name in folders:
        folder = trained if name == "separate-fold-1" else compared / "comparison" / name
        plans[name] = yaml.safe_load((folder / "plan.yaml").read_text())
        assert (plans[name].pop("generation") is None) == name.startswith("strong")
    assert all(plan == plans["separate-fold-0"] for plan in plans.values())


def test_every_case_is_held_out_once_by_each_arm(compared: Path) -> None:
    kept = json.loads((compared / "comparison" / "comparison.json").read_text())
    for method, side in (("separate", "generated"), ("strong-augmentation", "baseline")):
        scored: dict[str, float] = {}
        for fold in range(FOLDS):
            folder = compared / "comparison" / f"{method}-fold-{fold}"
            dice = json.loads((folder / "validation" / "scores.json").read_text())["dice_by_case"]
            assert scored.keys().isdisjoint(dice)
            scored |= dice
        bonus = 0.2 if side == "generated" else 0
        assert {case["name"]: case[side] for case in kept["cases"]} == {n: d + bonus for n, d in scored.items()}
    assert len(kept["cases"]) == 6


def test_figures_picture_and_verdict_are_kept_and_checkpoints_are_not(compared: Path, trained: Path) -> None:
    folder = compared / "comparison"
    kept = json.loads((folder / "comparison.json").read_text())
    assert kept["delivered"] == "separate"
    assert kept["verdict"].startswith("Generated pairs help on this dataset: +20")
    assert "held-out cases, by image; patients not known" in kept["verdict"]
    assert (folder / "comparison.png").stat().st_size > 5000
    assert not list(folder.glob("*/checkpoints"))
    assert (compared / "model" / "segmenter.safetensors").read_bytes() == (
        trained / "model" / "segmenter.safetensors"
    ).read_bytes()


def test_what_is_trained_is_not_trained_again(
    compared: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(compared, tmp_path / "run")
    monkeypatch.setattr(trainings_module, "run_training", lambda *_, **__: pytest.fail("trained again"))
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(comparison_module, "held_out_dice", _biased(0.2))
    again = genseg.compare(scans, run, progress=lambda *news: told.append(news))
    kept = json.loads((compared / "comparison" / "comparison.json").read_text())
    assert list(again.to_json()["cases"]) == kept["cases"]
    assert told[-1] == ("Comparing", 8, 8)  # 2 updates alone and 2 + 2 with a generator; twice alone, once with


def test_an_interrupted_comparison_goes_on(trained: Path, scans: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")

    def stop(doing: str, done: int, _: int) -> None:
        if doing.startswith("Comparing") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        genseg.compare(scans, run, progress=stop)
    finished = run / "comparison" / "strong-augmentation-fold-1" / "model" / "model.json"
    before = finished.stat().st_mtime_ns
    assert not (run / "comparison" / "comparison.json").exists()
    genseg.compare(scans, run)
    assert finished.stat().st_mtime_ns == before
    assert (run / "comparison" / "comparison.json").is_file()


@pytest.fixture(scope="module")
def replaced(compared: Path, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run after a comparison that generated pairs lost. Read only."""
    run = shutil.copytree(compared, tmp_path_factory.mktemp("replaced") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparison_module, "held_out_dice", _biased(-2))
        assert genseg.compare(scans, run).delivered == "strong-augmentation"
    return run


def test_a_better_baseline_is_delivered_and_scored(replaced: Path, scans: Path) -> None:
    model = genseg.load(replaced)
    assert model.training == "strong-augmentation"
    winner = genseg.load(replaced / "comparison" / "strong-augmentation-fold-1")
    image = scans / "images" / "phantom_000.png"
    assert np.array_equal(model.predict(image), winner.predict(image))
    scores, theirs = (json.loads((one / "validation" / "scores.json").read_text()) for one in (replaced, winner.run))
    assert scores["dice_by_case"] == theirs["dice_by_case"]
    assert sorted(path.name for path in (replaced / "model").iterdir()) == [
        "card.json",
        "card.md",
        "generator.safetensors",
        "model.json",
        "segmenter-comparison-strong-augmentation-fold-1.safetensors",
        "trust.json",
    ]
    trusts = [(one / "model" / "trust.json").read_text() for one in (replaced, winner.run)]
    assert trusts[0] == trusts[1]


def test_the_card_is_of_the_delivered_model_and_tells_the_verdict(replaced: Path, compared: Path) -> None:
    for run, method in ((replaced, "strong-augmentation"), (compared, "separate")):
        card = json.loads((run / "model" / "card.json").read_text())
        model = json.loads((run / "model" / "model.json").read_text())
        verdict = json.loads((run / "comparison" / "comparison.json").read_text())["verdict"]
        assert (card["method"], card["weights"]["sha256"]) == (method, model["sha256"])
        assert card["comparison"] == verdict
        assert verdict in (run / "model" / "card.md").read_text()
        assert "patients not known" in card["data"]["split"]


@pytest.mark.parametrize("name", ["compared", "replaced"])
def test_an_ensemble_is_the_mean_of_the_models_of_all_folds(
    request: pytest.FixtureRequest, scans: Path, name: str
) -> None:
    run: Path = request.getfixturevalue(name)
    model, together = genseg.load(run), genseg.load(run, ensemble=True)
    method, own = model.plan.method, RunFolder(run).settings().fold
    others = [number for number in range(RunFolder(run).split().folds) if number != own]
    members = [run, *(run / "comparison" / f"{method}-fold-{number}" for number in others)]
    image = np.random.default_rng(0).normal(size=(1, model.plan.channels, *model.plan.patch_size)).astype(np.float32)
    logits = [genseg.load(member).network(image).logits for member in members]
    assert len(members) == RunFolder(run).split().folds
    assert together.network(image).logits == pytest.approx(np.mean(logits, 0), abs=1e-5)
    assert together.predict(scans / "images" / "phantom_000.png").shape == (32, 32)


def test_a_final_model_of_the_method_that_loses_gives_way(
    compared: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(compared, tmp_path / "run")
    assert genseg.refit(scans, run).training == "separate"
    monkeypatch.setattr(comparison_module, "held_out_dice", _biased(-2))
    assert genseg.compare(scans, run).delivered == "strong-augmentation"
    assert genseg.load(run).training == "strong-augmentation"
    assert genseg.refit(scans, run).training == "strong-augmentation"
    assert RunFolder(run).delivered_from.path == run / "all-labels" / "strong-augmentation"
    genseg.compare(scans, run)  # which leaves it as it is
    assert RunFolder(run).delivered_from.path == run / "all-labels" / "strong-augmentation"
    others = [genseg.load(run / "comparison" / f"strong-augmentation-fold-{fold}") for fold in range(FOLDS)]
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    logits = [model.network(image).logits for model in others]
    assert genseg.load(run, ensemble=True).network(image).logits == pytest.approx(np.mean(logits, 0), abs=1e-5)


def test_the_generator_stays_of_use(replaced: Path, tmp_path: Path) -> None:
    assert genseg.generate(replaced, tmp_path / "pairs", 2, copies="keep").written == 2


def test_a_replaced_run_is_compared_again_by_its_own_scores(
    replaced: Path, compared: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(replaced, tmp_path / "run")
    shutil.rmtree(run / "validation")  # as if it had been killed before the scoring
    monkeypatch.setattr(comparison_module, "held_out_dice", _biased(-2))
    again = genseg.compare(scans, run)
    assert again.delivered == "strong-augmentation"
    assert (run / "validation" / "scores.json").is_file()
    expected = json.loads((compared / "comparison" / "comparison.json").read_text())["cases"]
    assert [case.generated + 2.2 for case in again.cases] == pytest.approx([case["generated"] for case in expected])


def test_a_run_without_generated_pairs_has_nothing_to_compare(replaced: Path, scans: Path) -> None:
    with pytest.raises(SettingsError, match="strong-augmentation has no generated pairs"):
        genseg.compare(scans, replaced / "comparison" / "strong-augmentation-fold-0")


def test_an_unfinished_run_is_not_compared(trained: Path, scans: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "model" / "model.json").unlink()
    with pytest.raises(RunError, match="has not finished; continue it with --resume"):
        genseg.compare(scans, run)


def test_other_data_are_refused(trained: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    with pytest.raises(RunError, match="changed since this run began"):
        genseg.compare(rgb_phantoms, run)
    assert not (run / "comparison").exists()


@pytest.fixture(scope="module")
def larger(scans: Path, tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with four images an update, two of them real. Read only."""
    settings = Settings(**tiny_training | {"batch_size": 4}, method="separate", folds=FOLDS)
    return genseg.fit(scans, tmp_path_factory.mktemp("runs") / "run", settings=settings).run


@pytest.fixture(scope="module")
def short_of_memory(
    larger: Path,
    scans: Path,
    tmp_path_factory: pytest.TempPathFactory,
    without_memory_for: Callable[[int], Callable[..., Any]],
) -> Path:
    """It after a comparison that was interrupted and had memory for three real images alone. Read only."""
    run = shutil.copytree(larger, tmp_path_factory.mktemp("compared") / "run")

    def stop(doing: str, *_: int) -> None:
        if doing.startswith("Comparing, separate, 2 of 4"):
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner_module, "segmentation_loss", without_memory_for(3))
        with pytest.raises(KeyboardInterrupt):
            genseg.compare(scans, run, progress=stop)
        patch.setattr(comparison_module, "held_out_dice", _biased(0.2))
        genseg.compare(scans, run)
    return run


@pytest.mark.fault(77)
def test_where_one_runs_out_of_memory_all_are_trained_anew_with_half_the_images(
    short_of_memory: Path, larger: Path
) -> None:
    batches = {
        path.parent.name: yaml.safe_load(path.read_text())["batch_size"]
        for path in (short_of_memory / "comparison").glob("*/plan.yaml")
        if (path.parent / "model" / "model.json").is_file()
    }
    methods = ("separate", "strong-augmentation")
    assert batches == {f"{method}-fold-{fold}-with-2-images": 2 for method in methods for fold in range(FOLDS)}
    assert yaml.safe_load((short_of_memory / "plan.yaml").read_text())["batch_size"] == 4
    weights = "model/segmenter.safetensors"
    assert (short_of_memory / weights).read_bytes() == (larger / weights).read_bytes()
    kept = json.loads((short_of_memory / "comparison" / "comparison.json").read_text())
    assert kept["images"] == 2
    assert "Memory ran out, so every training used 2 images per update." in kept["verdict"]
    for case in kept["cases"]:
        own = [
            json.loads(path.read_text())["dice_by_case"].get(case["name"])
            for path in (short_of_memory / "comparison").glob("separate-fold-?-with-2-images/validation/scores.json")
        ]
        assert case["generated"] - 0.2 in own


@pytest.mark.fault(77)
def test_a_comparison_that_ran_out_of_memory_is_resumed_and_not_made_again(
    short_of_memory: Path, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(short_of_memory, tmp_path / "run")
    monkeypatch.setattr(trainings_module, "run_training", lambda *_, **__: pytest.fail("trained again"))
    again = genseg.compare(scans, run)
    assert again.images == 2
    assert genseg.load(run, ensemble=True).predict(scans / "images" / "phantom_000.png").shape == (32, 32)


@pytest.mark.fault(77)
def test_a_run_that_ran_out_of_memory_is_compared_at_the_batch_that_it_ended_with(
    scans: Path,
    tiny_training: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_memory_for: Callable[[int], Callable[..., Any]],
) -> None:
    settings = Settings(**tiny_training | {"batch_size": 4}, method="separate")
    with monkeypatch.context() as patch:
        patch.setattr(learner_module, "segmentation_loss", without_memory_for(2))
        genseg.fit(scans, tmp_path / "run", settings=settings)
    found = genseg.compare(scans, tmp_path / "run")
    assert (found.images, found.halved) == (None, (2, 2))
    (plan,) = (tmp_path / "run" / "comparison").glob("*/plan.yaml")
    assert yaml.safe_load(plan.read_text())["batch_size"] == 2
    assert "Memory ran out at update 2: the run then used 2 images per update, like the others." in found.verdict


@pytest.mark.fault(77)
def test_a_comparison_that_fits_at_no_batch_says_what_to_lower(
    larger: Path,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_memory_for: Callable[[int], Callable[..., Any]],
) -> None:
    run = shutil.copytree(larger, tmp_path / "run")
    monkeypatch.setattr(learner_module, "segmentation_loss", without_memory_for(1))
    with pytest.raises(MemoryRanOutError, match=r"memory ran out at 2 image\(s\) per update; .*--size"):
        genseg.compare(scans, run)
