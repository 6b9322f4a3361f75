"""What more labels would bring: right on made-up scores, honest where nothing can be said, and trained as it says."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genseg
from genseg.config import Plan, Settings
from genseg.errors import RunError, SettingsError
from genseg.evidence import learning_curve as curve_module
from genseg.evidence import trainings as trainings_module
from genseg.evidence.learning_curve import FoldDice, curve_of
from genseg.evidence.power_law import PowerLaw
from genseg.segmenters import learner as learner_module
from genseg.training import planning

CASES = [f"case {number}" for number in range(40)]
ALONE = {name: name for name in CASES}


def _made_up(law: PowerLaw, noise: float = 0.0) -> FoldDice:
    """Dice of 40 cases in 5 folds that follow a law, each case better or worse than the mean by its own amount."""
    draws = np.random.default_rng(0)
    own = draws.uniform(-0.1, 0.1, len(CASES))
    own -= own.mean()
    return {
        number: [
            {
                name: float(law(number)) + own[place] + noise * draws.normal()
                for place, name in enumerate(CASES)
                if place % 5 == fold
            }
            for fold in range(5)
        ]
        for number in (4, 8, 16, 32)
    }


def test_a_known_curve_gives_the_number_of_labels_that_it_says() -> None:
    law = PowerLaw(0.85, 0.8, 0.5)
    curve = curve_of(_made_up(law), ALONE, 40, 0.02)
    needed = law.labels_for(float(law(40)) + 0.02)
    assert [point.labels for point in curve.points] == [4, 8, 16, 32]
    assert [point.dice for point in curve.points] == pytest.approx(law([4, 8, 16, 32]))
    assert curve.needed == pytest.approx(needed, rel=0.02)
    assert curve.needed_low <= curve.needed <= curve.needed_high
    assert f"2 more points would take about {math.ceil(needed - 40)} more labels (95 %: " in curve.verdict
    assert (curve.band[1] <= curve.fitted(curve.band[0]) + 1e-9).all()
    assert (curve.band[2] >= curve.fitted(curve.band[0]) - 1e-9).all()


def test_a_curve_that_has_levelled_off_says_so() -> None:
    curve = curve_of(_made_up(PowerLaw(0.8, 0.3, 1.5)), ALONE, 40, 0.02)
    assert curve.needed == math.inf
    assert "levels off at 80.0 %, and more labels alone will hardly bring 2 more points" in curve.verdict
    kept = json.loads(json.dumps(curve.to_json(), allow_nan=False))
    assert kept["needed"] is None


def test_where_dice_does_not_rise_nothing_is_forecast() -> None:
    falling = {number: [dict.fromkeys(CASES, 0.6 - number / 200)] for number in (4, 8, 16)}
    curve = curve_of(falling, ALONE, 20, 0.02)
    assert curve.verdict.startswith("Dice does not rise from 4 to 16 cases, so no estimate for more labels is possible")


def test_a_forecast_far_beyond_the_labels_is_called_one() -> None:
    curve = curve_of(_made_up(PowerLaw(1.0, 0.6, 0.1)), ALONE, 40, 0.1)
    assert 4 * 40 < curve.needed < math.inf
    assert curve.verdict.endswith("That is far beyond what was measured.")


def test_noise_and_patients_of_many_scans_widen_the_interval() -> None:
    law = PowerLaw(0.85, 0.8, 0.5)
    few = {name: f"patient {place % 5} {place % 2}" for place, name in enumerate(CASES)}

    def width(noise: float, groups: dict[str, str]) -> float:
        last = curve_of(_made_up(law, noise), groups, 40, 0.02).points[-1]
        return last.high - last.low

    assert width(0.1, ALONE) > width(0.0, ALONE)
    together = {f"patient {fold} {half}" for fold in range(5) for half in range(2)}
    assert set(few.values()) == together
    by_patient = _by_patient(_made_up(law), few)
    wide = curve_of(by_patient, few, 40, 0.02).points[-1]
    narrow = curve_of(by_patient, ALONE, 40, 0.02).points[-1]
    assert wide.high - wide.low > narrow.high - narrow.low


def _by_patient(dice: FoldDice, groups: dict[str, str]) -> FoldDice:
    """Scores that are all alike within a patient, one patient of a fold worse than the other."""
    return {
        number: [{name: one - 0.2 * groups[name].endswith("1") for name, one in fold.items()} for fold in folds]
        for number, folds in dice.items()
    }


@pytest.fixture(scope="module")
def settings(tiny_training: dict[str, Any]) -> Settings:
    """A training of no time on two folds."""
    alone = {name: value for name, value in tiny_training.items() if name != "pretraining"}
    return Settings(**alone, method="strong-augmentation", folds=2)


@pytest.fixture(scope="module")
def measured(scans: Path, settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a curve. Read only."""
    out = tmp_path_factory.mktemp("curve") / "out"
    told: list[tuple[str, int, int]] = []
    genseg.curve(scans, out, settings=settings, counts=[1, 2, 3], progress=lambda *news: told.append(news))
    assert told[-1] == ("Measuring", 12, 12)
    return out


