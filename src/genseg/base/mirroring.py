"""The ways in which an image can be mirrored."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations


def ways_to_mirror(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Every choice of axes to flip, the empty one first."""
    return [way for count in range(len(axes) + 1) for way in combinations(axes, count)]
