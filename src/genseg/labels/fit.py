"""Deciding what the values of a dataset's masks mean.

The rules, applied to the values of all masks together, for a mask by itself may lack any class:

1. Declared values win. Declared are the `labels` of a `dataset.json` or, where only class names are given, 0, 1, 2 ...
   in their order. Any other value stops, with one exception: 0 and 255 (65535 in 16 bits) for two classes.
2. Nothing declared: the values in ascending order are the classes, 0 the background. 0/255 becomes 0/1, 0/1/3 becomes
   0/1/2, 0/128/255 becomes 0/1/2. Without any 0, or with a negative value, nothing can be known: it stops.
3. Colours: black is the background, the others are classes in ascending order of red, green, blue. Names that are
   declared for more than one foreground class stop, for nobody said which colour is which.
4. Values that look blurred (`stray`) stop, unless repair is asked for: then the values that the masks were drawn with
   are found first and rules 1 to 3 applied to these. A mask of which repair would erase the whole foreground (0/1 among
   0/255), or anything else that looks like a class, stops always.
5. Values that number objects (`instances`) stop, unless they are to be merged into one class. So do values declared to
   be ignored, and those that may be meant so (`ignored`): 255 above 0, 1, 2.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from genseg.choices import Instances, MaskRepair
from genseg.config import MOST_CLASSES
from genseg.errors import DataError, Fault, FaultCode
from genseg.labels.blurred import as_drawn, background_of
from genseg.labels.ignored import WHITE, stop_unexplained, without_ignored
from genseg.labels.instances import look_like_instances
from genseg.labels.label_map import LabelMap, MaskValue, added, unexpected_label, value_list, value_text
from genseg.labels.regions import Regions, shapes_of
from genseg.labels.stray import has_stray_values

Counts = dict[str, dict[Any, int]]


def fit_label_map(
    counts: Mapping[str, Mapping[MaskValue, int]],
    names: Sequence[str] | None,
    declared: Mapping[str, int] | None,
    repair: MaskRepair = "stop",
    instances: Instances = "stop",
    regions: Mapping[str, Regions] | None = None,
) -> LabelMap:
    """Decide which stored value is which class, by the rules at the head of this file.

    counts: mask file -> value or colour -> voxels, of the whole dataset (`count_labels`).
    names: class names, background first; declared: name -> stored value. Either may be None.
    repair: what to do about blurred masks: "stop", or find the map of `repair_mask`.
    instances: what to do about values that number objects: "stop", or "merge" all values but 0 into one class.
    regions: mask file -> what its values look like (`measure_regions`); without, they are judged by their voxels alone.

    Raises DataError with all faults, at most one a file: MASK_STRAY_VALUES, MASK_TOO_MANY_COLOURS, UNEXPECTED_LABEL,
    NO_FOREGROUND, IGNORE_LABEL, INSTANCE_IDS, TOO_MANY_CLASSES, LAYOUT_BROKEN (names and declared values that
    contradict each other). Faults of one cause say the same of each file.
    """
    files, regions = _in_one_kind(counts), regions or {}
    _stop_contradiction(names, declared)
    names, declared = without_ignored(files, names, declared)
    expected = _expected(names, declared)
    names = tuple(names) if names else tuple(sorted(declared, key=declared.__getitem__)) if declared else None
    total = added(files.values())
    if instances == "merge":
        _stop_without_foreground(files, total, expected)
        return _merged_map(files, names)
    if len(expected) <= 2 and not total.keys() <= expected.keys():
        _stop_instances(files, regions)
    stop_unexplained(files, expected, regions)
    colours = any(isinstance(value, tuple) for value in total)
    shapes = [shapes_of(found) for found in regions.values()]
    if has_stray_values(total, () if colours else expected, shapes):
        files = as_drawn(files, names, expected if declared and not colours else {}, repair, regions)
        total = added(files.values())
    _stop_without_foreground(files, total, expected)
    return _colour_map(files, total, names) if colours else _value_map(files, total, names, expected)


def _in_one_kind(counts: Mapping[str, Mapping[MaskValue, int]]) -> Counts:
    """Files in order of name; numbers as grey colours where any mask has colours."""
    colours = any(isinstance(value, tuple) for values in counts.values() for value in values)
    return {
        file: {(v, v, v) if colours and isinstance(v, int) else v: n for v, n in counts[file].items() if n}
        for file in sorted(counts)
    }


def _stop_contradiction(names: Sequence[str] | None, declared: Mapping[str, int] | None) -> None:
    if names and declared and set(names) != set(declared):
        found = f"class names {list(names)} and labels {list(declared)}"
        raise DataError([_broken(found, "the same names")])


def _expected(names: Sequence[str] | None, declared: Mapping[str, int] | None) -> dict[int, int]:
    """Stored value -> class index as declared; empty where nothing is declared."""
    ordered = names or sorted(declared or (), key=lambda name: (declared or {})[name])
    if len(ordered) > MOST_CLASSES:
        raise DataError([_too_many("dataset.json", len(ordered))])
    return {declared[name] if declared else index: index for index, name in enumerate(ordered)}


def _merged_map(files: Counts, names: tuple[str, ...] | None) -> LabelMap:
    """The map that takes every value but 0 (black) as one class."""
    negative = {file: {v: n for v, n in found.items() if isinstance(v, int) and v < 0} for file, found in files.items()}
    faults = _unexpected(negative, [0])
    if names and len(names) > 2:
        faults.append(_broken(f"--instances merge, and the classes {', '.join(names)}", "one class besides background"))
    if faults:
        raise DataError(faults)
    return LabelMap(names or _names_of((0, 1)), {0: 0, 1: 1}, rule="merged")


def _stop_instances(files: Counts, regions: Mapping[str, Regions]) -> None:
    if not look_like_instances(regions):
        return
    most = max(len(found) for found in regions.values())
    found = f"values that look like instance ids: up to {most} in a mask, each one object, in no fixed place"
    cure = "Use --instances merge to take all as one class. If each value is a class, name them all in dataset.json."
    expected = "the same value for the same structure in every mask"
    raise DataError(
        [_fault(FaultCode.INSTANCE_IDS, file, found, expected, cure) for file in files if regions.get(file)]
    )


def _value_map(
    files: Counts, total: Mapping[int, int], names: tuple[str, ...] | None, expected: Mapping[int, int]
) -> LabelMap:
    if names and total.keys() <= expected.keys():
        return LabelMap(names, expected)
    white = max(total)
    if names and expected.keys() == {0, 1} and white in WHITE and total.keys() <= {0, white}:
        return LabelMap(names, {0: 0, white: 1})
    if names:
        raise DataError(_unexpected(files, expected))
    if min(total) < 0:
        raise DataError(_unexpected(files, [value for value in total if value >= 0]))
    values = sorted(total)
    if len(values) > MOST_CLASSES:
        raise DataError([_too_many(file, len(values)) for file, found in files.items() if found])
    return LabelMap(_names_of(values), {value: index for index, value in enumerate(values)})


def _colour_map(files: Counts, total: Mapping[Any, int], names: tuple[str, ...] | None) -> LabelMap:
    colours = sorted(total)
    if names and (len(names) > 2 or len(colours) > 2):
        found = f"colours {value_list(colours)} for the classes {', '.join(names)}"
        cure = "Leave the class names out (classes are then called by colour), or store class indices."
        raise DataError([_fault(FaultCode.UNEXPECTED_LABEL, next(iter(files)), found, "numbers as declared", cure)])
    return LabelMap(names or _names_of(colours), colours={colour: index for index, colour in enumerate(colours)})


def _names_of(values: Sequence[MaskValue]) -> tuple[str, ...]:
    """Names for classes that nobody named."""
    if len(values) == 2:
        return "background", "foreground"
    return "background", *(("label " if isinstance(v, int) else "colour ") + value_text(v) for v in values[1:])


def _unexpected(files: Counts, expected: Collection[int]) -> list[Fault]:
    """One fault for each file that has values other than expected; files with the same ones are told their sum."""
    known = dict.fromkeys(expected, 0)
    unknown = {file: {v: n for v, n in values.items() if v not in known} for file, values in files.items()}
    sums: dict[frozenset[Any], Counter[Any]] = defaultdict(Counter)
    for values in unknown.values():
        sums[frozenset(values)].update(values)
    return [unexpected_label(file, sums[frozenset(values)], known) for file, values in unknown.items() if values]


def _stop_without_foreground(files: Counts, total: Mapping[Any, int], expected: Mapping[int, int]) -> None:
    """Raise where no mask has a background (and nothing says what is), or no mask has anything else."""
    background = background_of(total, expected)
    if not total or set(total) == {background}:
        cure = "Check the masks: they may have been exported empty."
        found = f"no foreground in any of {len(files)} masks"
        fault = _fault(FaultCode.NO_FOREGROUND, next(iter(files), "masks"), found, "a class in some mask", cure)
        raise DataError([fault])
    if background not in total and not (expected and isinstance(background, int)):
        found = f"no voxel of {value_text(background)} in any mask, but {value_list(sorted(total))}"
        cure = "Store the background as 0 (black), or declare the classes in dataset.json."
        raise DataError([_fault(FaultCode.UNEXPECTED_LABEL, next(iter(files)), found, "a background", cure)])


def _too_many(file: str, count: int) -> Fault:
    cure = "Merge classes, or train on some of them."
    return _fault(FaultCode.TOO_MANY_CLASSES, file, f"{count} classes", f"at most {MOST_CLASSES}", cure)


def _broken(found: str, expected: str) -> Fault:
    return _fault(FaultCode.LAYOUT_BROKEN, "dataset.json", found, expected, "Correct dataset.json.")


def _fault(code: FaultCode, file: str, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, file, found, expected, cure)
