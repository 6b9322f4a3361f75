"""From the masks of a dataset, as read, to what their values mean."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from genseg.base.files import printable
from genseg.errors import DataError, Fault
from genseg.examine.cases import LoadOptions
from genseg.examine.one_pass import Reading
from genseg.examine.statistics import Measures
from genseg.index import Index
from genseg.labels import LabelMap, MaskValue, by_class, fit_label_map, segment_classes


def fit_labels(
    index: Index, readings: Sequence[Reading], options: LoadOptions
) -> tuple[list[Reading], LabelMap | None, list[Fault]]:
    """The label map of the masks that could be read, or what keeps it from being made.

    Where masks are read by the names in their files, the readings come back with values counted as classes.
    """
    masked = [one for one in readings if one.measures.counts is not None]
    labelled = {printable(one.files.mask or one.files.name): one for one in masked}
    if index.entries and not readings:  # no file could be read: there is nothing to say of values
        return list(readings), None, []
    named = {file: (one.measures.counts or {}, one.segments) for file, one in labelled.items()}
    try:
        classes = segment_classes(named, index.class_names, index.label_values)
        if classes is not None:
            labels = LabelMap(classes, {number: number for number in range(len(classes))}, rule="names")
            return [_by_name(reading, classes) for reading in readings], labels, []
        counts = {file: one.measures.counts or {} for file, one in labelled.items()}
        regions = {file: one.regions for file, one in labelled.items()}
        labels = fit_label_map(
            counts, index.class_names, index.label_values, options.mask_repair, options.instances, regions
        )
    except DataError as error:
        return list(readings), None, list(error.faults)
    return list(readings), labels, []


def _by_name(reading: Reading, names: Sequence[str]) -> Reading:
    """A reading whose values are those of the classes that its file names."""
    table = by_class(reading.segments, names)
    measures = reading.measures
    if measures.counts is None:
        return reading
    counts: dict[MaskValue, int] = defaultdict(int)
    for value, count in measures.counts.items():
        if isinstance(value, int):
            counts[table[value]] += count
    return replace(reading, measures=replace(measures, counts=dict(counts), mask_samples=_joined(measures, table)))


def _joined(measures: Measures, table: Mapping[int, int]) -> dict[MaskValue, Any]:
    """The intensities under each class, of all values that have its name."""
    samples = defaultdict(list)
    for value, sample in measures.mask_samples.items():
        if isinstance(value, int):
            samples[table[value]].append(sample)
    return {index: np.concatenate(parts, axis=1) for index, parts in samples.items() if index > 0}
