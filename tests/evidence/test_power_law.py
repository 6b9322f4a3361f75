"""The curve through scores: found again where it is known, sensible where it is not."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genseg.evidence.power_law import PowerLaw, fit_power_law

NUMBERS = [4, 8, 16, 32]


@pytest.mark.parametrize(("limit", "scale", "rate"), [(0.9, 0.8, 0.5), (0.8, 0.3, 1.0), (0.97, 0.6, 0.2)])
def test_a_known_curve_is_found_again(limit: float, scale: float, rate: float) -> None:
    law = PowerLaw(limit, scale, rate)
    fitted = fit_power_law(NUMBERS, law(NUMBERS))
    assert fitted(NUMBERS) == pytest.approx(law(NUMBERS), abs=1e-3)
    assert fitted(100) == pytest.approx(law(100), abs=2e-3)


def test_more_labels_count_more_in_the_fit() -> None:
    scores = np.array([0.7, 0.5, 0.5, 0.6])
    fitted = fit_power_law(NUMBERS, scores)
    assert abs(fitted(32) - 0.6) < abs(fitted(4) - 0.7)


@pytest.mark.parametrize("scores", [[0.9, 0.8, 0.7, 0.6], [0.0] * 4, [1.0] * 4, [0.2, 0.95, 1.0, 1.0]])
def test_the_curve_never_falls_and_never_passes_1(scores: list[float]) -> None:
    curve = fit_power_law(NUMBERS, scores)(np.arange(1, 500))
    assert (np.diff(curve) >= 0).all()
    assert curve.max() <= 1


def test_labels_for_a_score_reach_it() -> None:
    law = PowerLaw(0.9, 0.8, 0.5)
    assert law(law.labels_for(0.75)) == pytest.approx(0.75)
    assert law.labels_for(0.05) == 1
    assert law.labels_for(0.9) == math.inf
    assert PowerLaw(0.9, 0.0, 0.5).labels_for(0.8) == 1
