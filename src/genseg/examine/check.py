"""Examine a dataset before anything is trained on it: every fault at once, figures, and a sheet of pictures.

Every case is read once, by the same code that training reads with. What stops is raised together in one `DataError`;
what does not is returned with the examination as warnings.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path, printable
from genseg.base.free_memory import memory_budget
from genseg.drawing.overlays import overlay, tile, with_heading
from genseg.errors import DataError, Fault, FaultCode, SettingsError, did_you_mean, listed
from genseg.examine.cases import DEFAULT_OPTIONS, CaseStore, LoadOptions, class_indices
from genseg.examine.channel_faults import channel_faults
from genseg.examine.consistency import (
    class_faults,
    common_channels,
    doubtful_masks,
    mixed_dimensions,
    nearly_same_images,
    other_palettes,
    same_images,
    spacing_faults,
)
from genseg.examine.duplicates import group_cases, near_duplicates
from genseg.examine.labelling import fit_labels
from genseg.examine.one_pass import read_all
from genseg.examine.statistics import Statistics, summarise
from genseg.index import Index
from genseg.labels import LabelMap
from genseg.read import read_mask
from genseg.read.case import CaseFiles
from genseg.write.masks import write_mask

SHEET_CASES = 120
"""Most cases on a contact sheet; of larger sets an even sample is shown."""


@dataclass(frozen=True)
class Examination:
    """A dataset that can be trained on.

    cases: the cases read, with masks mapped to classes and grey images repeated to RGB if the dataset has both. faults:
    warnings; anything worse was raised. duplicates: pairs of names of nearly identical images. groups: case name ->
    group of cases (same patient or nearly identical image) that must stay together in a split.
    """

    index: Index
    options: LoadOptions
    cases: CaseStore
    labels: LabelMap
    faults: tuple[Fault, ...]
    statistics: Statistics
    duplicates: tuple[tuple[str, str], ...]
    groups: Mapping[str, str]


def examine(
    index: Index,
    options: LoadOptions = DEFAULT_OPTIONS,
    *,
    names: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    budget: int | None = None,
) -> Examination:
    """Read every case once and judge the dataset.

    names: the cases to read; None reads all. Others are not opened.
    progress: called with the number of cases read and the number to read.
    budget: bytes of pixels to keep in memory; `memory_budget()` if None.

    Raises DataError with all faults that stop: those of single files, and those of the set (no foreground, a class
    that is never drawn, pictures mixed with volumes, one image with two different masks ...).
    """
    entries = _chosen(index, names)
    budget = memory_budget() if budget is None else budget
    options = options.suited_to(index)
    readings, faults = read_all(entries, options, budget, progress)
    complete = len(readings) == len(entries)
    channels, mixed_channels = common_channels(index.root, readings, index.channel_names)
    readings, labels, label_faults = fit_labels(index, readings, options)
    pairs = near_duplicates({reading.files.name: reading.thumbnail for reading in readings})
    faults = [*index.warnings, *faults, *mixed_dimensions(readings), *mixed_channels, *label_faults]
    faults += spacing_faults(index.root, readings)
    faults += [*same_images(readings, options), *nearly_same_images(index.root, readings, pairs)]
    if labels is not None and complete:
        faults += class_faults(index.root, readings, labels)
        faults += doubtful_masks(index.root, readings, labels)
    faults += other_palettes(readings, declared=index.class_names is not None)
    stops = [fault for fault in faults if fault.stops]
    if stops or labels is None:
        raise DataError(stops)
    measures = [reading.measures for reading in readings]
    statistics = summarise(measures, labels, index.modality, index.channel_names, channels)
    store = CaseStore(entries, labels, channels, options, budget)
    for reading in readings:
        if reading.raw is not None:
            store.keep(reading.raw)
    groups = group_cases(entries, pairs)
    faults += channel_faults(index, readings, statistics)
    return Examination(index, options, store, labels, tuple(faults), statistics, tuple(pairs), groups)


def contact_sheet(examination: Examination, path: Path, columns: int = 12, size: int = 160) -> None:
    """Write a PNG of the cases with their masks drawn over them, so that a person sees wrong pairs at a glance.

    Of more than `SHEET_CASES` cases an even sample is shown, and the heading says so. The file appears complete or not
    at all.
    """
    cases = examination.cases
    places = sheet_places(len(cases))
    shown = (cases[place] for place in places)
    pictures = [overlay(case.image, case.mask, size, case.spacing) for case in shown]
    count = (
        f"{len(cases)} cases" if len(places) == len(cases) else f"an even sample of {len(places)} of {len(cases)} cases"
    )
    sheet = tile(pictures, [cases.names[place] for place in places], columns)
    page = with_heading(sheet, f"{examination.index.root.resolve().name}: {count}", examination.labels.names[1:])
    with atomic_path(path) as unfinished:
        page.save(unfinished, format="PNG", compress_level=1)


def write_repaired_masks(examination: Examination, folder: Path) -> list[Path]:
    """Write the mask of every labelled case as training reads it, each stray value replaced by the nearest known one.

    The copies lie in `folder`, which is made where it does not exist, as the originals lie in theirs, so that it can
    take the place of the folder of masks. Colour masks become palette pictures. Returns the paths written.

    Raises SettingsError where a copy would come to lie beside its original, OSError where the folder cannot be written.
    """
    paths = [files.mask for files in examination.cases.entries if files.mask is not None]
    common = Path(os.path.commonpath([path.parent for path in paths]))
    targets = {path: folder / path.parent.relative_to(common) for path in paths}
    if any(target.exists() and target.samefile(path.parent) for path, target in targets.items()):
        raise SettingsError(f"{printable(folder)}: holds the original masks; choose another folder for the copies")
    values, palette = _stored_form(examination.labels)
    written = []
    for path in paths:
        # Read anew: a case's own mask may have been turned onto its image.
        stored = read_mask(path, examination.options.read)
        mask = class_indices(stored, examination.labels, examination.options.mask_repair, printable(path))
        targets[path].mkdir(parents=True, exist_ok=True)
        written.append(write_mask(values[mask], path, targets[path], palette))
    return written


def _stored_form(labels: LabelMap) -> tuple[NDArray[np.uint8], list[tuple[int, int, int]] | None]:
    """What to write for each class: the value it had or, where that was a colour or above 255, its index."""
    values = {index: value for value, index in labels.values.items() if 0 <= value <= 255}
    if len(values) == len(labels.names):
        return np.array([values[index] for index in sorted(values)], dtype=np.uint8), None
    palette = [colour for colour, _ in sorted(labels.colours.items(), key=lambda item: item[1])]
    return np.arange(len(labels.names), dtype=np.uint8), palette or None


def sheet_places(count: int) -> list[int]:
    """Which of `count` cases a contact sheet shows: up to `SHEET_CASES` all, else an even sample with both ends."""
    return [int(place) for place in np.linspace(0, max(count - 1, 0), min(count, SHEET_CASES)).round()]


def _chosen(index: Index, names: Collection[str] | None) -> tuple[CaseFiles, ...]:
    if names is None:
        return index.entries
    wanted = set(names)
    known = [files.name for files in index.entries]
    missing = sorted(wanted.difference(known))
    if missing:
        found = f"no case named {printable(listed(missing))}{did_you_mean(missing[0], known)}"
        cure = "Use the case names from the table of pairs."
        raise DataError([Fault(FaultCode.LAYOUT_BROKEN, printable(index.root), found, "cases of the dataset", cure)])
    return tuple(files for files in index.entries if files.name in wanted)