def test_each_number_is_trained_on_every_fold_and_fewer_are_among_more(measured: Path) -> None:
    trained, held_out = {}, {}
    for path in measured.glob("*/split.json"):
        split = json.loads(path.read_text())
        number, fold = int(path.parent.name.split("-")[0]), int(path.parent.name[-1])
        assert len(split["train"]) == number
        trained[number, fold], held_out[number, fold] = set(split["train"]), split["validation"]
    for fold in range(2):
        assert trained[1, fold] < trained[2, fold] < trained[3, fold]
        assert held_out[1, fold] == held_out[2, fold] == held_out[3, fold]
    assert sorted(held_out[3, 0] + held_out[3, 1]) == [f"phantom_00{number}" for number in range(6)]
    assert (measured / "curve.png").stat().st_size > 5000
    assert [point["labels"] for point in json.loads((measured / "curve.json").read_text())["points"]] == [1, 2, 3]


def test_what_is_trained_is_not_trained_again(
    measured: Path, scans: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainings_module, "run_training", lambda *_, **__: pytest.fail("trained again"))
    before = (measured / "curve.json").read_bytes()
    genseg.curve(scans, measured, settings=settings, counts=[3, 2, 1, 2])
    assert (measured / "curve.json").read_bytes() == before


def test_trainings_with_other_settings_are_refused(measured: Path, scans: Path, settings: Settings) -> None:
    other = settings.model_copy(update={"learning_rate": 0.5})
    with pytest.raises(
        RunError,
        match=r"1-labels-fold-0: was trained with other settings .*\(learning_rate: None then, 0\.5 now",
    ):
        genseg.curve(scans, measured, settings=other, counts=[1, 2, 3])


def test_a_time_is_measured_before_the_first_training_alone(
    scans: Path, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StoppedError(Exception):
        pass

    planned: list[Plan] = []

    def stop(_: Any, __: Any, trainings: Sequence[Any], *___: Any) -> None:
        planned.append(trainings[0].plan)
        trainings[0].folder.mkdir(exist_ok=True)
        trainings[0].plan.to_yaml(trainings[0].folder / "plan.yaml")
        raise StoppedError

    monkeypatch.setattr(curve_module, "carry_out", stop)
    seconds = iter((0.5, 2.0))
    monkeypatch.setattr(planning, "estimate_seconds", lambda *_: next(seconds))
    timed = settings.model_copy(update={"time": 100.0, "updates": None})
    for _ in range(2):
        with pytest.raises(StoppedError):
            genseg.curve(scans, tmp_path, settings=timed, counts=[1, 2, 3])
    assert planned[0] == planned[1]
    assert planned[0].updates == 200
    assert next(seconds) == 2.0  # nobody has looked at the watch again


@pytest.mark.fault(77)
def test_where_memory_runs_out_all_numbers_are_trained_with_half_the_images(
    scans: Path,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    without_memory_for: Callable[[int], Callable[..., Any]],
) -> None:
    monkeypatch.setattr(learner_module, "segmentation_loss", without_memory_for(2))
    curve = genseg.curve(scans, tmp_path, settings=settings, counts=[1, 2, 3])
    made = {path.parents[1].name for path in tmp_path.glob("*/model/model.json")}
    assert made == {f"{number}-labels-fold-{fold}-with-1-images" for number in (1, 2, 3) for fold in range(2)}
    assert curve.verdict.endswith("Memory ran out, so all were trained with 1 images per update.")
    monkeypatch.setattr(trainings_module, "run_training", lambda *_, **__: pytest.fail("trained again"))
    assert genseg.curve(scans, tmp_path, settings=settings, counts=[1, 2, 3]).images == 1


def test_trainings_on_other_data_are_refused(measured: Path, rgb_phantoms: Path, settings: Settings) -> None:
    with pytest.raises(RunError, match="changed since this run began"):
        genseg.curve(rgb_phantoms, measured, settings=settings, counts=[1, 2, 3])


@pytest.mark.parametrize("counts", [[1, 2], [2, 2, 2, 3], [1, 2, 4], [0, 1, 2], None])
def test_impossible_numbers_are_refused_before_anything_is_trained(
    scans: Path, settings: Settings, tmp_path: Path, counts: list[int] | None
) -> None:
    with pytest.raises(SettingsError, match="expected three or more different numbers of training cases, from 1 to 3"):
        genseg.curve(scans, tmp_path / "out", settings=settings, counts=counts)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("gain", [0.0, 2.0, -0.1, math.nan])
def test_an_impossible_gain_is_refused(scans: Path, tmp_path: Path, gain: float) -> None:
    with pytest.raises(SettingsError, match="expected Dice between 0 and 1"):
        genseg.curve(scans, tmp_path / "out", gain=gain)
