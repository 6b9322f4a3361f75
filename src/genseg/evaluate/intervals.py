"""How sure a mean over cases is: bootstrap intervals, and the paired comparison of two models.

Percentile bootstrap over cases (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13): cases
are drawn again with replacement, as many as there are, and the mean of each draw is taken. Cases count as
independent of each other; with fewer than about ten of them the intervals tend to be too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over `count` cases and its interval.

    `low` and `high` are None where the interval is not estimable (fewer than 2 cases), `mean` where there is none.
    """

    mean: float | None
    low: float | None
    high: float | None
    count: int

    def text(self, digits: int = 3) -> str:
        """Mean and interval in words, as far as they are there."""
        if self.mean is None:
            return "undefined"
        if self.low is None or self.high is None:
            return f"{self.mean:.{digits}f}"
        return f"{self.mean:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True)
class PairedDifference:
    """The mean of first minus second over `count` paired cases, its interval and its two-sided p-value.

    `low`, `high` and `p_value` are None where they are not estimable (fewer than 2 cases).
    """

    difference: float | None
    low: float | None
    high: float | None
    p_value: float | None
    count: int


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64], draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> Estimate:
    """Mean of one value per case, with its bootstrap interval.

    values: `(case,)`, finite. level: the interval's coverage, between 0 and 1.
    Raises ValueError for values that are not one finite number per case, or an impossible level.
    """
    sample = _sample(values)
    mean = float(sample.mean()) if sample.size else None
    if sample.size < 2:
        return Estimate(mean, None, None, sample.size)
    low, high = _bounds(_bootstrap_means(sample, draws, seed), level)
    return Estimate(mean, low, high, sample.size)


def paired_bootstrap(
    first: Sequence[float] | NDArray[np.float64],
    second: Sequence[float] | NDArray[np.float64],
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> PairedDifference:
    """Compare two models on the same cases: the mean of first minus second.

    first, second: `(case,)` each, finite, in the same order of cases.
    The p-value is twice the smaller share of draws whose mean lies on or beyond zero, counting the sample itself
    as one draw more (Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 4.2), so that it
    is never 0.
    Raises ValueError where the lengths differ or a value is not finite.
    """
    one, other = _sample(first), _sample(second)
    if one.size != other.size:
        raise ValueError(f"paired values must be of the same cases, got {one.size} and {other.size}")
    differences = one - other
    estimate = bootstrap_interval(differences, draws, seed, level)
    p_value = _p_value(_bootstrap_means(differences, draws, seed)) if differences.size >= 2 else None
    return PairedDifference(estimate.mean, estimate.low, estimate.high, p_value, estimate.count)


def paired_bootstrap_over_strata(
    differences: Sequence[NDArray[np.float64]], draws: int = DRAWS, seed: int = 0, level: float = 0.95
) -> PairedDifference:
    """The mean over strata (datasets, say) of the mean paired difference in each; every stratum counts alike.

    differences: for each stratum `(training, case)`, first minus second, at least 2 cases: both models trained again
    with other seeds, or on other cases, and judged on the same cases. Cases are drawn again within their stratum, and
    so are trainings, each by themselves (Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics 2007); one
    training alone tells nothing of how much trainings differ. The p-value is that of `paired_bootstrap`; `count` is of
    cases.
    Raises ValueError where there is no stratum, one has fewer than 2 cases, or a value is not finite.
    """
    if not differences or min(one.shape[1] for one in differences) < 2:
        raise ValueError(f"expected strata of 2 or more cases each, got {[one.shape[1:] for one in differences]}")
    if not all(np.isfinite(one).all() for one in differences):
        raise ValueError("expected finite differences")
    means = np.mean([_pigeonhole_means(one, draws, seed + place) for place, one in enumerate(differences)], axis=0)
    low, high = _bounds(means, level)
    mean = float(np.mean([one.mean() for one in differences]))
    return PairedDifference(mean, low, high, _p_value(means), sum(one.shape[1] for one in differences))


def _sample(values: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not np.isfinite(sample).all():
        raise ValueError(f"expected one finite number per case, got {values!r}")
    return sample


def _bootstrap_means(sample: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    chosen = np.random.default_rng(seed).integers(0, sample.size, (draws, sample.size))
    means: NDArray[np.float64] = sample[chosen].mean(axis=1)
    return means


def _pigeonhole_means(table: NDArray[np.float64], draws: int, seed: int) -> NDArray[np.float64]:
    """Means of draws of rows and columns of `(training, case)`, `(draws,)`."""
    rng = np.random.default_rng(seed)
    trainings, cases = table.shape
    by_training = table[:, rng.integers(0, cases, (draws, cases))].mean(axis=2)
    chosen = rng.integers(0, trainings, (draws, trainings))
    means: NDArray[np.float64] = np.take_along_axis(by_training.T, chosen, axis=1).mean(axis=1)
    return means


def _bounds(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    # Rounded so that a level of 0.95 asks for the percentiles 2.5 and 97.5 exactly.
    tail = round(50 * (1 - level), 9)
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _p_value(means: NDArray[np.float64]) -> float:
    beyond = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    return min(1.0, float(2 * (beyond + 1) / (means.size + 1)))
