"""Telling a line that was drawn around a structure from the structure itself.

A drawn line is thin, is closed (gaps of a few pixels aside), has no branches, and encloses much more than it covers.
Vessels branch and end; anatomical rings (the heart's wall, the rim of the optic nerve) are thick for their size; nets
of membranes share their lines.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Outline = Literal["none", "hollow", "rim"]
"""Of a region: no outline; one around background; one around other values of the mask."""

_LEAST_LINE = 16
_SHARES_OF_WIDTH = ((2.5, 0.2), (4.0, 0.08), (7.0, 0.06))
"""Thickness in pixels up to which a line may have that share of the width of what it encloses."""
_GAP = 2
_LEAST_CORE = 0.3
_MOST_INSIDE = 0.05
_LEAST_BESIDE = 0.9
_SLICES = 12


def outline_of(region: NDArray[np.bool_], background: NDArray[np.bool_]) -> Outline:
    """Whether a region `(*spatial)` is a thin closed line around the background or around other values.

    A volume is looked at slice by slice, on up to 12 slices along each axis: it is an outline where it is one on most
    slices along some axis.
    """
    if region.ndim == 2:
        return _in_plane(region, background)
    for axis in range(region.ndim):
        found = _along(axis, region, background)
        if found != "none":
            return found
    return "none"


def _along(axis: int, region: NDArray[np.bool_], background: NDArray[np.bool_]) -> Outline:
    others = tuple(other for other in range(region.ndim) if other != axis)
    filled = np.flatnonzero(np.count_nonzero(region, axis=others) >= _LEAST_LINE)
    chosen = filled[np.linspace(0, len(filled) - 1, min(len(filled), _SLICES)).round().astype(int)]
    kinds = [_in_plane(region.take(place, axis), background.take(place, axis)) for place in chosen]
    kind: Outline
    for kind in ("hollow", "rim"):
        if kinds.count(kind) > len(kinds) / 2:
            return kind
    return "none"


def _in_plane(region: NDArray[np.bool_], background: NDArray[np.bool_]) -> Outline:
    """The kind of a region `(row, column)`."""
    area = int(np.count_nonzero(region))
    if area < _LEAST_LINE or area > region.size / 2:
        return "none"
    line = _cut_out(region)
    edge = np.count_nonzero(line & ~ndimage.binary_erosion(line))
    thickness = 2 * area / edge
    if thickness > _SHARES_OF_WIDTH[-1][0]:
        return "none"
    filled = _filled(line)
    core = ndimage.binary_erosion(filled, np.ones((3, 3)), iterations=math.ceil(thickness))
    if not _is_drawn(line, filled, core, thickness):
        return "none"
    # Beyond the image's border, which the cut-out may reach over, nothing else can lie.
    empty = np.count_nonzero(core & _cut_out(background, like=region, fill=True)) / np.count_nonzero(core)
    return "hollow" if empty > 1 / 2 else "rim"


def _is_drawn(line: NDArray[np.bool_], filled: NDArray[np.bool_], core: NDArray[np.bool_], thickness: float) -> bool:
    """Whether a line lies around `core`, what it encloses; filled: both together."""
    if np.count_nonzero(core) < _LEAST_CORE * np.count_nonzero(filled):
        return False
    _, count = ndimage.label(core)
    width = 2 * math.sqrt(np.count_nonzero(filled) / count / math.pi)
    if thickness > width * next(share for limit, share in _SHARES_OF_WIDTH if thickness <= limit):
        return False
    beside = ndimage.binary_dilation(core, np.ones((3, 3)), iterations=math.ceil(thickness) + _GAP)
    covered = int(np.count_nonzero(line))
    inside = int(np.count_nonzero(line & core))
    return inside <= _MOST_INSIDE * covered and int(np.count_nonzero(line & beside)) >= _LEAST_BESIDE * covered


def _filled(line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A line with all that it encloses, once gaps of up to 4 pixels are closed."""
    closed = ndimage.binary_dilation(line, np.ones((3, 3)), iterations=_GAP)
    outside, _ = ndimage.label(~closed)
    solid = outside != outside[0, 0]  # the corner is outside: the cut-out has an empty frame
    filled: NDArray[np.bool_] = ndimage.binary_erosion(solid, np.ones((3, 3)), iterations=_GAP) | line
    return filled


def _cut_out(region: NDArray[np.bool_], like: NDArray[np.bool_] | None = None, fill: bool = False) -> NDArray[np.bool_]:
    """The part around `like` (the region itself where None), with a frame that is wide enough to close gaps in."""
    box: Any = ndimage.find_objects((region if like is None else like).astype(np.uint8))[0]
    framed: NDArray[np.bool_] = np.pad(region[box], 2 * _GAP + 1, constant_values=fill)
    return framed
