"""Probabilities that mean what they say: of the pixels given 80 %, four in five are right.

One number, the temperature, divides all logits. It changes no mask, only how sure each pixel is said to be. Source: Guo
et al., On Calibration of Modern Neural Networks, ICML 2017, sections 2 and 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genseg.base.records import Share
from genseg.segmenters.network import Array, softmax

BINS = 15
RANGE = 0.05, 20.0
"""Temperatures that are looked through; no other is believed when a model is read."""


@dataclass(frozen=True)
class LabelledLogits:
    """Some pixels of one held-out case. logits: `(class, pixel)`. truth: `(pixel,)` class indices."""

    logits: Array
    truth: NDArray[np.uint8]


@dataclass(frozen=True)
class Calibration:
    """A temperature, and the expected calibration error (0..1) that held-out cases have without it and with it.

    The error with it is that of each case by the temperature of the others; None where there is but one case.
    """

    temperature: Annotated[float, Field(ge=RANGE[0], le=RANGE[1])]
    error_before: Share
    error_after: Share | None
    cases: Annotated[int, Field(ge=1)]


def calibrate(cases: Sequence[LabelledLogits]) -> Calibration:
    """Fit the temperature to held-out cases, each of which counts as much as any other."""
    after = None
    if len(cases) > 1:
        others = [fit_temperature([*cases[:left], *cases[left + 1 :]]) for left in range(len(cases))]
        after = calibration_error(cases, others)
    before = calibration_error(cases, [1.0] * len(cases))
    return Calibration(fit_temperature(cases), before, after, len(cases))


def fit_temperature(cases: Sequence[LabelledLogits]) -> float:
    """The temperature by which the truth is most probable (the paper's equation 8)."""
    from scipy.optimize import minimize_scalar

    def surprise(log_temperature: float) -> float:
        return float(np.mean([_surprise(case, np.exp(log_temperature)) for case in cases]))

    found = minimize_scalar(surprise, bounds=np.log(RANGE), method="bounded", options={"xatol": 1e-3})
    return float(np.clip(np.exp(found.x), *RANGE))


def calibration_error(cases: Sequence[LabelledLogits], temperatures: Sequence[float]) -> float:
    """Expected calibration error (the paper's equation 3) over the pixels of all cases, each at its temperature."""
    said = [softmax(case.logits / np.float32(by)) for case, by in zip(cases, temperatures, strict=True)]
    confidence = np.concatenate([one.max(0) for one in said])
    is_right = np.concatenate([one.argmax(0) == case.truth for one, case in zip(said, cases, strict=True)])
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, confidence - is_right, BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _surprise(case: LabelledLogits, temperature: float) -> float:
    """Mean negative log-likelihood of the truth."""
    scaled = case.logits / np.float32(temperature)
    highest = scaled.max(0)
    right = np.take_along_axis(scaled, case.truth[None].astype(np.intp), 0)[0]
    return float(np.mean(np.log(np.exp(scaled - highest).sum(0)) + highest - right))
