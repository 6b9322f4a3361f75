"""Temperatures that are known beforehand, and the calibration error by hand."""

from __future__ import annotations

import numpy as np
import pytest

from genseg.segmenters.network import softmax
from genseg.trust.calibration import LabelledLogits, calibrate, calibration_error, fit_temperature


def _case(seed: int, temperature: float, pixels: int = 5000) -> LabelledLogits:
    """Pixels whose truth is drawn by the probabilities that logits over `temperature` stand for."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(3, pixels)).astype(np.float32) * temperature
    chance = softmax(logits / np.float32(temperature)).cumsum(0)
    return LabelledLogits(logits, (random.uniform(size=pixels) > chance).sum(0).astype(np.uint8))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_truth_is_found(temperature: float) -> None:
    assert fit_temperature([_case(seed, temperature) for seed in range(4)]) == pytest.approx(temperature, rel=0.05)


def test_the_error_goes_down_where_probabilities_were_too_sure() -> None:
    found = calibrate([_case(seed, 3.0) for seed in range(4)])
    assert found.error_before > 0.2
    assert found.error_after is not None
    assert found.error_after < 0.03
    assert (found.cases, found.temperature) == (4, pytest.approx(3, rel=0.05))


def test_the_error_is_the_gap_between_being_sure_and_being_right() -> None:
    sure = np.log(np.array([[0.9, 0.9, 0.9, 0.9, 0.6, 0.6], [0.1, 0.1, 0.1, 0.1, 0.4, 0.4]], np.float32))
    case = LabelledLogits(sure, np.array([0, 0, 1, 1, 0, 1], np.uint8))
    assert calibration_error([case], [1.0]) == pytest.approx((4 * 0.4 + 2 * 0.1) / 6, abs=1e-6)


def test_the_error_of_a_case_is_by_the_temperature_of_the_others() -> None:
    one, other = _case(0, 3.0), _case(1, 0.5)
    found = calibrate([one, other])
    assert found.error_after == calibration_error([one, other], [fit_temperature([other]), fit_temperature([one])])


def test_one_case_leaves_no_other_to_judge_by() -> None:
    assert calibrate([_case(0, 2.0)]).error_after is None


def test_certainty_gives_no_infinite_temperature() -> None:
    logits = np.array([[50.0] * 10, [-50.0] * 10], np.float32)
    assert np.isfinite(fit_temperature([LabelledLogits(logits, np.zeros(10, np.uint8))]))
