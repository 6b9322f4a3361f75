"""The map from stored mask values or colours to class indices, and masks seen through it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.data.case import Scan
from genseg.errors import DataError, Fault, FaultCode, RunError

Colour = tuple[int, int, int]
MaskValue = int | Colour
"""What a mask stores at a voxel: a number, or red, green and blue in 0..255."""

COUNTED = 1024
"""Most distinct values of one mask that are counted, the most frequent ones: no label set is larger, and a photograph
given as a mask by mistake has a hundred thousand colours."""

_LISTED = 8


@dataclass(frozen=True)
class LabelMap:
    """Which stored value or colour is which class.

    names: class names by index; index 0 is the background.
    values: stored value -> class index; empty for colour masks.
    colours: (red, green, blue) -> class index; empty for masks of numbers.

    A grey value `v` and the colour `(v, v, v)` are the same thing: a colour mask that is black all over may be stored
    with one channel.
    """

    names: tuple[str, ...]
    values: Mapping[int, int] = field(default_factory=dict)
    colours: Mapping[Colour, int] = field(default_factory=dict)

    def apply(self, mask: Scan, file: str) -> NDArray[np.uint8]:
        """Class indices `(*spatial)` of a mask `(1, *spatial)` of numbers or `(3, row, column)` of colours.

        file: how the mask is called in a fault.
        Raises DataError(UNEXPECTED_LABEL), with voxel counts, where the mask has a value that is not in the map.
        """
        codes, table = _codes(mask.pixels), self._table(colour=mask.pixels.shape[0] == 3)
        limits = np.iinfo(codes.dtype)
        known = sorted(code for code in table if limits.min <= code <= limits.max)
        classes = np.array([table[code] for code in known] or [0], dtype=np.uint8)
        reference = np.array(known or [0], dtype=codes.dtype)
        places = np.minimum(np.searchsorted(reference, codes), len(reference) - 1)
        if not known or not np.array_equal(reference[places], codes):
            raise DataError([unexpected_label(file, self._unknown(mask), self._stored())])
        found: NDArray[np.uint8] = classes[places]
        return found

    def rows(self) -> list[tuple[str, int, str]]:
        """Stored value or colour as text, class index, class name: one a value, by class, for printing."""
        stored = sorted(self._stored().items(), key=lambda item: (item[1], item[0]))
        return [(value_text(value), index, self.names[index]) for value, index in stored]

    def to_json(self) -> dict[str, Any]:
        """The map with text keys: `{"names": [...], "values": {"255": 1}, "colours": {"#ff0000": 1}}`."""
        return {
            "names": list(self.names),
            "values": {value_text(value): index for value, index in self.values.items()},
            "colours": {value_text(colour): index for colour, index in self.colours.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LabelMap:
        """The map that `to_json` wrote. Raises RunError for anything else."""
        try:
            return cls(
                names=tuple(str(name) for name in data["names"]),
                values={int(value): int(index) for value, index in data["values"].items()},
                colours={_parse_colour(text): int(index) for text, index in data["colours"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RunError("the stored label map is damaged: it must hold names, values and colours") from error

    def _stored(self) -> dict[Any, int]:
        return {**self.values, **self.colours}

    def _table(self, colour: bool) -> dict[int, int]:
        """Class of each code (see `_codes`) that a mask of colours, or of numbers, can have."""
        if colour:
            return {_pack(_as_colour(value)): index for value, index in self._stored().items()}
        greys = {colour[0]: index for colour, index in self.colours.items() if len(set(colour)) == 1}
        return {**greys, **self.values}

    def _unknown(self, mask: Scan) -> dict[MaskValue, int]:
        known = {_as_colour(value) for value in self._stored()}
        return {value: count for value, count in count_labels(mask).items() if _as_colour(value) not in known}


def count_labels(mask: Scan) -> dict[MaskValue, int]:
    """Voxels of each value of a mask `(1, *spatial)`, or of each colour of a mask `(3, row, column)`.

    Only the `COUNTED` most frequent values are returned.
    """
    codes, counts = np.unique(_codes(mask.pixels), return_counts=True)
    frequent = np.argsort(-counts, kind="stable")[:COUNTED]
    unpack = _unpack if mask.pixels.shape[0] == 3 else int
    return {unpack(int(codes[place])): int(counts[place]) for place in sorted(frequent)}


def repair_mask(mask: Scan, labels: LabelMap) -> NDArray[np.uint8]:
    """Class indices `(*spatial)` of a mask, each voxel taken for the nearest value of the map.

    The distance of colours is the largest over their channels (a number counts as grey); of two values equally near,
    the class of lower index is taken. For masks that a lossy format or a resizing has blurred: a wrong value is hidden.
    """
    codes, places = np.unique(_codes(mask.pixels), return_inverse=True)
    colour = mask.pixels.shape[0] == 3
    values = [_as_colour(_unpack(int(code)) if colour else int(code)) for code in codes]
    stored = sorted(labels._stored().items(), key=lambda item: item[1])
    known = np.array([_as_colour(value) for value, _ in stored], dtype=np.int64)
    distances = np.abs(np.array(values, dtype=np.int64)[:, None] - known[None]).max(axis=2)
    classes = np.array([index for _, index in stored], dtype=np.uint8)
    found: NDArray[np.uint8] = classes[distances.argmin(axis=1)][places]
    return found.reshape(mask.spatial)


def value_text(value: MaskValue) -> str:
    """A stored value as text: `255`, or a colour as `#ff0000`."""
    return str(value) if isinstance(value, int) else "#{:02x}{:02x}{:02x}".format(*value)


def value_list(values: list[Any]) -> str:
    """Some of the values as text, for messages."""
    return ", ".join(map(value_text, values[:_LISTED])) + (" ..." if len(values) > _LISTED else "")


def unexpected_label(file: str, unknown: Mapping[MaskValue, int], expected: Mapping[Any, int]) -> Fault:
    """The fault of a mask with values that mean nothing. unknown: value -> voxels; expected: the values that do."""
    some = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    found = ", ".join(f"{value_text(value)} on {count} voxels" for value, count in some[:_LISTED])
    return Fault(
        FaultCode.UNEXPECTED_LABEL,
        file,
        f"the values {found}{' ...' if len(some) > _LISTED else ''}",
        f"only {value_list(sorted(expected))}",
        "Correct the mask, or declare the class.",
    )


def _codes(pixels: NDArray[np.generic]) -> NDArray[np.integer[Any]]:
    """One whole number a voxel, `(*spatial)`: the value itself, or the colour's 24 bits."""
    if pixels.shape[0] == 3:
        red, green, blue = pixels.astype(np.int32)
        colours: NDArray[np.int32] = (red << 16) | (green << 8) | blue
        return colours
    numbers: NDArray[np.integer[Any]] = pixels[0]
    return numbers if np.issubdtype(pixels.dtype, np.integer) else numbers.astype(np.int64)


def _pack(colour: Colour) -> int:
    return (colour[0] << 16) | (colour[1] << 8) | colour[2]


def _unpack(code: int) -> Colour:
    return (code >> 16, code >> 8 & 255, code & 255)


def _as_colour(value: MaskValue) -> Colour:
    return (value, value, value) if isinstance(value, int) else value


def _parse_colour(text: str) -> Colour:
    return _unpack(int(text.removeprefix("#"), 16))
