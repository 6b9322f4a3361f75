"""Masks of a dataset that a lossy format or a resizing has blurred: refused, or counted as they were drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from genseg.choices import MaskRepair
from genseg.errors import DataError, Fault, FaultCode
from genseg.labels.label_map import MaskValue, added, value_list
from genseg.labels.regions import Regions, shapes_of
from genseg.labels.repair import erasure
from genseg.labels.stray import MOST_VALUES, are_apart, dominant_values, erased_values, nearest

Counts = Mapping[str, Mapping[Any, int]]


def as_drawn(
    files: Counts,
    names: Sequence[str] | None,
    expected: Mapping[int, int],
    repair: MaskRepair,
    regions: Mapping[str, Regions],
) -> dict[str, dict[Any, int]]:
    """Voxels of the values that blurred masks were drawn with, each stray value counted as the nearest of them.

    expected: declared value -> class index; the other arguments as of `fit_label_map`.

    Raises DataError with one fault for each mask that repair would take a class from, and for each blurred one where
    repair is not asked for.
    """
    total = added(files.values())
    told = bool(expected) and are_apart(expected)
    kept = list(expected) if told else dominant_values(total, len(names) if names else None)
    faults = _coded_otherwise(files, kept, expected)
    faults += _erased(files, kept, regions, {fault.file for fault in faults})
    if repair == "stop":
        faults += _blurred(files, kept, {fault.file for fault in faults})
    if faults:
        raise DataError(sorted(faults, key=lambda fault: fault.file))
    return {file: _repaired(values, kept) for file, values in files.items()}


def background_of(values: Collection[Any], expected: Mapping[int, int]) -> MaskValue:
    """The value of the background: black, or what is declared, or 0."""
    if any(isinstance(value, tuple) for value in values):
        return (0, 0, 0)
    return next((value for value, index in expected.items() if index == 0), 0)


def _coded_otherwise(files: Counts, kept: Sequence[Any], expected: Mapping[int, int]) -> list[Fault]:
    """A fault for each mask whose whole foreground repair would turn to background."""
    lost: dict[str, list[Any]] = {}
    for file, values in files.items():
        background = background_of(values, expected)
        foreground = [value for value in values if value != background]
        if foreground and background in kept and all(nearest(value, kept) == background for value in foreground):
            lost[file] = foreground
    every = sorted({value for values in lost.values() for value in values})
    found = f"the values {value_list(every)}, which the values of the other masks would turn to background"
    cure = "Store these masks with the same values as the others."
    expected_text = f"only {value_list(sorted(kept))}"
    return [Fault(FaultCode.MASK_STRAY_VALUES, file, found, expected_text, cure) for file in lost]


def _erased(files: Counts, kept: Sequence[Any], regions: Mapping[str, Regions], known: Collection[str]) -> list[Fault]:
    """A fault for each mask with values that look like classes and are not kept. known: masks that have a fault."""
    lost = {
        file: {value: values[value] for value in erased_values(values, shapes_of(regions[file]), kept)}
        for file, values in files.items()
        if file in regions and file not in known
    }
    together = added(lost.values())
    return [erasure(file, together, kept) for file, values in lost.items() if values]


def _blurred(files: Counts, kept: Sequence[Any], known: Collection[str]) -> list[Fault]:
    """A fault for each mask with stray values, which says how many there are in all of them."""
    stray = {file: {value: n for value, n in values.items() if value not in kept} for file, values in files.items()}
    together = added(stray.values())
    what = "colours" if any(isinstance(value, tuple) for value in together) else "values"
    cures = "Export the masks again without loss, or declare the classes."
    if not known:
        nearest_cure = f"use --mask-repair nearest (keeps {value_list(sorted(kept))})"
        cures = f"Export the masks again without loss, {nearest_cure}, or declare the classes."
    found = f"{len(together)} stray {what} on {sum(together.values())} voxels ({value_list(sorted(together))})"
    expected = f"a few separate {what}, as PNG keeps them and JPEG or resizing does not"
    return [
        Fault(_code(values, kept), file, found, expected, cures)
        for file, values in stray.items()
        if values and file not in known
    ]


def _code(stray: Collection[Any], kept: Collection[Any]) -> FaultCode:
    colours = any(isinstance(value, tuple) for value in stray)
    many = colours and len(stray) + len(kept) > MOST_VALUES
    return FaultCode.MASK_TOO_MANY_COLOURS if many else FaultCode.MASK_STRAY_VALUES


def _repaired(values: Mapping[Any, int], kept: Sequence[Any]) -> dict[Any, int]:
    repaired: Counter[Any] = Counter()
    for value, count in values.items():
        repaired[nearest(value, kept)] += count
    return dict(repaired)
