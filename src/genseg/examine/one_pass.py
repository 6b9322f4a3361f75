"""One pass over the files of a dataset: each case read and measured, its pixels kept while there is memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from genseg.errors import DataError, Fault
from genseg.examine.cases import LoadOptions, RawCase, read_raw_case
from genseg.examine.duplicates import Thumbnail, thumbnail
from genseg.examine.statistics import Measures, measure, samples_of_each
from genseg.labels import Colour, Regions, measure_regions
from genseg.read.case import CaseFiles
from genseg.read.guard import one_image

_MOST_WORKERS = 4


@dataclass(frozen=True)
class Reading:
    """What is kept of one case that could be read.

    raw: the pixels, or None where the memory for them was used up. thumbnail: what near-duplicates are found by.
    regions: what each value of the mask looks like; segments, palette: what the mask's file says of its values, see
        `Scan`. Empty for an unlabelled case.
    """

    files: CaseFiles
    raw: RawCase | None
    measures: Measures
    image_hash: str
    thumbnail: Thumbnail
    regions: Regions = field(default_factory=dict)
    segments: Mapping[int, str] = field(default_factory=dict)
    palette: Mapping[int, Colour] = field(default_factory=dict)

    def mask(self, options: LoadOptions) -> NDArray[np.generic] | None:
        """Values of the mask as stored, read again where they were not kept; None for an unlabelled case."""
        if self.files.mask is None:
            return None
        raw = read_raw_case(self.files, options) if self.raw is None else self.raw
        return None if raw.mask is None else raw.mask.pixels


def read_all(
    entries: Sequence[CaseFiles], options: LoadOptions, budget: int, progress: Callable[[int, int], None] | None = None
) -> tuple[list[Reading], list[Fault]]:
    """Read the cases in their order. Returns those that can be read, and the faults and warnings of all.

    budget: bytes of pixels to keep. progress: called with the number of cases done and the number in all.
    """
    readings: list[Reading] = []
    faults: list[Fault] = []
    for done, (reading, found) in enumerate(_in_threads(entries, options), start=1):
        faults += found
        if reading is not None and reading.raw is not None:
            budget -= reading.raw.nbytes
            readings.append(reading if budget >= 0 else replace(reading, raw=None))
        if progress is not None:
            progress(done, len(entries))
    return readings, faults


def _in_threads(
    entries: Sequence[CaseFiles], options: LoadOptions
) -> Iterator[tuple[Reading | None, tuple[Fault, ...]]]:
    """Read a few cases at a time, for decoding runs outside of Python's lock; results come in order."""
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    samples = samples_of_each(len(entries))
    with ThreadPoolExecutor(workers) as pool:
        # In batches: given all cases at once, the pool would read ahead and hold a set larger than the memory.
        for start in range(0, len(entries), 2 * workers):
            yield from pool.map(lambda files: _read(files, options, samples), entries[start : start + 2 * workers])


def _read(files: CaseFiles, options: LoadOptions, samples: int) -> tuple[Reading | None, tuple[Fault, ...]]:
    try:
        with one_image(files.images[0]):
            raw = read_raw_case(files, options)
            return _measured(raw, samples), raw.warnings
    except DataError as error:
        return None, error.faults


def _measured(raw: RawCase, samples: int) -> Reading:
    measures, mask = measure(raw, samples), raw.mask
    reading = Reading(raw.files, raw, measures, raw.image.sha256, thumbnail(raw.image.pixels))
    if mask is None or measures.counts is None:
        return reading
    regions = measure_regions(mask, raw.image, measures.counts)
    palette = {value: colour for value, colour in mask.palette.items() if value in measures.counts}
    return replace(reading, regions=regions, segments=mask.segments, palette=palette)
