"""Mask values that may stand for pixels to leave out (ignore, void, unlabelled): such pixels must not become a class.

Training cannot leave pixels out yet, so that masks which hold some stop, whether they are declared or look like it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from genseg.errors import DataError, Fault, FaultCode
from genseg.labels.label_map import MaskValue, added, value_list
from genseg.labels.regions import Regions
from genseg.labels.stray import are_apart

WHITE = (255, 65535)
"""White in 8 and in 16 bits: the usual value of pixels to ignore, and of the foreground of masks of two values."""

_NAMES = {
    "ignore",
    "ignored",
    "void",
    "unlabelled",
    "unlabeled",
    "dont care",
    "dontcare",
    "not labelled",
    "not labeled",
}
_MOST_APART = 2
_FAR = 32
Counts = Mapping[str, Mapping[MaskValue, int]]


def without_ignored(
    files: Counts, names: Sequence[str] | None, declared: Mapping[str, int] | None
) -> tuple[Sequence[str] | None, Mapping[str, int] | None]:
    """Names and values of the classes, without those declared to be ignored.

    A name such as "ignore" or "void" is one, unless it is the only name for the background.
    Raises DataError(IGNORE_LABEL) with a fault for each mask that holds such a value.
    """
    values = dict(declared) if declared else {name: index for index, name in enumerate(names or ())}
    background = any(_plain(name) == "background" for name in values)
    ignored = {name: value for name, value in values.items() if _plain(name) in _NAMES and (value != 0 or background)}
    if not ignored:
        return names, declared
    held = {file: sum(found.get(value, 0) for value in ignored.values()) for file, found in files.items()}
    if any(held.values()):
        label = ", ".join(f"{value} ({name})" for name, value in ignored.items())
        raise DataError([_ignored(file, label, sum(held.values())) for file, count in held.items() if count])
    return (
        None if names is None else [name for name in names if name not in ignored],
        None if declared is None else {name: value for name, value in declared.items() if name not in ignored},
    )


def stop_unexplained(files: Counts, expected: Collection[int], regions: Mapping[str, Regions]) -> None:
    """Raise UNEXPECTED_LABEL where one or two values lie far above class indices 0, 1 ... of the same mask.

    255 above 0, 1, 2 most often marks pixels to ignore; it may be a class too. Nobody but the author can tell.
    expected: values that are declared, which say nothing.
    """
    total = added(files.values())
    run, apart = _run_and_rest(total)
    concerned = [file for file, found in files.items() if found.keys() & set(apart)]
    if set(apart) <= set(expected) or not any(files[file].keys() & set(run[1:]) for file in concerned):
        return
    kinds = [regions[file][value].outline for file in concerned for value in apart if value in regions.get(file, {})]
    thin = ", as a thin rim" if kinds.count("rim") > len(kinds) / 2 else ""
    what, rest = value_list([*apart]), value_list([*run])
    found = f"{what} on {sum(total[value] for value in apart)} voxels{thin}, far above the values {rest}"
    cure = (
        f"If {what} is a class, declare all classes in dataset.json. If it marks pixels to ignore, give these a class "
        "in copies of the masks, or leave these cases out."
    )
    expected_text = "class indices without a gap"
    raise DataError([Fault(FaultCode.UNEXPECTED_LABEL, file, found, expected_text, cure) for file in concerned])


def _run_and_rest(total: Mapping[MaskValue, int]) -> tuple[list[int], list[int]]:
    """Values 0, 1, 2 ... and the one or two that lie far above; two empty lists where values are of another kind."""
    numbers = sorted(value for value in total if isinstance(value, int))
    run = [value for place, value in enumerate(numbers) if value == place]
    apart = numbers[len(run) :]
    if len(numbers) < len(total) or len(run) < 2 or not 1 <= len(apart) <= _MOST_APART:
        return [], []
    return (run, apart) if are_apart(apart) and apart[0] - run[-1] > _FAR else ([], [])


def _ignored(file: str, label: str, voxels: int) -> Fault:
    found = f"{voxels} voxels of {label}, declared to be ignored"
    cure = "Pixels cannot be left out of training yet: give them a class in copies of the masks, or leave cases out."
    return Fault(FaultCode.IGNORE_LABEL, file, found, "a class for every voxel", cure)


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").replace("'", "").split()).casefold()
