"""A large image through a network tile by tile, with memory for one row of tiles.

Neighbouring tiles overlap by half, and their logits are blended with Gaussian weights. Source: Isensee et al., nnU-Net,
Nature Methods 2021, online methods, "inference"; the weights are MONAI's (`compute_importance_map`), whose
`sliding_window_inference` holds the logits of the whole image at once and needs PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise, product

import numpy as np

from genseg.segmenters.network import Array, Network, Response

OVERLAP = 0.5
SIGMA = 0.125
"""Standard deviation of the weights as a share of the tile's side."""

LEAST_WEIGHT = 1e-3
"""Without a floor, logits at the image's corners would be divided by almost nothing."""


def in_tiles(network: Network, image: Array, size: Sequence[int], batch: int = 1) -> Iterator[Response]:
    """Blended logits of one image, as many rows (of the first spatial axis) at a time as are finished.

    image: `(1, channel, *spatial)`, no side shorter than the tile's `size`. batch: tiles that go through the network at
    once; it changes memory and time alone. Yields logits `(1, class, rows, *other)`, from the first row to the last,
    with the mean features of the tiles met since the last ones.
    """
    spatial = image.shape[2:]
    starts = [_starts(length, side) for length, side in zip(spatial, size, strict=True)]
    weights = _weights(size)
    total = counted = np.zeros(0, np.float32)
    for first, following in pairwise([*starts[0], spatial[0]]):
        corners = [(first, *others) for others in product(*starts[1:])]
        features: list[tuple[Array, ...]] = []
        for begin in range(0, len(corners), batch):
            some = corners[begin : begin + batch]
            said = network(np.stack([image[0][_box(at, size)] for at in some]))
            if not total.size:
                total = np.zeros((1, said.logits.shape[1], size[0], *spatial[1:]), np.float32)
                counted = np.zeros((size[0], *spatial[1:]), np.float32)
            for at, logits in zip(some, said.logits, strict=True):
                place = _box((0, *at[1:]), size)
                total[0][place] += weights * logits
                counted[place[1:]] += weights
            features.append(said.features)
        rows = following - first
        means = tuple(np.concatenate(level).mean(0, keepdims=True) for level in zip(*features, strict=True))
        yield Response(total[:, :, :rows] / counted[:rows], means)
        total, counted = _moved_up(total, rows, 2), _moved_up(counted, rows, 0)


def _starts(length: int, side: int) -> list[int]:
    """First pixels of the tiles along one axis; the last tile ends where the image does."""
    step = max(1, int(side * (1 - OVERLAP)))
    return [min(number * step, length - side) for number in range(math.ceil((length - side) / step) + 1)]


def _box(corner: Sequence[int], size: Sequence[int]) -> tuple[slice, ...]:
    """Where a tile lies in `(channel, *spatial)`."""
    return (slice(None), *(slice(start, start + side) for start, side in zip(corner, size, strict=True)))


def _weights(size: Sequence[int]) -> Array:
    """`(*size)`, about 1 in the middle."""
    ways = [np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / (SIGMA * side)) ** 2) for side in size]
    weights: Array = reduce(np.multiply.outer, ways).astype(np.float32)
    return np.maximum(weights, np.float32(LEAST_WEIGHT))


def _moved_up(array: Array, rows: int, axis: int) -> Array:
    """What is left when the first rows are finished, with as many empty rows after it."""
    left, empty = np.split(array, [rows], axis)[1], np.zeros_like(np.split(array, [rows], axis)[0])
    return np.concatenate([left, empty], axis)
