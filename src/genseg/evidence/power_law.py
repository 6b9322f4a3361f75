"""How a score grows with the number of labels.

Dice(n) = limit - scale * n^(-rate), fitted by least squares with weights that grow with n. Source: Figueroa et al.,
Predicting sample size required for classification performance, BMC Medical Informatics and Decision Making 2012, 12:8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls

Values = NDArray[np.float64]

RATES = (0.05, 2.0)
"""Slowest and fastest rate: slower ones cannot be told from a straight line, faster ones from a step."""


@dataclass(frozen=True)
class PowerLaw:
    """`limit - scale * n^(-rate)`: never falling in n, and never above 1."""

    limit: float
    scale: float
    rate: float

    def __call__(self, labels: ArrayLike) -> Values:
        """The score at numbers of labels, 1 or more."""
        grown: Values = self.limit - self.scale * np.asarray(labels, np.float64) ** -self.rate
        return grown

    def labels_for(self, score: float) -> float:
        """The number of labels from which on the score is reached; infinite where it never is."""
        if score >= self.limit:
            return math.inf
        return max(1.0, math.pow(self.scale / (self.limit - score), 1 / self.rate))


def fit_power_law(labels: Sequence[int], scores: ArrayLike) -> PowerLaw:
    """The power law nearest to scores in 0..1 at numbers of labels, two or more different ones.

    What is missing from 1 is linear in all but the rate, so that the rate alone is searched for. Source: Golub and
    Pereyra, SIAM Journal on Numerical Analysis 1973 (variable projection).
    """
    counts = np.asarray(labels, np.float64)
    weights = np.sqrt(counts / counts.max())
    missing = weights * (1 - np.asarray(scores, np.float64))

    def fit_at(rate: float) -> tuple[Values, float]:
        """What the limit lacks of 1, and the scale; and how far the scores are from that law."""
        terms = weights[:, None] * np.column_stack([np.ones_like(counts), counts**-rate])
        found: tuple[Values, float] = nnls(terms, missing)
        return found

    rate = float(minimize_scalar(lambda rate: fit_at(rate)[1], bounds=RATES, method="bounded").x)
    lacking, scale = fit_at(rate)[0].tolist()
    return PowerLaw(1 - lacking, scale, rate)
