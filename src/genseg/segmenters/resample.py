"""Logits brought from the size that was worked at to the image's own, a few rows at a time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse

from genseg.segmenters.network import Array

VALUES_AT_ONCE = 2**24
"""Most values that are given at once, but for a single row: a picture of a slide has thousands of wide rows."""


def resampled(pieces: Iterable[Array], worked: Sequence[int], wanted: Sequence[int]) -> Iterator[Array]:
    """Linear interpolation on pixel centres, averaging where it shrinks.

    pieces: `(class, rows, *other)`, which together have the size `worked` or, where the image was padded at its ends,
    more. Yields `(class, rows, *other)` that together have the size `wanted`.
    """
    across, *along = (_weights(own, target) for own, target in zip(worked, wanted, strict=True))
    held, first, done = None, 0, 0
    for piece in pieces:
        cropped = piece[(slice(None), slice(None), *map(slice, worked[1:]))]
        held = cropped if held is None else np.concatenate([held, cropped], 1)
        ready = _rows_within(across, min(first + held.shape[1], worked[0]))
        step = max(1, VALUES_AT_ONCE // (len(piece) * math.prod(wanted[1:])))
        for start in range(done, ready, step):
            part = across[start : min(start + step, ready), first : first + held.shape[1]]
            rows = _apply(part, held[:, : part.shape[1]], 1)
            for axis, weights in enumerate(along, 2):
                rows = _apply(weights, rows, axis)
            yield np.ascontiguousarray(rows)  # the last axis was brought to the front, in which order all else is slow
        done = max(done, ready)
        needed = across.indices[across.indptr[done]] if done < wanted[0] else worked[0]
        held, first = held[:, max(0, needed - first) :], max(first, needed)


@lru_cache(maxsize=16)
def _weights(own: int, wanted: int) -> sparse.csr_array:
    """`(wanted, own)`: what each new pixel takes of each old one; a triangle as wide as the wider of the two pixels.

    Kept for the next image, for a camera's have one size: to be read alone.
    Source: the convolution-based resampling of Pillow, with its filter BILINEAR.
    """
    scale = max(1.0, own / wanted)
    centres = (np.arange(wanted) + 0.5) * own / wanted - 0.5
    reach = int(np.ceil(scale))
    columns = np.floor(centres)[:, None].astype(int) + np.arange(1 - reach, reach + 1)
    weights = np.maximum(0, 1 - np.abs(columns - centres[:, None]) / scale)
    weights[(columns < 0) | (columns >= own)] = 0
    rows, places = np.nonzero(weights)
    matrix = sparse.csr_array((weights[rows, places], (rows, columns[rows, places])), shape=(wanted, own))
    return sparse.csr_array(matrix.multiply(1 / matrix.sum(1)[:, None]), dtype=np.float32)


def _rows_within(weights: sparse.csr_array, have: int) -> int:
    """How many of the new rows need no more than the first `have` old ones."""
    last = weights.indices[weights.indptr[1:] - 1]
    return int(np.searchsorted(last, have))


def _apply(weights: sparse.csr_array, array: Array, axis: int) -> Array:
    if weights.shape[0] == weights.shape[1] == weights.nnz:
        return array
    moved = np.moveaxis(array, axis, 0)
    changed = (weights @ moved.reshape(len(moved), -1)).reshape(weights.shape[0], *moved.shape[1:])
    return np.moveaxis(changed, 0, axis)
