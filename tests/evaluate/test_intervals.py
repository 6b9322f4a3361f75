from __future__ import annotations

import numpy as np
import pytest

from genseg.evaluate.intervals import bootstrap_interval, paired_bootstrap, paired_bootstrap_over_strata


def test_interval_follows_the_stated_draws_exactly() -> None:
    values = np.random.default_rng(7).uniform(size=23)
    draws = np.random.default_rng(0).integers(0, 23, (2000, 23))
    low, high = np.percentile(values[draws].mean(1), [2.5, 97.5])
    estimate = bootstrap_interval(values)
    assert (estimate.mean, estimate.low, estimate.high, estimate.count) == (values.mean(), low, high, 23)


def test_interval_is_near_the_normal_one_for_many_cases() -> None:
    values = np.random.default_rng(3).normal(0.8, 0.1, size=400)
    estimate = bootstrap_interval(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.15 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.15 * half)


def test_a_higher_level_gives_a_wider_interval() -> None:
    values = np.random.default_rng(3).uniform(size=30)
    narrow, wide = bootstrap_interval(values, level=0.5), bootstrap_interval(values, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high  # type: ignore[operator]


@pytest.mark.fault(41)
@pytest.mark.parametrize(("values", "mean"), [([], None), ([0.7], 0.7)])
def test_interval_of_fewer_than_two_cases_is_not_estimable(values: list[float], mean: float | None) -> None:
    estimate = bootstrap_interval(values)
    assert (estimate.mean, estimate.low, estimate.high, estimate.count) == (mean, None, None, len(values))


@pytest.mark.parametrize("values", [[0.1, float("nan")], [[0.1, 0.2], [0.3, 0.4]]])
def test_values_that_are_not_one_finite_number_per_case(values: list[float]) -> None:
    with pytest.raises(ValueError, match="one finite number per case"):
        bootstrap_interval(values)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_impossible_level(level: float) -> None:
    with pytest.raises(ValueError, match="level"):
        bootstrap_interval([0.1, 0.2], level=level)


def test_pairing_finds_a_small_steady_difference() -> None:
    rng = np.random.default_rng(1)
    second = rng.uniform(0.2, 0.9, size=30)
    first = second + rng.normal(0.02, 0.01, size=30)
    result = paired_bootstrap(first, second)
    assert result.difference == pytest.approx((first - second).mean())
    assert 0 < result.low < result.difference < result.high  # type: ignore[operator]
    assert result.p_value == pytest.approx(2 / 2001)
    assert paired_bootstrap(second, first).difference == pytest.approx(-result.difference)  # type: ignore[operator]
    assert paired_bootstrap(second, first).p_value == pytest.approx(2 / 2001)


def test_no_difference_has_p_of_one() -> None:
    result = paired_bootstrap([0.1, 0.5, 0.9], [0.1, 0.5, 0.9])
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)


def test_p_value_holds_its_level_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(5)
    p_values = [paired_bootstrap(rng.normal(size=40), rng.normal(size=40), draws=400).p_value for _ in range(200)]
    share = np.mean([p is not None and p < 0.1 for p in p_values])
    assert 0.05 < share < 0.17


@pytest.mark.fault(41)
def test_paired_difference_of_one_case_is_not_estimable() -> None:
    result = paired_bootstrap([0.9], [0.5])
    assert result.difference == pytest.approx(0.4)
    assert (result.low, result.high, result.p_value, result.count) == (None, None, None, 1)


def test_unequal_numbers_of_cases() -> None:
    with pytest.raises(ValueError, match="same cases"):
        paired_bootstrap([0.1, 0.2], [0.1])


def test_every_stratum_counts_alike_however_many_cases_it_has() -> None:
    rng = np.random.default_rng(2)
    small, large = rng.normal(0.10, 0.02, 10), rng.normal(0.02, 0.02, 200)
    result = paired_bootstrap_over_strata([small[None], large[None]])
    assert result.difference == pytest.approx((small.mean() + large.mean()) / 2)
    # Two independent means: the half width of their mean's interval, by the normal approximation.
    half = 1.96 * np.sqrt(small.var() / 10 + large.var() / 200) / 2
    assert result.low == pytest.approx(result.difference - half, abs=0.2 * half)
    assert result.high == pytest.approx(result.difference + half, abs=0.2 * half)
    assert (result.p_value, result.count) == (pytest.approx(2 / 2001), 210)


def test_trainings_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    cases, trainings = rng.normal(0, 0.02, 200), rng.normal(0, 0.05, (30, 1))
    result = paired_bootstrap_over_strata([cases + trainings])
    assert result.low is not None
    assert result.high is not None
    # The mean of independent rows and columns: variances add up.
    half = 1.96 * np.sqrt(cases.var() / 200 + trainings.var() / 30)
    assert result.difference == pytest.approx(cases.mean() + trainings.mean())
    assert (result.high - result.low) / 2 == pytest.approx(half, rel=0.1)
    assert result.count == 200


def test_one_training_is_drawn_from_by_its_cases_alone() -> None:
    differences = np.random.default_rng(4).normal(0.01, 0.02, 50)
    alone = paired_bootstrap(differences, np.zeros(50))
    assert paired_bootstrap_over_strata([differences[None]]) == alone
    again = paired_bootstrap_over_strata([np.stack([differences] * 3)])
    assert (again.low, again.high) == (pytest.approx(alone.low), pytest.approx(alone.high))


@pytest.mark.parametrize("shapes", [[], [(1, 2), (1, 1)], [(3, 0)]])
def test_strata_that_cannot_be_drawn_from(shapes: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="2 or more cases"):
        paired_bootstrap_over_strata([np.zeros(shape) for shape in shapes])


def test_a_difference_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        paired_bootstrap_over_strata([np.array([[0.1, np.nan]])])
