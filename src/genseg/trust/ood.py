"""The out-of-distribution (OOD) score: how far an image is from the training images, in intensities and features.

Source: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018, equation 2 (the
distance of Mahalanobis from the training images), with the covariance of Ledoit and Wolf, Journal of Multivariate
Analysis 2004, for there are fewer images than features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PlainValidator

from genseg.base.records import AboveZero, Finite
from genseg.prepare.preprocess import Prepared
from genseg.segmenters.network import Array

PERCENTILES = (1, 10, 50, 90, 99)
LEAST_CASES = 5
"""Images below which nothing can be said of what is usual."""

ACCEPTED = 1.645
"""Standard deviations above the mean up to which 95 % of normally distributed scores lie."""

DIGITS = 6

Features = NDArray[np.float64]
ImageFeatures = Sequence[Sequence[Array]]
"""Features of some images, `[image][kind]`: of the intensities, then of each encoder level."""


def _array(content: Any) -> Features:
    """Numbers in lists of lists, all finite. Raises ValueError for anything else."""
    try:
        array = np.array(content, np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"expected numbers ({error})") from error
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers")
    return array


StoredFeatures = Annotated[Features, PlainValidator(_array)]
"""Features that are checked when they are read."""


def fingerprint(prepared: Prepared) -> Array:
    """Features of an image's intensities as the network sees them, without the padding.

    Of each channel mean, deviation, percentiles, and the mean step between neighbours along each axis; of each two
    channels that follow one another the mean and the deviation of their difference.
    """
    image = prepared.image[(slice(None), *map(slice, prepared.geometry.worked))]
    features: list[float] = []
    for channel in image:
        features += [channel.mean(), channel.std(), *_percentiles(channel)]
        for axis, size in enumerate(channel.shape):
            features.append(np.abs(np.diff(channel, axis=axis)).mean() if size > 1 else 0.0)
    for one, other in pairwise(image):
        features += [(one - other).mean(), (one - other).std()]
    return np.array(features, np.float32)


def _percentiles(channel: Array) -> Features:
    """`PERCENTILES` as by numpy's `percentile`, which looks for one after the other where sorting is several times as
    fast.
    """
    values = np.sort(channel, axis=None).astype(np.float64)
    places = np.array(PERCENTILES) / 100 * (len(values) - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    between: Features = values[below] + (places - below) * (values[above] - values[below])
    return between


@dataclass(frozen=True)
class FeatureStatistics:
    """Mean and covariance of the training images' features of one kind.

    mean, scale: `(feature,)`; features are standardised by them. directions: `(direction, feature)`, in which
    the images spread; spread: `(direction,)`, the variance along each; rest: the variance along every other direction.
    """

    mean: StoredFeatures
    scale: StoredFeatures
    directions: StoredFeatures
    spread: StoredFeatures
    rest: AboveZero

    def __post_init__(self) -> None:
        """Raises ValueError where sizes do not agree, or a scale or variance is not above 0."""
        features, directions = len(self.mean), len(self.spread)
        shapes = [self.mean.shape, self.scale.shape, self.directions.shape, self.spread.shape]
        expected = [(features,), (features,), (directions, features), (directions,)]
        if shapes != expected and not (directions == 0 and self.directions.size == 0):
            raise ValueError(f"feature statistics of sizes {shapes}; expected {expected}")
        if not ((self.scale > 0).all() and (self.spread > 0).all()):
            raise ValueError("scale and spread must be above 0")

    @classmethod
    def fit(cls, features: Features) -> FeatureStatistics:
        """Those of `(image, feature)`."""
        mean, scale = features.mean(0), features.std(0)
        scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, 1 + np.abs(mean))
        standard = (features - mean) / scale
        shrinkage, variance = _shrinkage(standard)
        _, lengths, directions = np.linalg.svd(standard, full_matrices=False)
        is_spread = lengths > 1e-6 * lengths.max(initial=1e-6)
        rest = max(shrinkage * variance, 1e-6)
        spread = (1 - shrinkage) * lengths[is_spread] ** 2 / len(features) + rest
        return cls(mean, scale, directions[is_spread], spread, rest)

    def distance(self, features: Features) -> Features:
        """Of each row of `(image, feature)`, the logarithm of its distance of Mahalanobis, `(image,)`."""
        standard: Features = (features - self.mean) / self.scale
        along = standard @ self.directions.reshape(-1, len(self.mean)).T
        across = (standard**2).sum(1) - (along**2).sum(1)
        squared: Features = (along**2 / self.spread).sum(1) + np.maximum(across, 0) / self.rest
        distance: Features = 0.5 * np.log(squared / features.shape[1] + 1e-12)
        return distance

    def to_json(self) -> dict[str, Any]:
        """Numbers and lists."""
        return {name: _rounded(getattr(self, name)) for name in ("mean", "scale", "directions", "spread", "rest")}


@dataclass(frozen=True)
class OODDetector:
    """The training images' feature statistics, and the distances from them that are usual.

    levels: of the intensities, then of each encoder level's features. usual: mean and deviation of the distances of
    images that were left out, at each level. highest: the OOD score up to which 95 % of them lie.
    """

    levels: Annotated[tuple[FeatureStatistics, ...], Field(validation_alias="clouds")]
    usual: tuple[tuple[Finite, AboveZero], ...]
    highest: Finite

    def __post_init__(self) -> None:
        """Raises ValueError where there is no level, or not one usual distance for each."""
        if not self.levels or len(self.levels) != len(self.usual):
            raise ValueError(f"{len(self.levels)} feature levels and {len(self.usual)} reference distances")

    @classmethod
    def learn(cls, training: ImageFeatures, unseen: Sequence[Features]) -> OODDetector | None:
        """From the features of images; None where there are too few.

        unseen: of each kind of features, the distances of images that were held out; see `distances`. What is usual is
        learned from these and, as far as they are fewer, from the training images, each left out in turn.
        """
        if len(training) < LEAST_CASES:
            return None
        levels, usual, standard = [], [], []
        for known, others in zip(_by_kind(training), unseen, strict=True):
            statistics = FeatureStatistics.fit(known)
            far = others if len(others) >= len(known) else np.concatenate([_left_out(known), others])
            mean, deviation = float(far.mean()), float(far.std(ddof=1)) or 1.0
            levels.append(statistics)
            usual.append((mean, deviation))
            standard.append((far - mean) / deviation)
        scores = np.mean(standard, axis=0)
        return cls(tuple(levels), tuple(usual), float(scores.mean() + ACCEPTED * scores.std(ddof=1)))

    def ood_score(self, features: Sequence[Array]) -> float:
        """Of one image, from its features of each kind; what is above `highest` is unusual."""
        scores = [
            (float(statistics.distance(np.asarray(own, np.float64)[None])[0]) - mean) / deviation
            for statistics, own, (mean, deviation) in zip(self.levels, features, self.usual, strict=True)
        ]
        return float(np.mean(scores))

    def to_json(self) -> dict[str, Any]:
        """Numbers and lists."""
        levels = [statistics.to_json() for statistics in self.levels]
        return {"clouds": levels, "usual": [list(pair) for pair in self.usual], "highest": self.highest}


def distances(training: ImageFeatures, held_out: ImageFeatures) -> list[Features]:
    """Of each kind of features, how far held-out images are from the training images, `(held out,)`.

    A logarithm of a distance in standard deviations, so that those of several networks may be put together.
    """
    unseen = _by_kind(held_out) if held_out else [np.zeros((0, len(own))) for own in training[0]]
    return [FeatureStatistics.fit(known).distance(own) for known, own in zip(_by_kind(training), unseen, strict=True)]


def _by_kind(images: ImageFeatures) -> list[Features]:
    """`(image, feature)` of each kind."""
    return [np.array(own, np.float64) for own in zip(*images, strict=True)]


def _left_out(features: Features) -> Features:
    """The distance of each image from the others."""
    others = (FeatureStatistics.fit(np.delete(features, one, 0)) for one in range(len(features)))
    return np.array([statistics.distance(own[None])[0] for statistics, own in zip(others, features, strict=True)])


def _shrinkage(standard: Features) -> tuple[float, float]:
    """How far to shrink the covariance of centred `(image, feature)` towards a multiple of the identity, and which.

    Source: Ledoit and Wolf, lemmas 3.2 to 3.4; norms are computed from the images' products, for features are many.
    """
    count, features = standard.shape
    products = standard @ standard.T
    variance = float(np.trace(products)) / (count * features)
    covariance_norm = float((products**2).sum()) / count**2
    apart = covariance_norm - features * variance**2
    error = (float((np.diag(products) ** 2).sum()) / count - covariance_norm) / count
    return (min(1.0, max(0.0, error / apart)) if apart > 0 else 1.0), variance


def _rounded(values: Features | float) -> Any:
    """As lists, with as many digits as matter."""
    flat = [float(f"{value:.{DIGITS}g}") for value in np.ravel(values)]
    return np.array(flat).reshape(np.shape(values)).tolist()
