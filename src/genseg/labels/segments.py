"""Masks whose files name their values: which name is which class, whatever values stand for it from file to file.

3D Slicer numbers the segments of a case in the order in which they were drawn, so that a value may be the liver in one
file and a tumour in the next.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from genseg.errors import DataError, Fault, FaultCode
from genseg.labels.label_map import BACKGROUND, MaskValue, brightest, same_name, voxel_list

Named = Mapping[str, tuple[Mapping[MaskValue, int], Mapping[int, str]]]
"""Mask file -> voxels of each of its values, and the names that it gives to values."""


def segment_classes(
    files: Named, names: Sequence[str] | None, declared: Mapping[str, int] | None
) -> tuple[str, ...] | None:
    """Class names of masks that are to be read by the names in their files; None where values are to be taken as such.

    names, declared: class names and their values as the dataset's own description has them; see `fit_label_map`.

    Values are taken as such where no file names them, and where every name stands for its declared value.

    Raises DataError(SEGMENT_NAMES) with a fault for each file that cannot be matched: values that nothing names among
    files that name theirs, and names that are not among those declared.
    """
    if not any(segments for _, segments in files.values()) or _are_as_declared(files, declared):
        return None
    faults = [fault for file, found in files.items() if (fault := _unnamed(file, *found)) is not None]
    if names:
        faults += [fault for file, (_, found) in files.items() if (fault := _unknown(file, found, names)) is not None]
    if faults:
        raise DataError(faults)
    return tuple(names) if names else (BACKGROUND, *_in_usual_order(files))


def _are_as_declared(files: Named, declared: Mapping[str, int] | None) -> bool:
    known = {same_name(name): value for name, value in (declared or {}).items()}
    return bool(declared) and all(
        known.get(same_name(name)) == value for _, segments in files.values() for value, name in segments.items()
    )


def _in_usual_order(files: Named) -> list[str]:
    """Every name once, in the spelling and by the value that are usual."""
    spelled, values = defaultdict[str, list[str]](list), defaultdict[str, list[int]](list)
    for _, segments in files.values():
        for value, name in segments.items():
            spelled[same_name(name)].append(name)
            values[same_name(name)].append(value)
    spelled.pop(BACKGROUND, None)
    ordered = sorted(spelled, key=lambda name: (median(values[name]), name))
    return [max(sorted(set(spelled[name])), key=spelled[name].count) for name in ordered]


def _unnamed(file: str, values: Mapping[MaskValue, int], segments: Mapping[int, str]) -> Fault | None:
    """The fault of a mask with values that its file does not name."""
    unnamed = {value: count for value, count in values.items() if brightest(value) != 0 and value not in segments}
    if not unnamed:
        return None
    what = "the values" if segments else "no segment names, but the values"
    found = f"{what} {voxel_list(unnamed)}" + (" without a segment" if segments else "")
    expected = "a segment name for each value, as the other masks have"
    return Fault(FaultCode.SEGMENT_NAMES, file, found, expected, "Save all masks as .seg.nrrd with named segments.")


def _unknown(file: str, segments: Mapping[int, str], names: Sequence[str]) -> Fault | None:
    known = {BACKGROUND, *map(same_name, names)}
    unknown = sorted(name for name in segments.values() if same_name(name) not in known)
    if not unknown:
        return None
    found, expected = f"segments named {', '.join(unknown)}", f"the class names {', '.join(names)}"
    return Fault(FaultCode.SEGMENT_NAMES, file, found, expected, "Rename the segments, or correct dataset.json.")
