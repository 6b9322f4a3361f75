"""One pass over the files of a data set: each case read and measured, its pixels kept while there is memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genseg.data.case import CaseFiles
from genseg.data.duplicates import Thumbnail, thumbnail
from genseg.data.load import LoadOptions, RawCase, read_raw_case
from genseg.data.readers import read_mask
from genseg.data.readers.source import memory_for
from genseg.data.statistics import Measures, measure, samples_of_each
from genseg.errors import DataError, Fault
from genseg.files import printable

_MOST_WORKERS = 4


@dataclass(frozen=True)
class Reading:
    """What is kept of one case that could be read.

    raw: the pixels, or None where the memory for them was used up. thumbnail: what near-duplicates are found by.
    """

    files: CaseFiles
    raw: RawCase | None
    measures: Measures
    image_hash: str
    thumbnail: Thumbnail

    def mask(self, options: LoadOptions) -> NDArray[np.generic] | None:
        """Values of the mask as stored, read again where they were not kept; None for an unlabelled case."""
        if self.files.mask is None:
            return None
        if self.raw is None or self.raw.mask is None:
            return read_mask(self.files.mask, options.read).pixels
        return self.raw.mask.pixels


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
        with memory_for(printable(files.images[0])):
            raw = read_raw_case(files, options)
            kept = measure(raw, samples), raw.image.sha256, thumbnail(raw.image.pixels)
    except DataError as error:
        return None, error.faults
    return Reading(files, raw, *kept), raw.warnings
