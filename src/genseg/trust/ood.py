"""How like the training images an image is: by its intensities, and by what each level of the encoder makes of it.

Source: Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018, equation 2 (the
distance of Mahalanobis from the training images), with the covariance of Ledoit and Wolf, Journal of Multivariate
Analysis 2004, for there are fewer images than figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PlainValidator

from genseg.base.records import AboveZero, Finite
from genseg.prepare.preprocess import Prepared
from genseg.segmenters.network import Array

PERCENTILES = (1, 10, 50, 90, 99)
LEAST_CASES = 5
"""Images below which nothing can be said of what is usual."""

ACCEPTED = 1.645
"""Standard deviations above the mean up to which 95 % of normally distributed scores lie."""

DIGITS = 6

Figures = NDArray[np.float64]


def _array(content: Any) -> Figures:
    """Numbers in lists of lists, all finite. Raises ValueError for anything else."""
    try:
        array = np.array(content, np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"expected numbers ({error})") from error
    if not np.isfinite(array).all():
        raise ValueError("expected finite numbers")
    return array


StoredFigures = Annotated[Figures, PlainValidator(_array)]
"""Figures that are checked when they are read."""


def fingerprint(prepared: Prepared) -> Array:
    """Figures of an image's intensities as the network sees them, without the padding.

    Of each channel mean, deviation, percentiles, and the mean step between neighbours along each axis; of each two
    channels that follow one another the mean and the deviation of their difference.
    """
    image = prepared.image[(slice(None), *map(slice, prepared.geometry.worked))]
    figures: list[float] = []
    for channel in image:
        figures += [channel.mean(), channel.std(), *_percentiles(channel)]
        for axis, size in enumerate(channel.shape):
            figures.append(np.abs(np.diff(channel, axis=axis)).mean() if size > 1 else 0.0)
    for one, other in pairwise(image):
        figures += [(one - other).mean(), (one - other).std()]
    return np.array(figures, np.float32)


def _percentiles(channel: Array) -> Figures:
    """`PERCENTILES` as by numpy's `percentile`, which looks for one after the other where sorting is several times as
    fast.
    """
    values = np.sort(channel, axis=None).astype(np.float64)
    places = np.array(PERCENTILES) / 100 * (len(values) - 1)
    below = places.astype(int)
    above = np.minimum(below + 1, len(values) - 1)
    between: Figures = values[below] + (places - below) * (values[above] - values[below])
    return between


@dataclass(frozen=True)
class Cloud:
    """Where the training images lie, by one kind of figures.

    mean, scale: `(figure,)`; figures are standardised by them. directions: `(direction, figure)`, in which the images
    spread; spread: `(direction,)`, the variance along each; rest: the variance along every other direction.
    """

    mean: StoredFigures
    scale: StoredFigures
    directions: StoredFigures
    spread: StoredFigures
    rest: AboveZero

    def __post_init__(self) -> None:
        """Raises ValueError where sizes do not agree, or a scale or variance is not above 0."""
        figures, directions = len(self.mean), len(self.spread)
        shapes = [self.mean.shape, self.scale.shape, self.directions.shape, self.spread.shape]
        expected = [(figures,), (figures,), (directions, figures), (directions,)]
        if shapes != expected and not (directions == 0 and self.directions.size == 0):
            raise ValueError(f"feature statistics of sizes {shapes}; expected {expected}")
        if not ((self.scale > 0).all() and (self.spread > 0).all()):
            raise ValueError("scale and spread must be above 0")

    @classmethod
    def around(cls, figures: Figures) -> Cloud:
        """The cloud that `(image, figure)` make."""
        mean, scale = figures.mean(0), figures.std(0)
        scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, 1 + np.abs(mean))
        standard = (figures - mean) / scale
        shrinkage, variance = _shrinkage(standard)
        _, lengths, directions = np.linalg.svd(standard, full_matrices=False)
        is_spread = lengths > 1e-6 * lengths.max(initial=1e-6)
        rest = max(shrinkage * variance, 1e-6)
        spread = (1 - shrinkage) * lengths[is_spread] ** 2 / len(figures) + rest
        return cls(mean, scale, directions[is_spread], spread, rest)

    def distance(self, figures: Figures) -> Figures:
        """Of each row of `(image, figure)`, the logarithm of its distance of Mahalanobis, `(image,)`."""
        standard: Figures = (figures - self.mean) / self.scale
        along = standard @ self.directions.reshape(-1, len(self.mean)).T
        across = (standard**2).sum(1) - (along**2).sum(1)
        squared: Figures = (along**2 / self.spread).sum(1) + np.maximum(across, 0) / self.rest
        distance: Figures = 0.5 * np.log(squared / figures.shape[1] + 1e-12)
        return distance

    def to_json(self) -> dict[str, Any]:
        """Numbers and lists."""
        return {name: _rounded(getattr(self, name)) for name in ("mean", "scale", "directions", "spread", "rest")}


@dataclass(frozen=True)
class Familiarity:
    """Clouds of the training images, and the distances from them that are usual.

    clouds: by intensities, then by the features of each level. usual: mean and deviation of the distances of images
    that were left out, by each cloud. highest: the OOD score up to which 95 % of them lie.
    """

    clouds: tuple[Cloud, ...]
    usual: tuple[tuple[Finite, AboveZero], ...]
    highest: Finite

    def __post_init__(self) -> None:
        """Raises ValueError where there is no cloud, or not one usual distance for each."""
        if not self.clouds or len(self.clouds) != len(self.usual):
            raise ValueError(f"{len(self.clouds)} feature levels and {len(self.usual)} reference distances")

    @classmethod
    def learn(cls, training: Sequence[Sequence[Array]], held_out: Sequence[Sequence[Array]]) -> Familiarity | None:
        """From the figures of images, `[image][kind]`; None where there are too few.

        What is usual is learned from the held-out images and, each left out in turn, from the training images.
        """
        if len(training) < LEAST_CASES:
            return None
        clouds, usual, standard = [], [], []
        for kind in range(len(training[0])):
            known = np.array([image[kind] for image in training], np.float64)
            unseen = np.array([image[kind] for image in held_out], np.float64).reshape(-1, known.shape[1])
            cloud = Cloud.around(known)
            distances = np.concatenate([_left_out(known), cloud.distance(unseen)])
            mean, deviation = float(distances.mean()), float(distances.std(ddof=1)) or 1.0
            clouds.append(cloud)
            usual.append((mean, deviation))
            standard.append((distances - mean) / deviation)
        scores = np.mean(standard, axis=0)
        return cls(tuple(clouds), tuple(usual), float(scores.mean() + ACCEPTED * scores.std(ddof=1)))

    def ood_score(self, figures: Sequence[Array]) -> float:
        """Of one image, from its figures of each kind; what is above `highest` is unusual."""
        scores = [
            (float(cloud.distance(np.asarray(own, np.float64)[None])[0]) - mean) / deviation
            for cloud, own, (mean, deviation) in zip(self.clouds, figures, self.usual, strict=True)
        ]
        return float(np.mean(scores))

    def to_json(self) -> dict[str, Any]:
        """Numbers and lists."""
        clouds = [cloud.to_json() for cloud in self.clouds]
        return {"clouds": clouds, "usual": [list(pair) for pair in self.usual], "highest": self.highest}


def _left_out(figures: Figures) -> Figures:
    """The distance of each image from the cloud of the others."""
    numbers = range(len(figures))
    return np.array([Cloud.around(np.delete(figures, one, 0)).distance(figures[[one]])[0] for one in numbers])


def _shrinkage(standard: Figures) -> tuple[float, float]:
    """How far to shrink the covariance of centred `(image, figure)` towards a multiple of the identity, and which.

    Source: Ledoit and Wolf, lemmas 3.2 to 3.4; norms are computed from the images' products, for figures are many.
    """
    count, figures = standard.shape
    products = standard @ standard.T
    variance = float(np.trace(products)) / (count * figures)
    covariance_norm = float((products**2).sum()) / count**2
    apart = covariance_norm - figures * variance**2
    error = (float((np.diag(products) ** 2).sum()) / count - covariance_norm) / count
    return (min(1.0, max(0.0, error / apart)) if apart > 0 else 1.0), variance


def _rounded(values: Figures | float) -> Any:
    """As lists, with as many digits as matter."""
    flat = [float(f"{value:.{DIGITS}g}") for value in np.ravel(values)]
    return np.array(flat).reshape(np.shape(values)).tolist()
