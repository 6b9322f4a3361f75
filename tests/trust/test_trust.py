"""What held-out cases teach, and what is said of a new image."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genseg
from genseg.base.records import fitted
from genseg.config import Plan
from genseg.predict.prediction import predict_case
from genseg.read.case import Case
from genseg.segmenters.network import Array, Response
from genseg.trust.calibration import Calibration
from genseg.trust.ood import OODDetector
from genseg.trust.postprocess import PostprocessingStep
from genseg.trust.trust import UNTESTED, Fold, Trust, learn_trust


class Brightness:
    """An object where the image is bright, far too sure of itself; the features tell the brightness."""

    is_fixed = False

    def __call__(self, image: Array) -> Response:
        logit = 60 * image[:, :1]
        return Response(np.concatenate([-logit, logit], 1), (image.mean((2, 3)).repeat(6, 1),))


def _case(number: int, bright: float = 160, ground: float = 90) -> Case:
    """A bright square on a darker, noisy ground; what is above 127 is taken for the object."""
    random = np.random.default_rng(number)
    image = random.normal(ground, 15, (1, 16, 16))
    mask = np.zeros((16, 16), np.uint8)
    mask[4:10, 4:10] = 1
    image[0][mask == 1] = random.normal(bright, 15, 36)
    return Case(str(number), image.clip(0, 255).astype(np.uint8), mask, (1.0, 1.0), None, "", "", "")


@pytest.fixture
def plan(plan_of: Callable[..., Plan]) -> Plan:
    return plan_of(2)


@pytest.fixture
def trust(plan: Plan) -> Trust:
    network, training = Brightness(), [_case(number) for number in range(20)]
    return learn_trust(network, training, [Fold(network, training, [_case(number) for number in range(20, 28)])], plan)


def test_held_out_cases_teach_temperature_limits_and_what_is_usual(trust: Trust) -> None:
    assert trust.calibration is not None
    assert trust.calibration.error_after is not None
    assert trust.calibration.error_after < trust.calibration.error_before / 2
    assert trust.temperature > 2
    assert trust.ood is not None
    assert trust.lowest_dice is not None
    assert 0.5 < trust.lowest_dice < 1
    assert not trust.often_empty


def _read(trust: Trust) -> Trust:
    return fitted(Trust, json.loads(json.dumps(trust.to_json())), "trust.json", "")


def test_what_was_learned_survives_being_written_down(trust: Trust) -> None:
    again = _read(trust)
    assert replace(again, ood=None) == replace(trust, ood=None)
    assert (again.ood is None) == (trust.ood is None)
    assert _read(UNTESTED) == UNTESTED


def test_without_held_out_cases_nothing_is_claimed(plan: Plan) -> None:
    trust = learn_trust(Brightness(), [_case(number) for number in range(3)], [], plan)
    assert trust == UNTESTED


def test_training_masks_without_object_are_remembered(plan: Plan) -> None:
    empty = replace(_case(0), mask=np.zeros((16, 16), np.uint8))
    assert learn_trust(Brightness(), [_case(1), empty], [], plan).often_empty


def test_a_usual_image_needs_no_word(trust: Trust, plan: Plan) -> None:
    found = [predict_case(_case(number), Brightness(), plan, trust) for number in range(30, 50)]
    assert sum(bool(one.notes) for one in found) <= 3
    assert all(one.expected_dice is not None and 0.5 < one.expected_dice < 1 for one in found)


@pytest.mark.parametrize(
    ("bright", "ground", "word"),
    [(250, 90, "differs from the training images"), (30, 30, "empty mask"), (125, 90, "uncertain mask")],
)
def test_an_odd_image_is_told_in_words(trust: Trust, plan: Plan, bright: float, ground: float, word: str) -> None:
    found = predict_case(_case(60, bright, ground), Brightness(), plan, trust)
    assert any(word in note for note in found.notes), found.notes


def test_temperature_moves_confidence_and_no_mask(plan: Plan) -> None:
    calm = replace(UNTESTED, calibration=Calibration(10.0, 0.2, 0.1, 4))
    sure, unsure = (predict_case(_case(1), Brightness(), plan, trust) for trust in (UNTESTED, calm))
    assert np.array_equal(sure.mask, unsure.mask)
    assert unsure.confidence.mean() < sure.confidence.mean()
    assert (sure.ood_score, sure.notes) == (None, ())


def test_learned_rules_mend_the_mask(plan: Plan) -> None:
    case = _case(1)
    case.image[0, 6, 6] = 0
    filling = replace(UNTESTED, postprocessing=(PostprocessingStep(1, "fill-holes", 0.1),))
    holed, whole = (predict_case(case, Brightness(), plan, trust).mask[6, 6] for trust in (UNTESTED, filling))
    assert (holed, whole) == (0, 1)


def test_a_run_keeps_what_it_learned_and_its_model_uses_it(rgb_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    kept = fitted(Trust, json.loads((rgb_run / "model" / "trust.json").read_text()), "trust.json", "")
    model = genseg.load(rgb_run)
    assert model.trust.temperature == kept.temperature != 1
    assert isinstance(model.trust.ood, OODDetector)
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise).save(tmp_path / "images" / "noise.png")
    (case,) = model.predict_folder(tmp_path / "images", tmp_path / "out")
    assert "differs from the training images" in case.notes[0]
    assert case.notes[0] in (tmp_path / "out" / "predictions.csv").read_text()
    usual = [model.examine(path).notes for path in sorted((rgb_phantoms / "images").iterdir())]
    assert not any("unlike" in note for notes in usual[:5] for note in notes)


def test_files_hold_the_names_that_they_had_from_the_first() -> None:
    learned = replace(UNTESTED, postprocessing=(PostprocessingStep(1, "fill-holes", 0.1),))
    assert list(learned.to_json()) == ["calibration", "familiarity", "mendings", "lowest_dice", "often_empty"]
    assert learned.to_json()["mendings"] == ({"class_index": 1, "rule": "fill-holes", "gain": 0.1, "least": 0.0},)
