"""The map from stored mask values or colours to class indices, and masks seen through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genseg.errors import DataError, Fault, FaultCode, RunError
from genseg.read.case import Scan

Colour = tuple[int, int, int]
MaskValue = int | Colour
"""What a mask stores at a voxel: a number, or red, green and blue in 0..255."""

COUNTED = 1024
"""Most distinct values of one mask that are counted, the most frequent ones: no label set is larger, and a photograph
given as a mask by mistake has a hundred thousand colours."""

Rule = Literal["values", "merged", "names"]

_RULES: Mapping[str, Rule] = {"values": "values", "merged": "merged", "names": "names"}
_UNKNOWN = "Correct the mask, or declare the class."
_NEGATIVE = (
    "A negative value often marks pixels to ignore, which cannot be left out: give these a class in copies of the "
    "masks, or leave these cases out."
)
_LISTED = 8
BACKGROUND = "background"
"""The usual name of class 0."""


@dataclass(frozen=True)
class LabelMap:
    """Which stored value or colour is which class.

    names: class names by index; index 0 is the background.
    values: stored value -> class index; empty for colour masks.
    colours: (red, green, blue) -> class index; empty for masks of numbers.
    rule: "values", as these say; "merged": every value above 0 (every colour but black) is class 1; "names": each file
        names its values (`Scan.segments`), and `values` only numbers the classes.

    Where a mask's file names all its values as classes of the map, the names count under the rule "values" too.
    A grey value `v` and the colour `(v, v, v)` are the same thing: a colour mask that is black all over may be stored
    with one channel.
    """

    names: tuple[str, ...]
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)
    rule: Rule = "values"

    def apply(self, mask: Scan, file: str) -> NDArray[np.uint8]:
        """Class indices `(*spatial)` of a mask `(1, *spatial)` of numbers or `(3, row, column)` of colours.

        file: how the mask is called in a fault.
        Raises DataError(UNEXPECTED_LABEL), with voxel counts, where the mask has a value that is not in the map.
        """
        codes = codes_of(mask.pixels)
        if self.rule == "merged" and int(codes.min()) >= 0:
            return np.asarray(codes != 0, dtype=np.uint8)
        if self.is_named(mask):
            return self._apply_names(codes, mask, file)
        found = _looked_up(codes, self._table(colour=mask.pixels.shape[0] == 3))
        if found is None:
            raise DataError([unexpected_label(file, self._unknown(mask), self._stored())])
        return found

    def is_named(self, mask: Scan) -> bool:
        """Whether the classes of a mask are told by the names in its file and not by its values."""
        known = {same_name(name) for name in self.names}
        return self.rule == "names" or (
            self.rule == "values" and bool(mask.segments) and {*map(same_name, mask.segments.values())} <= known
        )

    def _apply_names(self, codes: NDArray[np.integer[Any]], mask: Scan, file: str) -> NDArray[np.uint8]:
        table = by_class(mask.segments, self.names)
        found = _looked_up(codes, table)
        if found is None:
            unknown = {value: count for value, count in count_labels(mask).items() if value not in table}
            raise DataError([unknown_segments(file, unknown, mask.segments, self.names)])
        return found

    def rows(self) -> list[tuple[str, int, str]]:
        """Stored value or colour as text, class index, class name: one a value, by class, for printing."""
        if self.rule == "names":
            return [(name, index, name) for index, name in enumerate(self.names)]
        if self.rule == "merged":
            return [("0", 0, self.names[0]), ("all others", 1, self.names[1])]
        stored = sorted(self._stored().items(), key=lambda item: (item[1], item[0]))
        return [(value_text(value), index, self.names[index]) for value, index in stored]

    def to_json(self) -> dict[str, Any]:
        """The map with text keys: `{"names": [...], "values": {"255": 1}, "colours": {}, "rule": "values"}`."""
        return {
            "names": list(self.names),
            "values": {value_text(value): index for value, index in self.values.items()},
            "colours": {value_text(colour): index for colour, index in self.colours.items()},
            "rule": self.rule,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelMap:
        """The map that `to_json` wrote. Raises RunError for anything else."""
        try:
            return cls(
                names=tuple(str(name) for name in data["names"]),
                values={int(value): int(index) for value, index in data["values"].items()},
                colours={_parse_colour(text): int(index) for text, index in data["colours"].items()},
                rule=_RULES[data.get("rule", "values")],
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError("the stored label map is damaged: it must hold names, values and colours") from error

    def stored_values(self) -> list[MaskValue]:
        """The values and colours that have a class."""
        return list(self._stored())

    def _stored(self) -> dict[Any, int]:
        return {**self.values, **self.colours}

    def _table(self, colour: bool) -> dict[int, int]:
        """Class of each code (see `codes_of`) that a mask of colours, or of numbers, can have."""
        if colour:
            return {pack(_as_colour(value)): index for value, index in self._stored().items()}
        greys = {colour[0]: index for colour, index in self.colours.items() if len(set(colour)) == 1}
        return {**greys, **self.values}

    def _unknown(self, mask: Scan) -> dict[MaskValue, int]:
        known = {_as_colour(value) for value in self._stored()}
        return {value: count for value, count in count_labels(mask).items() if _as_colour(value) not in known}


def count_labels(mask: Scan) -> dict[MaskValue, int]:
    """Voxels of each value of a mask `(1, *spatial)`, or of each colour of a mask `(3, row, column)`.

    Only the `COUNTED` most frequent values are returned.
    """
    codes, counts = np.unique(codes_of(mask.pixels), return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:COUNTED]
    unpack = _unpack if mask.pixels.shape[0] == 3 else int
    return {unpack(int(codes[place])): int(counts[place]) for place in sorted(frequent)}


def by_class(segments: Mapping[int, str], names: Sequence[str]) -> dict[int, int]:
    """Value that a mask stores -> index of the class that its file names for it; names that are no class left out."""
    known = {BACKGROUND: 0} | {same_name(name): index for index, name in enumerate(names)}
    named = {value: known[same_name(name)] for value, name in segments.items() if same_name(name) in known}
    return {0: 0} | named


def same_name(name: str) -> str:
    """A segment's name without what people spell in different ways: letter case and white space."""
    return " ".join(name.split()).casefold()


