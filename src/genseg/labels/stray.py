"""Telling the values that masks are drawn with from those that a lossy format or a resizing left at the edges.

Measured on masks of five public datasets (lesions, wounds, polyps, tumours, lungs and heart in up to four grey
levels) saved as JPEG of quality 50, 75 and 95, or halved with linear interpolation: every class value held at least
16 % of the foreground voxels, every edge value that is more than 16 grey levels from a class value at most 3.3 %.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from genseg.labels.label_map import MaskValue, brightest

MOST_VALUES = 32
"""More distinct values than this are no label set, unless they are declared or are the numbers up to this one."""

_NEAR = 8
_APART = 16
_SHARE = 0.05
_LEAST_SOLID = 4
_LOSSLESS = 0.5
Shapes = Mapping[Any, tuple[int, int]]
"""Value -> its voxels with neighbours of the same value alone, and with neighbours near it alone (`solid_voxels`)."""


def has_stray_values(total: Mapping[Any, int], declared: Collection[Any], masks: Sequence[Shapes] = ()) -> bool:
    """Whether the values of a dataset look blurred. total: value -> voxels over all masks; masks: shapes in each.

    Declared values are never stray, and numbers up to 32 are taken as class indices. Beyond that, values are blurred
    when there are more than 32 of them, or when one lies within 8 grey levels of another (of a declared one too, if
    these are grey levels themselves and not consecutive numbers); but not where most of them are solid.
    """
    unexpected = [value for value in total if value not in declared]
    if max(map(brightest, unexpected), default=0) <= MOST_VALUES:
        return False
    if is_lossless(total, masks):
        return False
    if len(unexpected) > MOST_VALUES:
        return True
    others = total if are_apart(declared) else unexpected
    return any(0 < distance(value, other) <= _NEAR for value in unexpected for other in others)


def dominant_values(total: Mapping[Any, int], limit: int | None) -> list[Any]:
    """The values that blurred masks were drawn with, most frequent first.

    Taken in the order of their voxels, each more than 16 grey levels from those before it: the `limit` first or, where
    the number of classes is not known, those that hold at least 5 % of the voxels outside the most frequent value (at
    most 32).
    """
    ranked = sorted(total, key=lambda value: (-total[value], value))
    least = _SHARE * sum(total[value] for value in ranked[1:]) if limit is None else 0
    most = MOST_VALUES if limit is None else limit
    chosen: list[Any] = []
    for value in ranked:
        if len(chosen) == most or (chosen and total[value] < least):
            break
        if all(distance(value, other) > _APART for other in chosen):
            chosen.append(value)
    return chosen


def erased_values(counts: Mapping[Any, int], shapes: Shapes, kept: Collection[Any]) -> list[Any]:
    """The values of one mask that are no blurred edges, and that repair to the values in `kept` would erase.

    Those far from all that is kept and solid: of the masks named at the head of this file, saved as JPEG of quality 30
    to 95 or resized by a half, 2 and 4, no edge value had more than 2 voxels without an edge beside them. And those
    near to what is kept, where the mask looks as if it had never been blurred.
    """
    lossless = is_lossless(counts, [shapes])
    others = [value for value in counts if value not in kept]
    far = [value for value in others if all(distance(value, other) > _APART for other in kept)]
    around = dict(zip(far, _plain_around(far, shapes), strict=True))
    return [
        value
        for value in others
        if around.get(value, 0) >= _LEAST_SOLID or (lossless and shapes.get(value, (0, 0))[0] >= _LEAST_SOLID)
    ]


def _plain_around(values: Sequence[Any], shapes: Shapes) -> list[int]:
    """Of each value of a mask, the voxels of values near it whose neighbours are near them; above `_LEAST_SOLID`, it.

    Near values are found by a tree: a photograph in a mask's place has tens of thousands of colours.
    """
    plain = {value: voxels for value, (_, voxels) in shapes.items() if voxels}
    if not values or not plain:
        return [0] * len(values)
    from scipy.spatial import KDTree

    known, places = list(plain), np.array(values).reshape(len(values), -1)
    tree = KDTree(np.array(known).reshape(len(known), -1))
    counts = tree.query_ball_point(places, _NEAR, math.inf, return_length=True)
    # Each of these values has a voxel or more: only where they are few is there anything to add up.
    return [
        _LEAST_SOLID
        if count >= _LEAST_SOLID
        else sum(plain[known[one]] for one in tree.query_ball_point(place, _NEAR, math.inf))
        for place, count in zip(places, counts, strict=True)
    ]


def is_lossless(values: Collection[Any], masks: Sequence[Shapes]) -> bool:
    """Whether most of the values have voxels with no other value beside them, in some mask, as no blurred ones have."""
    drawn = {value for value in values if brightest(value) != 0}
    solid = {value for shapes in masks for value, (same, _) in shapes.items() if same >= _LEAST_SOLID}
    return bool(drawn & solid) and len(drawn & solid) >= _LOSSLESS * len(drawn)


def are_apart(values: Collection[Any]) -> bool:
    """Whether all values differ by more than 16 grey levels, so that what lies between them can be told."""
    return all(distance(a, b) > _APART for a, b in itertools.combinations(values, 2))


def nearest(value: MaskValue, known: Collection[Any]) -> Any:
    """The known value nearest to `value`, the lower of two."""
    return min(known, key=lambda other: (distance(value, other), other))


def distance(value: MaskValue, other: MaskValue) -> int:
    """Grey levels between two values; for colours the largest over the channels."""
    if isinstance(value, int) or isinstance(other, int):
        return abs(value - other) if isinstance(value, int) and isinstance(other, int) else 256
    return max(abs(a - b) for a, b in zip(value, other, strict=True))
