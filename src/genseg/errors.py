"""The error tree: every way in which genseg refuses to go on.

::

    GensegError                 base of all; catch this to catch every refusal
    ├── DataError               files or a data set that cannot be used; holds a list of faults
    ├── SettingsError           an option or a YAML file with an impossible value
    ├── RunError                a run folder or checkpoint that is missing, broken or of another version
    ├── TrainingError           training that cannot go on (diverged, nothing to learn)
    │   ├── NotFiniteError      a loss or gradient that is not finite
    │   ├── CutLinkError        a link of the joint loop that carries no gradient
    │   └── GeneratorError      a generator that diverged or collapsed
    ├── DeviceError             a device or precision that this machine does not have
    └── MissingExtraError       a feature whose optional package is not installed

A `DataError` lists *all* faults found, not the first. Each `Fault` names the file, what was found, what was
expected and the cure, under a stable `FaultCode`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class FaultCode(StrEnum):
    """Stable names of the faults that data can have; the text after each is its meaning."""

    EMPTY_FILE = "empty-file"
    UNREADABLE = "unreadable"
    UNKNOWN_FORMAT = "unknown-format"
    WRONG_SUFFIX = "wrong-suffix"
    UNSUPPORTED_PIXELS = "unsupported-pixels"
    UNSUPPORTED_COMPRESSION = "unsupported-compression"
    MULTI_PAGE = "multi-page"
    UNDECLARED_CHANNELS = "undeclared-channels"
    NOT_FINITE = "not-finite"
    CONSTANT_IMAGE = "constant-image"
    SATURATED_IMAGE = "saturated-image"
    SINGLE_SLICE = "single-slice"
    TOO_SMALL = "too-small"
    TOO_LARGE = "too-large"
    ROTATED_BY_TAG = "rotated-by-tag"
    INVERTED_BY_TAG = "inverted-by-tag"
    TRANSPARENCY_DROPPED = "transparency-dropped"
    BAD_SPACING = "bad-spacing"
    BAD_AFFINE = "bad-affine"
    SERIES_INCOMPLETE = "series-incomplete"
    SERIES_MIXED = "series-mixed"
    SERIES_TILTED = "series-tilted"
    SERIES_ORIENTATION = "series-orientation"
    SERIES_DUPLICATE = "series-duplicate"
    SERIES_LOCALIZER = "series-localizer"
    SIZE_MISMATCH = "size-mismatch"
    GEOMETRY_MISMATCH = "geometry-mismatch"
    CHANNEL_MISMATCH = "channel-mismatch"
    MIXED_CHANNELS = "mixed-channels"
    MIXED_DIMENSIONS = "mixed-dimensions"
    MASK_NOT_INTEGER = "mask-not-integer"
    MASK_STRAY_VALUES = "mask-stray-values"
    MASK_TOO_MANY_COLOURS = "mask-too-many-colours"
    UNEXPECTED_LABEL = "unexpected-label"
    EMPTY_MASK = "empty-mask"
    NO_FOREGROUND = "no-foreground"
    CLASS_MISSING = "class-missing"
    IMAGE_WITHOUT_MASK = "image-without-mask"
    MASK_WITHOUT_IMAGE = "mask-without-image"
    DUPLICATE_NAME = "duplicate-name"
    DUPLICATE_IMAGE = "duplicate-image"
    SPLIT_LEAK = "split-leak"
    LAYOUT_UNKNOWN = "layout-unknown"
    LAYOUT_BROKEN = "layout-broken"
    OUTSIDE_FOLDER = "outside-folder"
    TOO_FEW_CASES = "too-few-cases"


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


class GensegError(Exception):
    """Base of every error that genseg raises on purpose."""


class DataError(GensegError):
    """Files or a data set that cannot be used. `faults` holds every fault found, never only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class SettingsError(GensegError):
    """An option or a settings file with a value that cannot be used; the message names the key and the cure."""


class RunError(GensegError):
    """A run folder or checkpoint that is missing, broken, in use, or of another version."""


class TrainingError(GensegError):
    """Training that cannot go on; the message says at which update and what to try."""


class NotFiniteError(TrainingError):
    """A loss or gradient that is not finite."""


class CutLinkError(TrainingError):
    """A link between the segmenter's held-out error and the generator carries no gradient; the message names it."""


class GeneratorError(TrainingError):
    """A generator that has diverged or collapsed. Training goes on without it."""


class DeviceError(GensegError):
    """A device or precision that this machine does not have."""


class MissingExtraError(GensegError):
    """A feature was asked for whose optional package is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package}: pip install 'genseg[{extra}]'")