def nearest_classes(values: Sequence[MaskValue], labels: LabelMap) -> NDArray[np.uint8]:
    """The class of each value or, of one that is not in the map, of the nearest that is.

    The distance of colours is the largest over their channels (a number counts as grey); of two values equally near,
    the class of lower index is taken.
    """
    if labels.rule == "merged":
        return np.array([brightest(value) != 0 for value in values], dtype=np.uint8)
    stored = sorted(labels._stored().items(), key=lambda item: item[1])
    known = np.array([_as_colour(value) for value, _ in stored], dtype=np.int64)
    wanted = np.array([_as_colour(value) for value in values], dtype=np.int64).reshape(len(values), 3)
    distances = np.abs(wanted[:, None] - known[None]).max(axis=2)
    classes = np.array([index for _, index in stored], dtype=np.uint8)
    found: NDArray[np.uint8] = classes[distances.argmin(axis=1)]
    return found


def added(counts: Iterable[Mapping[Any, int]]) -> Counter[Any]:
    """Voxels of each value over several masks."""
    total: Counter[Any] = Counter()
    for values in counts:
        total.update(values)
    return total


def brightest(value: MaskValue) -> int:
    """The largest number in a value; of a negative one without its sign."""
    return abs(value) if isinstance(value, int) else max(value)


def value_text(value: MaskValue) -> str:
    """A stored value as text: `255`, or a colour as `#ff0000`."""
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)


def value_list(values: list[Any]) -> str:
    """Some of the values as text, for messages."""
    return ", ".join(map(value_text, values[:_LISTED])) + (" ..." if len(values) > _LISTED else "")


def voxel_list(values: Mapping[Any, int]) -> str:
    """Values with their voxels, the most frequent ones first: `9 on 77 voxels`."""
    some = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    listed = ", ".join(f"{value_text(value)} on {count} voxels" for value, count in some[:_LISTED])
    return listed + (" ..." if len(some) > _LISTED else "")


def unknown_segments(
    file: str, unknown: Mapping[MaskValue, int], segments: Mapping[int, str], names: Sequence[str]
) -> Fault:
    """The fault of a mask whose file does not name some values, or not as classes. unknown: value -> voxels."""
    named = sorted({segments[value] for value in unknown if isinstance(value, int) and value in segments})
    found = f"segments named {', '.join(named)}" if named else f"the values {voxel_list(unknown)}, which have no name"
    expected = f"segments named {', '.join(names[1:])}"
    cure = "Save the mask as .seg.nrrd, with each segment named as its class."
    return Fault(FaultCode.SEGMENT_NAMES, file, found, expected, cure)


def unexpected_label(file: str, unknown: Mapping[MaskValue, int], expected: Mapping[Any, int]) -> Fault:
    """The fault of a mask with values that mean nothing. unknown: value -> voxels; expected: the values that do."""
    return Fault(
        FaultCode.UNEXPECTED_LABEL,
        file,
        f"the values {voxel_list(unknown)}",
        f"only {value_list(sorted(expected))}",
        _NEGATIVE if any(isinstance(value, int) and value < 0 for value in unknown) else _UNKNOWN,
    )


def value_of(code: int, colour: bool) -> MaskValue:
    """The value that a code of `codes_of` stands for."""
    return _unpack(code) if colour else code


def codes_of(pixels: NDArray[np.generic]) -> NDArray[np.integer[Any]]:
    """One whole number a voxel, `(*spatial)`: the value itself, or the colour's 24 bits."""
    if pixels.shape[0] == 3:
        red, green, blue = pixels.astype(np.int32)
        colours: NDArray[np.int32] = (red << 16) | (green << 8) | blue
        return colours
    numbers: NDArray[np.integer[Any]] = pixels[0]
    return numbers if np.issubdtype(pixels.dtype, np.integer) else numbers.astype(np.int64)


def pack(colour: Colour) -> int:
    """The 24 bits of a colour, its code in `codes_of`."""
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _unpack(code: int) -> Colour:
    return (code >> 16, code >> 8 & 255, code & 255)


def _looked_up(codes: NDArray[np.integer[Any]], table: Mapping[int, int]) -> NDArray[np.uint8] | None:
    """The class of each code; None where one is not in the table."""
    limits = np.iinfo(codes.dtype)
    known = sorted(code for code in table if limits.min <= code <= limits.max)
    classes = np.array([table[code] for code in known] or [0], dtype=np.uint8)
    reference = np.array(known or [0], dtype=codes.dtype)
    places = np.minimum(np.searchsorted(reference, codes), len(reference) - 1)
    if not known or not np.array_equal(reference[places], codes):
        return None
    found: NDArray[np.uint8] = classes[places]
    return found


def _as_colour(value: MaskValue) -> Colour:
    return (value, value, value) if isinstance(value, int) else value


def _parse_colour(text: str) -> Colour:
    return _unpack(int(text.removeprefix("#"), 16))
