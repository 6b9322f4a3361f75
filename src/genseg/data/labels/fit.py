"""Deciding what the values of a data set's masks mean.

The rules, applied to the values of all masks together, for a mask by itself may lack any class:

1. Declared values win. Declared are the `labels` of a `dataset.json` or, where only class names are given, 0, 1, 2 ...
   in their order. Any other value stops, with one exception: 0 and 255 (65535 in 16 bits) for two classes.
2. Nothing declared: the values in ascending order are the classes, 0 the background. 0/255 becomes 0/1, 0/1/3 becomes
   0/1/2, 0/128/255 becomes 0/1/2. Without any 0, or with a negative value, nothing can be known: it stops.
3. Colours: black is the background, the others are classes in ascending order of red, green, blue. Names that are
   declared for more than one foreground class stop, for nobody said which colour is which.
4. Values that look blurred (`stray`) stop, unless repair is asked for: then the values that the masks were drawn with
   are found first and rules 1 to 3 applied to these. A mask whose whole foreground repair would erase stops always:
   it is coded otherwise than the rest (0/1 among 0/255).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from genseg.choices import MaskRepair
from genseg.data.labels.label_map import LabelMap, MaskValue, unexpected_label, value_list, value_text
from genseg.data.labels.stray import MOST_VALUES, are_apart, dominant_values, has_stray_values, nearest
from genseg.errors import DataError, Fault, FaultCode

_MOST_CLASSES = 256
_WHITE = (255, 65535)
Counts = dict[str, dict[Any, int]]


def fit_label_map(
    counts: Mapping[str, Mapping[MaskValue, int]],
    names: Sequence[str] | None,
    declared: Mapping[str, int] | None,
    repair: MaskRepair = "stop",
) -> LabelMap:
    """Decide which stored value is which class, by the rules at the head of this file.

    counts: mask file -> value or colour -> voxels, of the whole data set (`count_labels`).
    names: class names, background first; declared: name -> stored value. Either may be None.
    repair: what to do about blurred masks: "stop", or find the map of `repair_mask`.

    Raises DataError with all faults, at most one a file: MASK_STRAY_VALUES, MASK_TOO_MANY_COLOURS, UNEXPECTED_LABEL,
    NO_FOREGROUND, LAYOUT_BROKEN (names and declared values that contradict each other).
    """
    files = _in_one_kind(counts)
    total = _total(files)
    expected = _expected(names, declared)
    names = tuple(names) if names else tuple(sorted(declared, key=declared.__getitem__)) if declared else None
    colours = any(isinstance(value, tuple) for value in total)
    if has_stray_values(total, () if colours else expected):
        limit = len(names) if names else None
        told = declared and not colours and are_apart(expected)
        kept = list(expected) if told else dominant_values(total, limit)
        _stop_stray(files, kept, expected, repair)
        files = {file: _repaired(values, kept) for file, values in files.items()}
        total = _total(files)
    _stop_without_foreground(files, total, expected)
    return _colour_map(files, total, names) if colours else _value_map(files, total, names, expected)


def _in_one_kind(counts: Mapping[str, Mapping[MaskValue, int]]) -> Counts:
    """Files in order of name; numbers as grey colours where any mask has colours."""
    colours = any(isinstance(value, tuple) for values in counts.values() for value in values)
    return {
        file: {(v, v, v) if colours and isinstance(v, int) else v: n for v, n in counts[file].items() if n}
        for file in sorted(counts)
    }


def _total(files: Counts) -> Counter[Any]:
    return sum((Counter(values) for values in files.values()), Counter())


def _expected(names: Sequence[str] | None, declared: Mapping[str, int] | None) -> dict[int, int]:
    """Stored value -> class index as declared; empty where nothing is declared."""
    if names and declared and set(names) != set(declared):
        raise DataError([_contradiction(f"class names {list(names)} and labels {list(declared)}", "the same names")])
    ordered = names or sorted(declared or (), key=lambda name: (declared or {})[name])
    if len(ordered) > _MOST_CLASSES:
        raise DataError([_contradiction(f"{len(ordered)} classes", f"at most {_MOST_CLASSES}")])
    return {declared[name] if declared else index: index for index, name in enumerate(ordered)}


def _value_map(
    files: Counts, total: Mapping[int, int], names: tuple[str, ...] | None, expected: Mapping[int, int]
) -> LabelMap:
    if names and total.keys() <= expected.keys():
        return LabelMap(names, expected)
    white = max(total)
    if names and expected.keys() == {0, 1} and white in _WHITE and total.keys() <= {0, white}:
        return LabelMap(names, {0: 0, white: 1})
    if names:
        raise DataError(_unexpected(files, expected))
    if min(total) < 0:
        raise DataError(_unexpected(files, [value for value in total if value >= 0]))
    values = sorted(total)
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
    """One fault for each file that has values other than expected."""
    known = dict.fromkeys(expected, 0)
    unknown = {file: {v: n for v, n in values.items() if v not in known} for file, values in files.items()}
    return [unexpected_label(file, values, known) for file, values in unknown.items() if values]


def _stop_without_foreground(files: Counts, total: Mapping[Any, int], expected: Mapping[int, int]) -> None:
    """Raise where no mask has a background (and nothing says what is), or no mask has anything else."""
    background = _background(total, expected)
    if not total or set(total) == {background}:
        cure = "Look at the masks: they may have been exported empty."
        found = f"no foreground in any of {len(files)} masks"
        fault = _fault(FaultCode.NO_FOREGROUND, next(iter(files), "masks"), found, "a class in some mask", cure)
        raise DataError([fault])
    if background not in total and not (expected and isinstance(background, int)):
        found = f"no voxel of {value_text(background)} in any mask, but {value_list(sorted(total))}"
        cure = "Store the background as 0 (black), or declare the classes in dataset.json."
        raise DataError([_fault(FaultCode.UNEXPECTED_LABEL, next(iter(files)), found, "a background", cure)])


def _background(total: Mapping[Any, int], expected: Mapping[int, int]) -> MaskValue:
    if any(isinstance(value, tuple) for value in total):
        return (0, 0, 0)
    return next((value for value, index in expected.items() if index == 0), 0)


def _stop_stray(files: Counts, kept: list[Any], expected: Mapping[int, int], repair: str) -> None:
    """Raise one fault for each file that repair would empty and, unless repair is asked for, for each blurred one."""
    faults = []
    for file, values in files.items():
        stray = {value: count for value, count in values.items() if value not in kept}
        background = _background(values, expected)
        foreground = [value for value in values if value != background]
        if foreground and background in kept and all(nearest(value, kept) == background for value in foreground):
            faults.append(_coded_otherwise(file, foreground, kept))
        elif stray and repair == "stop":
            faults.append(_blurred(file, stray, kept))
    if faults:
        raise DataError(faults)


def _coded_otherwise(file: str, foreground: list[Any], kept: list[Any]) -> Fault:
    found = f"the values {value_list(sorted(foreground))}, which the values of the other masks would turn to background"
    cure = "Store this mask with the same values as the others."
    return _fault(FaultCode.MASK_STRAY_VALUES, file, found, f"only {value_list(sorted(kept))}", cure)


def _blurred(file: str, stray: Mapping[Any, int], kept: list[Any]) -> Fault:
    colours = any(isinstance(value, tuple) for value in stray)
    many = colours and len(stray) + len(kept) > MOST_VALUES
    what = "colours" if colours else "values"
    known = value_list(sorted(kept))
    return _fault(
        FaultCode.MASK_TOO_MANY_COLOURS if many else FaultCode.MASK_STRAY_VALUES,
        file,
        f"{len(stray)} stray {what} on {sum(stray.values())} voxels ({value_list(sorted(stray))})",
        f"a few separate {what}, as PNG keeps them and JPEG or resizing does not",
        f"Export it again without loss, use --mask-repair nearest (keeps {known}), or declare the classes.",
    )


def _repaired(values: Mapping[Any, int], kept: Sequence[Any]) -> dict[Any, int]:
    repaired: Counter[Any] = Counter()
    for value, count in values.items():
        repaired[nearest(value, kept)] += count
    return dict(repaired)


def _contradiction(found: str, expected: str) -> Fault:
    return _fault(FaultCode.LAYOUT_BROKEN, "dataset.json", found, expected, "Correct dataset.json.")


def _fault(code: FaultCode, file: str, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, file, found, expected, cure)
