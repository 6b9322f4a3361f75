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
from scipy.optimize import least_squares

RATES = (0.05, 2.0)
"""Slowest and fastest rate: slower ones cannot be told from a straight line, faster ones from a step."""


@dataclass(frozen=True)
class PowerLaw:
    """`limit - scale * n^(-rate)`: never falling in n, and never above 1."""

    limit: float
    scale: float
    rate: float

    def __call__(self, labels: ArrayLike) -> NDArray[np.float64]:
        """The score at numbers of labels, 1 or more."""
        grown: NDArray[np.float64] = self.limit - self.scale * np.asarray(labels, np.float64) ** -self.rate
        return grown

    def labels_for(self, score: float) -> float:
        """The number of labels from which on the score is reached; infinite where it never is."""
        if score >= self.limit:
            return math.inf
        return max(1.0, math.pow(self.scale / (self.limit - score), 1 / self.rate))


def fit_power_law(labels: Sequence[int], scores: ArrayLike) -> PowerLaw:
    """The power law nearest to scores in 0..1 at numbers of labels, two or more different ones."""
    counts, found = np.asarray(labels, np.float64), np.asarray(scores, np.float64)
    weights = np.sqrt(counts / counts.max())

    def miss(values: NDArray[np.float64]) -> NDArray[np.float64]:
        missed: NDArray[np.float64] = weights * (PowerLaw(*values)(counts) - found)
        return missed

    top = float(np.clip(found.max(), 0.0, 1.0))
    start = (min(1.0, top + 0.02), max(1e-3, (top - found.min()) * counts.min() ** 0.5), 0.5)
    bounds = ((0.0, 0.0, RATES[0]), (1.0, np.inf, RATES[1]))
    return PowerLaw(*(float(value) for value in least_squares(miss, start, bounds=bounds).x))
