"""Images unlike those of the training are told, whatever they are unlike in."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from genseg.base.records import fitted
from genseg.prepare.preprocess import Geometry, Prepared
from genseg.trust.ood import PERCENTILES, FeatureStatistics, OODDetector, distances, fingerprint

Images = list[tuple[np.ndarray, np.ndarray]]


def _images(count: int, seed: int, shift: Sequence[float] = (0, 0)) -> Images:
    """Figures of two kinds, 30 and 60 of them, that vary in a few directions; shifted by so many deviations."""
    random, fixed = np.random.default_rng(seed), np.random.default_rng(0)
    bases = [fixed.normal(size=(4, width)) for width in (30, 60)]
    return [
        tuple(
            random.normal(size=4) @ base + 0.1 * random.normal(size=base.shape[1]) + move
            for base, move in zip(bases, shift, strict=True)
        )
        for _ in range(count)
    ]


def _prepared(image: np.ndarray, worked: tuple[int, ...] | None = None) -> Prepared:
    size = worked or image.shape[1:]
    return Prepared("a", image.astype(np.float32), None, Geometry(None, size, size), np.zeros(0, np.int64))


def test_images_like_the_training_ones_are_accepted_and_others_are_not() -> None:
    known = OODDetector.learn(_images(32, 1), distances(_images(32, 1), _images(8, 2)))
    assert known is not None
    usual = [known.ood_score(image) <= known.highest for image in _images(200, 3)]
    assert 0.9 <= np.mean(usual) <= 1
    for shift in ((2, 0), (0, 2), (0.5, 0.5)):
        assert all(known.ood_score(image) > known.highest for image in _images(50, 4, shift))


def test_what_is_learned_survives_being_written_down() -> None:
    known = OODDetector.learn(_images(12, 1), distances(_images(12, 1), []))
    assert known is not None
    again = fitted(OODDetector, json.loads(json.dumps(known.to_json())), "trust.json", "")
    for image in _images(5, 2):
        assert again.ood_score(image) == pytest.approx(known.ood_score(image), abs=1e-3)
    assert again.highest == known.highest


def test_too_few_images_teach_nothing() -> None:
    assert OODDetector.learn(_images(4, 1), distances(_images(4, 1), _images(8, 2))) is None


def test_figures_that_never_vary_are_no_reason_to_divide_by_nothing() -> None:
    figures = np.random.default_rng(0).normal(size=(8, 5))
    figures[:, 2] = 3.0
    statistics = FeatureStatistics.fit(figures)
    changed = figures[:1].copy()
    changed[0, 2] = 300.0
    assert np.isfinite(statistics.distance(figures)).all()
    assert statistics.distance(changed)[0] > statistics.distance(figures).max() + 1


def test_the_distance_is_that_of_mahalanobis_with_the_shrunken_covariance() -> None:
    random = np.random.default_rng(0)
    figures = random.normal(size=(40, 6)) @ random.normal(size=(6, 6))
    standard = (figures - figures.mean(0)) / figures.std(0)
    covariance = standard.T @ standard / 40
    norm = lambda matrix: (matrix**2).sum() / 6  # noqa: E731
    target = np.trace(covariance) / 6 * np.eye(6)
    error = sum(norm(np.outer(row, row) - covariance) for row in standard) / 40**2
    share = min(1, error / norm(covariance - target))
    inverse = np.linalg.inv(share * target + (1 - share) * covariance)
    expected = 0.5 * np.log(np.einsum("ij,jk,ik->i", standard, inverse, standard) / 6)
    assert FeatureStatistics.fit(figures).distance(figures) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("change", ["darker", "noisy", "channels"])
def test_the_fingerprint_tells_what_happened_to_an_image(change: str) -> None:
    random = np.random.default_rng(0)
    image = random.uniform(-1, 1, (3, 16, 16)).cumsum(2) / 4 + np.array([0.5, 0, -0.5])[:, None, None]
    changed = {
        "darker": image - 0.5,
        "noisy": image + random.normal(0, 0.5, image.shape),
        "channels": image[::-1],
    }[change]
    own, other = fingerprint(_prepared(image)), fingerprint(_prepared(changed))
    assert own.shape == other.shape == (3 * 9 + 2 * 2,)
    assert np.abs(own - other).max() > 0.2


def test_padding_is_no_part_of_the_fingerprint() -> None:
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 8))
    padded = np.pad(image, ((0, 0), (0, 4), (0, 0), (0, 2)), constant_values=99)
    assert np.array_equal(fingerprint(_prepared(image)), fingerprint(_prepared(padded, (8, 8, 8))))
    assert np.isfinite(fingerprint(_prepared(image[:, :1]))).all()


@pytest.mark.parametrize("side", [1, 2, 13, 64])
def test_percentiles_of_the_fingerprint_are_numpy_s(side: int) -> None:
    image = np.rint(np.random.default_rng(side).normal(size=(2, side, side)) * 40).astype(np.float32) / 127.5
    figures = fingerprint(_prepared(image)).tolist()
    for channel, own in zip(image, (figures[2:7], figures[11:16]), strict=True):
        assert own == pytest.approx(np.percentile(channel, PERCENTILES), abs=1e-6)
