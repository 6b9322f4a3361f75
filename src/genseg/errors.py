"""The error tree: every error that genseg raises on purpose.

::

    GensegError                 base of all; catch this to catch every refusal
    ├── DataError               files or a dataset that cannot be used; holds a list of problems
    ├── SettingsError           an option or a YAML file with an impossible value
    ├── RunError                a run folder or checkpoint that is missing, damaged or from another version
    ├── TrainingError           training that cannot continue (diverged, nothing to learn)
    │   ├── NotFiniteError      a loss or gradient that is not finite
    │   ├── MemoryRanOutError   an update that does not fit into memory
    │   ├── CutLinkError        feedback that does not reach the generator
    │   └── GeneratorError      a generator that diverged, collapsed or does not help
    ├── DeviceError             a device or precision that this machine does not have
    └── MissingExtraError       a feature whose optional package is not installed

A `DataError` lists *all* problems found, not only the first. Each `Fault` names the file, what was found, what was
expected and the fix, under a stable `FaultCode`.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

NAMED = 5
"""Most files that are named where one fault touches many."""


class FaultCode(StrEnum):
    """Stable codes of problems in data; each with its `meaning` and its usual `cure`."""

    meaning: str
    cure: str

    def __new__(cls, name: str, meaning: str, cure: str) -> Self:
        code = str.__new__(cls, name)
        code._value_, code.meaning, code.cure = name, meaning, cure
        return code

    EMPTY_FILE = "empty-file", "the file has no content", "copy or export it again, or remove it"
    UNREADABLE = (
        "unreadable",
        "the file is truncated, damaged or not accessible",
        "copy or export it again; check permissions, links and disk",
    )
    UNKNOWN_FORMAT = (
        "unknown-format",
        "the file content is in no supported format",
        "convert it to a supported format, or remove it",
    )
    WRONG_SUFFIX = (
        "wrong-suffix",
        "the file name suggests a different format than the content",
        "rename it; the content decided how it was read",
    )
    UNSUPPORTED_PIXELS = (
        "unsupported-pixels",
        "unsupported pixel type, such as CMYK or complex numbers",
        "convert to greyscale or RGB",
    )
    UNSUPPORTED_COMPRESSION = (
        "unsupported-compression",
        "no decoder for the file's compression is installed",
        "decompress it, or install the decoder named",
    )
    MULTI_PAGE = (
        "multi-page",
        "several pages or frames instead of one image",
        "save one image per file, or use --pages volume",
    )
    UNDECLARED_CHANNELS = (
        "undeclared-channels",
        "a fourth axis not declared as channels",
        "declare the channels, or save one volume per file",
    )
    NOT_FINITE = "not-finite", "NaN or infinite pixels", "repair the file, or use --nan-to min"
    OVERFLOW = (
        "overflow",
        "pixel values too large to compute with",
        "replace missing-value markers, such as 3.4e38, with the background value",
    )
    CONSTANT_IMAGE = "constant-image", "every pixel has the same value", "check the original"
    SATURATED_IMAGE = "saturated-image", "most pixels have the highest value", "check the original"
    SINGLE_SLICE = "single-slice", "a volume with a single slice", "for 2D models, export it as a 2D image"
    TOO_SMALL = "too-small", "an image too small to show anatomy", "use the original image"
    TOO_LARGE = "too-large", "more pixels than can be processed", "crop or downscale image and mask alike"
    ROTATED_BY_TAG = (
        "rotated-by-tag",
        "a 2D image rotated according to its orientation tag",
        "check that image and mask still overlap",
    )
    INVERTED_BY_TAG = (
        "inverted-by-tag",
        "an image inverted according to its tag",
        "check it in the contact sheet",
    )
    TRANSPARENCY_DROPPED = (
        "transparency-dropped",
        "a transparency channel, which was ignored",
        "check the image if it was cut out or blended",
    )
    BAD_SPACING = (
        "bad-spacing",
        "a missing, impossible or contradictory voxel size",
        "export the scan again, or correct its spacing",
    )
    BAD_AFFINE = (
        "bad-affine",
        "an impossible or contradictory position in space",
        "export the scan again, or correct its header",
    )
    SERIES_INCOMPLETE = (
        "series-incomplete",
        "a DICOM series with missing or unevenly spaced slices",
        "export the complete series again",
    )
    SERIES_MIXED = (
        "series-mixed",
        "several DICOM series, sizes or spacings in one folder",
        "put each series into its own folder",
    )
    SERIES_TILTED = (
        "series-tilted",
        "a gantry-tilted DICOM series",
        "use --tilt straighten, or resample to an orthogonal grid",
    )
    SERIES_ORIENTATION = (
        "series-orientation",
        "slices of one DICOM series with different orientations",
        "export the series again, alone",
    )
    SERIES_DUPLICATE = (
        "series-duplicate",
        "DICOM slices with the same position or the same identifier",
        "export the series again; identical copies are ignored",
    )
    SERIES_LOCALIZER = "series-localizer", "a localizer among the slices, which was ignored", "remove it"
    SIZE_MISMATCH = (
        "size-mismatch",
        "a mask or channel whose size differs from its image",
        "export both from the same source; nothing is resized",
    )
    GEOMETRY_MISMATCH = (
        "geometry-mismatch",
        "a mask or channel positioned differently from its image",
        "resample it onto the image, or export it again",
    )
    CHANNEL_MISMATCH = (
        "channel-mismatch",
        "a different number of channels from the other images or the model",
        "export all images with the same channels",
    )
    CHANNEL_CONTENT = (
        "channel-content",
        "a channel whose content contradicts its name or the other images",
        "put the channels of all cases in the same order",
    )
    MIXED_CHANNELS = (
        "mixed-channels",
        "greyscale and RGB images in one dataset; all are treated as RGB",
        "export all images the same way",
    )
    MIXED_DIMENSIONS = (
        "mixed-dimensions",
        "2D images and volumes in one dataset",
        "keep them in separate datasets",
    )
    MASK_NOT_INTEGER = (
        "mask-not-integer",
        "a mask with fractional values",
        "export labels, not probabilities; resample with nearest neighbour",
    )
    MASK_STRAY_VALUES = (
        "mask-stray-values",
        "mask values typical of lossy compression or resizing",
        "export it without loss, or use --mask-repair nearest",
    )
    MASK_TOO_MANY_COLOURS = (
        "mask-too-many-colours",
        "a mask with more colours than possible classes",
        "export it without loss; check whether it is a photograph",
    )
    UNEXPECTED_LABEL = (
        "unexpected-label",
        "a mask value without a class",
        "correct the mask, or declare the class",
    )
    IGNORE_LABEL = (
        "ignore-label",
        "an ignore label in the masks, which training does not support",
        "assign a class to these pixels, or leave these cases out",
    )
    INSTANCE_IDS = (
        "instance-ids",
        "mask values that number objects rather than classes",
        "use --instances merge, or name the classes",
    )
    TOO_MANY_CLASSES = (
        "too-many-classes",
        "more classes than a mask can hold",
        "merge classes, or train on some of them",
    )
    SEGMENT_NAMES = (
        "segment-names",
        "segments that cannot be matched by name",
        "use the same segment names in every file, without overlap",
    )
    PALETTE_MISMATCH = (
        "palette-mismatch",
        "palette masks with different colours for the same index",
        "convert the masks to RGB, or save all with one palette",
    )
    OUTLINE_MASK = (
        "outline-mask",
        "masks with the outline of a structure instead of its area",
        "fill the outlines",
    )
    EMPTY_MASK = "empty-mask", "masks without foreground", "remove them if they were never labelled"
    NO_FOREGROUND = "no-foreground", "no mask has any foreground", "check the masks: their export may have failed"
    CLASS_MISSING = (
        "class-missing",
        "a class missing from a training split",
        "label more of it, or remove it from the class names",
    )
    IMAGE_WITHOUT_MASK = (
        "image-without-mask",
        "an image without a mask",
        "add the mask, or use --unlabelled leave-out or --unlabelled use",
    )
    MASK_WITHOUT_IMAGE = "mask-without-image", "a mask without an image", "add the image, or remove the mask"
    DUPLICATE_NAME = "duplicate-name", "two files for one case", "rename or remove one of them"
    DUPLICATE_IMAGE = (
        "duplicate-image",
        "the same image, or nearly the same, more than once",
        "keep one; if the masks differ, the correct one",
    )
    SPLIT_LEAK = (
        "split-leak",
        "a patient in more than one part of the split",
        "move all scans of a patient into one part",
    )
    PATIENTS_UNKNOWN = (
        "patients-unknown",
        "unknown which images belong to the same patient",
        "name the patients in a CSV list (column patient)",
    )
    NOT_READ = (
        "not-read",
        "a folder, list or column that is ignored",
        "if it is needed, list its files in a CSV list",
    )
    LAYOUT_UNKNOWN = (
        "layout-unknown",
        "a folder with an unknown layout",
        "use a supported layout, or write a CSV list",
    )
    LAYOUT_BROKEN = (
        "layout-broken",
        "a layout, list or description that contradicts the files",
        "correct the named file",
    )
    OUTSIDE_FOLDER = (
        "outside-folder",
        "a link or path that leads outside the dataset",
        "copy the file into it, or list its absolute path",
    )
    UNUSABLE_NAME = (
        "unusable-name",
        "a name unusable for results, usually too long",
        "rename the image",
    )
    UNEXPECTED = (
        "unexpected-error",
        "an unexpected error; other images are not affected",
        "report the location; leave the image out, or export it again",
    )
    MASK_SET_ASIDE = (
        "mask-set-aside",
        "an earlier mask from another image or model",
        "find it in the folder replaced",
    )
    TOO_FEW_CASES = (
        "too-few-cases",
        "too few cases or patients for the task",
        "label scans of more patients, or use fewer folds",
    )


@dataclass(frozen=True)
class Fault:
    """One problem with one file (or with the whole dataset, if `file` is a folder).

    `stops` is True if the data cannot be used as they are, and False for a warning.
    """

    code: FaultCode
    file: str
    found: str
    expected: str
    cure: str
    stops: bool = True

    def __str__(self) -> str:
        return f"{self.file}: {self.found}; expected {self.expected}. {self.cure} [{self.code}]"


def merge_faults(faults: Iterable[Fault]) -> list[Fault]:
    """One fault for each cause, for people to read: those that differ in their file alone become one.

    Its `file` counts the files and names the first `NAMED`. Causes come in the order in which they were first met.
    """
    causes: dict[Fault, list[str]] = {}
    for fault in faults:
        causes.setdefault(replace(fault, file=""), []).append(fault.file)
    return [replace(cause, file=_counted(list(dict.fromkeys(files)))) for cause, files in causes.items()]


def listed(names: Sequence[str]) -> str:
    """The first `NAMED` names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def unknown(what: str, name: object, choices: Iterable[str]) -> str:
    """A refusal of a name that is none of `choices`: "unknown split 'tset'; did you mean 'test'? choose from ..."."""
    known = list(choices)
    return f"unknown {what} {name!r}{did_you_mean(str(name), known) or ';'} choose from {', '.join(known)}"


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """ "; did you mean 'test'?" with the choice nearest to a mistyped name; empty if none is near."""
    known, begun = list(choices), name.lower()
    longer = [one for one in known if begun and one.startswith(begun)]
    nearest = longer or difflib.get_close_matches(begun, known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def _counted(files: Sequence[str]) -> str:
    """One file as it is; several with their number, the folder that all lie in, and the first few below it."""
    if len(files) == 1:
        return files[0]
    folder = _common_folder(files)
    names = [file.removeprefix(f"{folder}{os.sep}") if folder else file for file in files]
    return f"{len(files)} files{f' in {folder}' if folder else ''} ({listed(names)})"


def _common_folder(files: Sequence[str]) -> str:
    """The deepest folder that holds all files; "" where there is none, as for the names of cases."""
    try:
        folder = os.path.commonpath([Path(file).parent for file in files])
    except ValueError:  # one file is absolute and another is not
        return ""
    return "" if folder in (".", os.sep) else folder


class GensegError(Exception):
    """Base class of all genseg errors."""


class DataError(GensegError):
    """Files or a dataset that cannot be used.

    `faults` holds every problem found, not only the first; the message has one line per cause (`merge_faults`).
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in merge_faults(self.faults)))


class SettingsError(GensegError):
    """An invalid value in an option or a settings file; the message names the key and the fix."""


class RunError(GensegError):
    """A run folder or checkpoint that is missing, damaged, in use, or from another version."""


class TrainingError(GensegError):
    """Training that cannot continue; the message names the update and what to try."""


class NotFiniteError(TrainingError):
    """A loss or gradient that is not finite."""


class MemoryRanOutError(TrainingError):
    """An update that does not fit into memory, even with the smallest batch; the message says what to lower."""


class CutLinkError(TrainingError):
    """No gradient from the held-out error to the generator; the message names the broken link."""


class GeneratorError(TrainingError):
    """A generator that diverged, collapsed or does not help. Training continues without it."""


class DeviceError(GensegError):
    """A device or precision that this machine does not have."""


class MissingExtraError(GensegError):
    """A feature that needs an optional package that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: pip install 'genseg[{extra}]'")
