"""The error tree: every way in which genseg refuses to go on.

::

    GensegError                 base of all; catch this to catch every refusal
    ├── DataError               files or a data set that cannot be used; holds a list of faults
    ├── SettingsError           an option or a YAML file with an impossible value
    ├── RunError                a run folder or checkpoint that is missing, broken or of another version
    ├── TrainingError           training that cannot go on (diverged, nothing to learn)
    │   ├── NotFiniteError      a loss or gradient that is not finite
    │   ├── MemoryRanOutError   an update that does not fit into memory
    │   ├── CutLinkError        a link of the joint loop that carries no gradient
    │   └── GeneratorError      a generator that diverged, collapsed or does not help
    ├── DeviceError             a device or precision that this machine does not have
    └── MissingExtraError       a feature whose optional package is not installed

A `DataError` lists *all* faults found, not the first. Each `Fault` names the file, what was found, what was
expected and the cure, under a stable `FaultCode`.
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
    """Stable names of the faults that data can have; the texts after each are its `meaning` and its usual `cure`."""

    meaning: str
    cure: str

    def __new__(cls, name: str, meaning: str, cure: str) -> Self:
        code = str.__new__(cls, name)
        code._value_, code.meaning, code.cure = name, meaning, cure
        return code

    EMPTY_FILE = "empty-file", "the file has no content", "copy or export it again, or remove it"
    UNREADABLE = (
        "unreadable",
        "the file is cut short or damaged, or the system refuses it",
        "copy or export it again; check permission, link and disk",
    )
    UNKNOWN_FORMAT = (
        "unknown-format",
        "the content is of no format that can be read",
        "convert it to a known format, or remove it",
    )
    WRONG_SUFFIX = (
        "wrong-suffix",
        "the name promises another format than the content has",
        "rename it; it was read by its content",
    )
    UNSUPPORTED_PIXELS = (
        "unsupported-pixels",
        "pixels of a kind without a clear meaning, such as CMYK or complex numbers",
        "convert them to grey or RGB numbers",
    )
    UNSUPPORTED_COMPRESSION = (
        "unsupported-compression",
        "no decoder for the file's compression is installed",
        "decompress it, or install the decoder named",
    )
    MULTI_PAGE = (
        "multi-page",
        "several pages or frames where one picture was expected",
        "save one picture a file, or --pages volume",
    )
    UNDECLARED_CHANNELS = (
        "undeclared-channels",
        "a fourth axis that nothing declares to hold channels",
        "declare the channels, or save one volume a file",
    )
    NOT_FINITE = "not-finite", "pixels that are NaN or infinite", "mend the file, or --nan-to min"
    OVERFLOW = (
        "overflow",
        "values so large that no network can compute with them",
        "replace marks for missing values, such as 3.4e38, by the background's value",
    )
    CONSTANT_IMAGE = "constant-image", "every pixel has the same value", "look at the original"
    SATURATED_IMAGE = "saturated-image", "most pixels have the highest value", "look at the original"
    SINGLE_SLICE = "single-slice", "a volume of a single slice", "for 2D models export it as a picture"
    TOO_SMALL = "too-small", "an image too small to show any anatomy", "take the original image"
    TOO_LARGE = "too-large", "more pixels than can be worked on", "crop or scale image and mask alike"
    ROTATED_BY_TAG = (
        "rotated-by-tag",
        "a picture that was turned as its orientation tag says",
        "see that image and mask still lie on each other",
    )
    INVERTED_BY_TAG = (
        "inverted-by-tag",
        "a picture that was inverted as its tag says",
        "look at it in the contact sheet",
    )
    TRANSPARENCY_DROPPED = (
        "transparency-dropped",
        "a transparency channel that was left out",
        "look at the picture if it was cut out or blended",
    )
    BAD_SPACING = (
        "bad-spacing",
        "a voxel size that is missing, impossible or contradicted",
        "export the scan again, or correct its spacing",
    )
    BAD_AFFINE = (
        "bad-affine",
        "a position in space that is impossible or contradicts itself",
        "export the scan again, or mend its header",
    )
    SERIES_INCOMPLETE = (
        "series-incomplete",
        "a DICOM series with missing or unevenly spaced slices",
        "export the series again, whole",
    )
    SERIES_MIXED = (
        "series-mixed",
        "slices of several DICOM series, sizes or spacings in one folder",
        "give each series a folder of its own",
    )
    SERIES_TILTED = (
        "series-tilted",
        "a DICOM stack that leans, as with a tilted gantry",
        "--tilt straighten, or resample it to a straight grid",
    )
    SERIES_ORIENTATION = (
        "series-orientation",
        "slices of one DICOM series that face different ways",
        "export the series again, alone",
    )
    SERIES_DUPLICATE = (
        "series-duplicate",
        "several slices of a DICOM series for one place, or with one identity",
        "export the series again; copies are left out",
    )
    SERIES_LOCALIZER = "series-localizer", "a localizer among the slices, which was left out", "remove it"
    SIZE_MISMATCH = (
        "size-mismatch",
        "a mask or channel of another size than its image",
        "export both from the same source; nothing is resized",
    )
    GEOMETRY_MISMATCH = (
        "geometry-mismatch",
        "a mask or channel that lies elsewhere in space than its image",
        "resample it onto the image, or export it again",
    )
    CHANNEL_MISMATCH = (
        "channel-mismatch",
        "another number of channels than the other images or the model have",
        "export all images with the same channels",
    )
    CHANNEL_CONTENT = (
        "channel-content",
        "a channel that shows something else than its name or the other images say",
        "put the channels of all cases in the same order",
    )
    MIXED_CHANNELS = (
        "mixed-channels",
        "grey and RGB pictures in one data set; all are treated as RGB",
        "export them alike",
    )
    MIXED_DIMENSIONS = (
        "mixed-dimensions",
        "pictures among volumes, or volumes among pictures",
        "keep them in separate data sets",
    )
    MASK_NOT_INTEGER = (
        "mask-not-integer",
        "a mask that holds fractions",
        "export labels, not probabilities; resample by nearest neighbour",
    )
    MASK_STRAY_VALUES = (
        "mask-stray-values",
        "mask values that look like the edges of a lossy format or a resizing",
        "export it without loss, or --mask-repair nearest",
    )
    MASK_TOO_MANY_COLOURS = (
        "mask-too-many-colours",
        "a mask of more colours than there can be classes",
        "export it without loss; look whether it is a photograph",
    )
    UNEXPECTED_LABEL = (
        "unexpected-label",
        "a mask value that stands for no class",
        "correct the mask, or declare the class",
    )
    IGNORE_LABEL = (
        "ignore-label",
        "pixels that masks mark to be ignored, which cannot be left out of training",
        "give them a class, or leave these cases out",
    )
    INSTANCE_IDS = (
        "instance-ids",
        "mask values that number objects instead of classes",
        "--instances merge, or name the classes",
    )
    TOO_MANY_CLASSES = (
        "too-many-classes",
        "more classes than masks can hold",
        "merge classes, or train on some of them",
    )
    SEGMENT_NAMES = (
        "segment-names",
        "a segmentation whose segments cannot be matched by name",
        "give each segment the same name in every file, without overlap",
    )
    PALETTE_MISMATCH = (
        "palette-mismatch",
        "palette masks that show the same index in other colours from file to file",
        "convert the masks to RGB, or save all with one palette",
    )
    OUTLINE_MASK = (
        "outline-mask",
        "masks that hold the outline of a structure instead of its area",
        "fill the outlines",
    )
    EMPTY_MASK = "empty-mask", "masks without foreground", "remove them if they were never labelled"
    NO_FOREGROUND = "no-foreground", "no mask has any foreground", "look at the masks: their export may have failed"
    CLASS_MISSING = (
        "class-missing",
        "a class that no training part of the split would have",
        "label more of it, or take it out of the class names",
    )
    IMAGE_WITHOUT_MASK = (
        "image-without-mask",
        "an image that no mask belongs to",
        "add the mask, or --unlabelled leave-out",
    )
    MASK_WITHOUT_IMAGE = "mask-without-image", "a mask that belongs to no image", "add the image, or remove the mask"
    DUPLICATE_NAME = "duplicate-name", "two files that would be one case", "rename or remove one of them"
    DUPLICATE_IMAGE = (
        "duplicate-image",
        "the same image, or nearly the same, more than once",
        "keep one; where the masks differ, the right one",
    )
    SPLIT_LEAK = (
        "split-leak",
        "a patient in more than one part of the split",
        "move all scans of a patient to one part",
    )
    PATIENTS_UNKNOWN = (
        "patients-unknown",
        "nothing tells for sure which images are of one patient",
        "name the patients in a CSV list (column patient)",
    )
    NOT_READ = (
        "not-read",
        "a folder, list or column that is passed over",
        "look whether it is wanted; name files in a CSV list",
    )
    LAYOUT_UNKNOWN = (
        "layout-unknown",
        "a folder of no known lay-out",
        "arrange the files in a known way, or write a CSV list",
    )
    LAYOUT_BROKEN = (
        "layout-broken",
        "a lay-out, list or description that contradicts itself or the files",
        "correct the file that is named",
    )
    OUTSIDE_FOLDER = (
        "outside-folder",
        "a link or path that leads out of the data set",
        "copy the file into it, or list it by absolute path",
    )
    UNUSABLE_NAME = (
        "unusable-name",
        "a name that results cannot have, mostly because it is too long",
        "rename the image",
    )
    UNEXPECTED = (
        "unexpected-error",
        "an error that genseg did not foresee; the other images are not affected",
        "report the place that is named; leave the image out, or export it again",
    )
    MASK_SET_ASIDE = (
        "mask-set-aside",
        "an earlier mask that was made from another image or with another model",
        "look for it in the folder replaced",
    )
    TOO_FEW_CASES = (
        "too-few-cases",
        "fewer cases or patients than the task needs",
        "label scans of more patients, or use fewer folds",
    )


@dataclass(frozen=True)
class Fault:
    """One thing wrong with one file (or with the data set as a whole, when `file` is a folder).

    `stops` is True where the data cannot be used as it is and False for a warning.
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
    nearest = difflib.get_close_matches(name.lower(), list(choices), n=1, cutoff=0.5)
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
    """Base of every error that genseg raises on purpose."""


class DataError(GensegError):
    """Files or a data set that cannot be used.

    `faults` holds every fault found, never only the first; the message has one line for each cause (`merge_faults`).
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in merge_faults(self.faults)))


class SettingsError(GensegError):
    """An option or a settings file with a value that cannot be used; the message names the key and the cure."""


class RunError(GensegError):
    """A run folder or checkpoint that is missing, broken, in use, or of another version."""


class TrainingError(GensegError):
    """Training that cannot go on; the message says at which update and what to try."""


class NotFiniteError(TrainingError):
    """A loss or gradient that is not finite."""


class MemoryRanOutError(TrainingError):
    """An update that does not fit into memory, with as few images as the training may have; says what to lower."""


class CutLinkError(TrainingError):
    """A link between the segmenter's held-out error and the generator carries no gradient; the message names it."""


class GeneratorError(TrainingError):
    """A generator that has diverged or collapsed, or does not help. Training goes on without it."""


class DeviceError(GensegError):
    """A device or precision that this machine does not have."""


class MissingExtraError(GensegError):
    """A feature was asked for whose optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: pip install 'genseg[{extra}]'")
