"""What the voxels of each value of a mask look like: evidence for what the value means.

A class, an object's number, a pixel to ignore and the blurred edge of a lossy format are all numbers. They differ in
shape: classes are solid, edges are not; an object is in one piece; a line encloses what it outlines.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from genseg.labels.label_map import MaskValue, brightest, codes_of, pack
from genseg.labels.outlines import Outline, outline_of
from genseg.read.case import Scan

NEAR = 8
"""Grey levels by which a lossy format blurs a flat region."""

_MOST_VOXELS = 4_000_000
_MOST_BOXES = 20
_MOST_OUTLINED = 8
_SUSPICIOUS = 32


@dataclass(frozen=True)
class Region:
    """All voxels of one value of one mask.

    solid: how many have neighbours (corners too) of the same value alone. plain: how many have neighbours within `NEAR`
        grey levels alone. Both None where every value of the mask is a small number, so that none can be blurred.
    largest: share of them in the largest connected piece; centre: of mass, 0..1 along each axis; brightness: mean of
        the image there, in standard deviations from the mean of the whole. None where the mask has few values.
    outline: whether it is a thin closed line, and around what.
    """

    voxels: int
    solid: int | None = None
    plain: int | None = None
    largest: float | None = None
    centre: tuple[float, ...] | None = None
    brightness: float | None = None
    outline: Outline = "none"


Regions = Mapping[MaskValue, Region]


def shapes_of(regions: Regions) -> dict[MaskValue, tuple[int, int]]:
    """Solid and plain voxels of each value; of a mask of small numbers none."""
    return {
        value: (region.solid, region.plain)
        for value, region in regions.items()
        if region.solid is not None and region.plain is not None
    }


def measure_regions(mask: Scan, image: Scan, counts: Mapping[MaskValue, int]) -> dict[MaskValue, Region]:
    """The region of each value of a mask but 0 (black). counts: its values and their voxels (`count_labels`)."""
    values = [value for value in counts if brightest(value) != 0]
    if not values:
        return {}
    suspicious = max(map(brightest, values)) > _SUSPICIOUS
    solid, plain = solid_voxels(mask) if suspicious else ({}, {})
    codes = codes_of(mask.pixels)
    pieces = _pieces(codes, image, [_code(value) for value in values]) if len(values) > 1 else {}
    outlines = _outlines(codes, sorted(values, key=counts.__getitem__)[-_MOST_OUTLINED:])
    found = {}
    for value in values:
        code = _code(value)
        largest, centre, brightness = pieces.get(code, (None, None, None))
        same, near = (solid.get(code, 0), plain.get(code, 0)) if suspicious else (None, None)
        outline = outlines.get(code, "none")
        found[value] = Region(counts[value], same, near, largest, centre, brightness, outline)
    return found


def solid_voxels(mask: Scan) -> tuple[dict[int, int], dict[int, int]]:
    """Code of each value -> voxels whose neighbours all hold it, and those whose neighbours are all near it.

    Neighbours: the 8 of a pixel, the 26 of a voxel. See `Region`.
    """
    size = (1, *(3,) * len(mask.spatial))
    highest = ndimage.maximum_filter(mask.pixels, size, mode="nearest").astype(np.int64)
    lowest = ndimage.minimum_filter(mask.pixels, size, mode="nearest").astype(np.int64)
    codes, pixels = codes_of(mask.pixels), mask.pixels.astype(np.int64)
    same = (highest == lowest).all(axis=0)
    near = (np.maximum(highest - pixels, pixels - lowest) <= NEAR).all(axis=0)
    return _counted(codes[same]), _counted(codes[near])


def _counted(codes: NDArray[np.integer[Any]]) -> dict[int, int]:
    values, counts = np.unique(codes, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts, strict=True)}


def _code(value: MaskValue) -> int:
    return value if isinstance(value, int) else pack(value)


def _pieces(
    codes: NDArray[np.integer[Any]], image: Scan, wanted: Sequence[int]
) -> dict[int, tuple[float, tuple[float, ...], float]]:
    """Code -> share of the largest piece, centre and brightness of its voxels; of very large masks every n-th voxel.

    Nothing where the regions lie all over each other, as the grey levels of a blurred mask do.
    """
    step = max(1, math.ceil((codes.size / _MOST_VOXELS) ** (1 / codes.ndim)))
    every = (slice(None, None, step),) * codes.ndim
    thinned, known = codes[every], np.array(sorted(wanted))
    places = np.minimum(np.searchsorted(known, thinned), len(known) - 1)
    numbers = np.where(known[places] == thinned, places + 1, 0).astype(np.int32)
    boxes = ndimage.find_objects(numbers, len(known))
    if sum(_size(box) for box in boxes if box) > _MOST_BOXES * numbers.size:
        return {}
    shades = _standardised(image.pixels[(slice(None), *every)])
    return {
        int(code): _piece(numbers[box] == number, shades[box], box, numbers.shape)
        for number, (code, box) in enumerate(zip(known, boxes, strict=True), 1)
        if box is not None
    }


def _piece(
    region: NDArray[np.bool_], shades: NDArray[np.float32], box: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[float, tuple[float, ...], float]:
    numbered, _ = ndimage.label(region, np.ones((3,) * region.ndim))
    sizes = np.bincount(numbered.ravel())[1:]
    means = [float(places.mean()) for places in np.nonzero(region)]
    centre = tuple((part.start + mean) / side for part, mean, side in zip(box, means, shape, strict=True))
    return float(sizes.max() / sizes.sum()), centre, float(shades[region].mean())


def _standardised(pixels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Mean over the channels, minus its mean, over its standard deviation."""
    shades: NDArray[np.float32] = pixels.astype(np.float32).mean(axis=0)
    shades -= shades.mean()
    spread = float(shades.std())
    return shades if spread == 0 else np.asarray(shades / spread, dtype=np.float32)


def _size(box: tuple[slice, ...]) -> int:
    return math.prod(part.stop - part.start for part in box)


def _outlines(codes: NDArray[np.integer[Any]], values: Sequence[MaskValue]) -> dict[int, Outline]:
    background = codes == 0
    return {_code(value): outline_of(codes == _code(value), background) for value in values}
