"""Telling masks that number objects (cell 1, cell 2 ...) from masks of classes.

A class is alike from mask to mask: it lies at a similar place, has a similar size, or is similarly bright. An object's
number says nothing of the object, save where objects were numbered in the order of their places or sizes. And an object
is in one piece.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from genseg.labels.label_map import MaskValue
from genseg.labels.regions import Region, Regions

_LEAST_VOXELS = 6
_WHOLE = 0.95
_LEAST_WHOLE = 0.9
_TIDY = 0.8
_ORDERED = 0.8
_SEPARATE = 0.5
_EXPLAINED = 0.25
_SIGNIFICANCE = 1e-3
_LEAST_FREEDOM = 8
_LEAST_MASKS = 3
_LEAST_OBJECTS = 4
_ALIKE = 1.0
_MANY = 8
Column = NDArray[np.float64]


def look_like_instances(files: Mapping[str, Regions]) -> bool:
    """Whether the values of masks look like the numbers of objects. files: mask -> its regions, 0 left out.

    Two values in each mask, or three in all of them, are taken for classes wherever they lie.
    """
    drawn = {file: found for file, found in files.items() if found}
    counts = [len(found) for found in drawn.values()]
    objects = [(file, value, region) for file, found in drawn.items() for value, region in found.items()]
    known = [(file, value, region) for file, value, region in objects if region.largest is not None]
    if max(counts, default=0) < _LEAST_OBJECTS - 1 or not known:
        return False
    if np.median([region.voxels for _, _, region in known]) < _LEAST_VOXELS:  # the colours of a photograph
        return False
    if np.mean([(region.largest or 0) >= _WHOLE for _, _, region in known]) < _LEAST_WHOLE:
        return False
    if _are_used_once([value for _, value, _ in objects], counts):
        return True
    if _recur(known) or not (_are_tidy(list(drawn.values())) or max(counts) >= _MANY):
        return False
    freedom = len(known) - len({value for _, value, _ in known})
    if len(drawn) >= _LEAST_MASKS and freedom >= _LEAST_FREEDOM:
        return max(counts) >= _LEAST_OBJECTS or len(set(counts)) > 1
    return max(counts) >= _MANY and _are_of_like_size(drawn)


def _are_used_once(values: Sequence[MaskValue], counts: Sequence[int]) -> bool:
    """Whether most values are in one mask alone, as numbers are that go on from mask to mask."""
    of = Counter(values)
    once = sum(count == 1 for count in of.values())
    return len(counts) > 1 and len(values) >= _MANY and float(np.median(counts)) >= 3 and once > len(of) / 2


def _are_tidy(found: Sequence[Regions]) -> bool:
    """Whether nearly every mask has its numbers without a gap or, of colours, begins with the same ones as the rest."""
    frequency = Counter(value for values in found for value in values)
    ranked = sorted(frequency, key=lambda value: -frequency[value])
    tidy = 0
    for values in found:
        numbers = [value for value in values if isinstance(value, int)]
        if numbers:
            tidy += max(numbers) - min(numbers) + 1 == len(numbers)
        else:
            tidy += values.keys() == set(ranked[: len(values)])
    return tidy >= _TIDY * len(found)


def _recur(objects: Sequence[tuple[str, MaskValue, Region]]) -> bool:
    """Whether a value tells where its region lies, how large it is or how bright."""
    usual = Counter(value for _, value, _ in objects)
    repeated = [(file, value, region) for file, value, region in objects if usual[value] > 1]
    files = np.array([file for file, _, _ in repeated])
    ranks = {value: rank for rank, value in enumerate(sorted(usual, key=str if _has_colours(usual) else None))}
    values = np.array([ranks[value] for _, value, _ in repeated])
    if len(set(values)) < 2:
        return False
    columns = [*_columns([region for _, _, region in repeated])]
    columns += [_within_files(column, files) for column in columns]
    return any(_tells(column, values, files) for column in columns)


def _has_colours(values: Mapping[MaskValue, int]) -> bool:
    return any(isinstance(value, tuple) for value in values)


def _columns(regions: Sequence[Region]) -> list[Column]:
    """One column a property: place along each axis, size (logarithm), brightness."""
    centres = np.array([region.centre for region in regions], dtype=np.float64)
    sizes = np.log([region.voxels for region in regions])
    brightness = np.array([region.brightness for region in regions], dtype=np.float64)
    return [*centres.T, sizes, brightness]


def _within_files(column: Column, files: NDArray[np.str_]) -> Column:
    """A property with its mean over each mask taken away."""
    _, places = np.unique(files, return_inverse=True)
    means: Column = np.bincount(places, column) / np.bincount(places)
    return column - means[places]


def _tells(column: Column, values: NDArray[np.int64], files: NDArray[np.str_]) -> bool:
    """Whether a property depends on the value more than an order of numbering explains."""
    groups = [column[values == value] for value in np.unique(values)]
    agreement = _agreement(column, values, files)
    if agreement >= _ORDERED or agreement <= 1 - _ORDERED:
        gaps = np.diff([group.mean() for group in groups])
        return float(np.mean([group.std() for group in groups])) < _SEPARATE * float(np.abs(gaps).mean())
    within = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    total = float(((column - column.mean()) ** 2).sum())
    freedom = len(column) - len(groups)
    if total == 0 or freedom < 1:
        return False
    if within == 0:
        return True
    ratio = (total - within) / (len(groups) - 1) / (within / freedom)
    explained = 1 - (within / freedom) / (total / (len(column) - 1))
    from scipy.special import fdtrc  # of scipy.stats, which takes long to import, only this is needed

    return explained >= _EXPLAINED and float(fdtrc(len(groups) - 1, freedom, ratio)) < _SIGNIFICANCE


def _agreement(column: Column, values: NDArray[np.int64], files: NDArray[np.str_]) -> float:
    """Share of the pairs of regions of one mask in which the higher value has the higher property."""
    places = defaultdict(list)
    for place, file in enumerate(files.tolist()):
        places[file].append(place)
    higher = pairs = 0
    for own in places.values():
        order = np.sign(np.subtract.outer(values[own], values[own]))
        higher += int(np.count_nonzero(order * np.subtract.outer(column[own], column[own]) > 0))
        pairs += int(np.count_nonzero(order))
    return higher / pairs if pairs else 0.5


def _are_of_like_size(files: Mapping[str, Regions]) -> bool:
    spreads = [np.std(np.log([region.voxels for region in found.values()])) for found in files.values()]
    return float(np.median(spreads)) <= _ALIKE
