"""From the files of a case to the case: channels merged, image and mask compared, labels mapped.

The check, training and evaluation all read through here, so that what was checked is what is trained on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import printable
from genseg.base.free_memory import memory_budget
from genseg.choices import Instances, MaskRepair, Unlabelled
from genseg.errors import DataError, Fault, FaultCode
from genseg.index import Index
from genseg.labels import LabelMap, repair_mask
from genseg.read import ReadOptions, read_image, read_mask
from genseg.read.case import Case, CaseFiles, Origin, Scan
from genseg.read.turning import displacement, tolerance, turned_onto

LEAST_SIDE = 8
"""Fewest pixels that the two longest sides of an image must have: less holds no anatomy, only a broken export."""

LARGEST_VALUE = 1e18
"""Pixel values stay below it: the square of a larger one is more than float32 can hold. No device measures so much."""

KEPT_FOR_A_LOOK = 32 * 2**20
"""Bytes of pixels that a check keeps where no training follows: enough for the pictures of a contact sheet."""

_SATURATED_SHARE = 0.5


@dataclass(frozen=True)
class LoadOptions:
    """How files become cases.

    read: how files are decoded.
    mask_repair: "stop" at masks with stray values (a lossy format's edge values), or "nearest" to read each stray value
        as the nearest known one. The files stay as they are.
    unlabelled: "stop" at images without a mask, or "leave-out".
    instances: "stop" at masks whose values number objects, or "merge" all values but 0 into one class.
    """

    read: ReadOptions = field(default_factory=ReadOptions)
    mask_repair: MaskRepair = "stop"
    unlabelled: Unlabelled = "stop"
    instances: Instances = "stop"

    def suited_to(self, index: Index) -> LoadOptions:
        """These, with channels on the last axis of volumes where the dataset declares that."""
        channels_last = self.read.channels_last_axis or index.channels_last_axis
        return replace(self, read=replace(self.read, channels_last_axis=channels_last))


DEFAULT_OPTIONS = LoadOptions()
"""Stop at everything that is uncertain."""


@dataclass(frozen=True)
class RawCase:
    """A case as read: channel files merged into one scan, mask values not yet mapped to classes.

    origins: where each channel of the image comes from.
    """

    files: CaseFiles
    image: Scan
    mask: Scan | None
    origins: tuple[Origin, ...]

    @classmethod
    def of(cls, files: CaseFiles, scans: Sequence[Scan], mask: Scan | None) -> RawCase:
        """The case of these channel files, in their order, and this mask."""
        origins = [
            Origin(path, number, scan.modality, str(scan.pixels.dtype), scan.sha256)
            for path, scan in zip(files.images, scans, strict=True)
            for number in range(len(scan.pixels))
        ]
        return cls(files, _merge(files, scans), mask, tuple(origins))

    @property
    def nbytes(self) -> int:
        """Memory that the pixels of image and mask take, in bytes."""
        return self.image.pixels.nbytes + (0 if self.mask is None else self.mask.pixels.nbytes)

    @property
    def warnings(self) -> tuple[Fault, ...]:
        """Warnings about the image and the mask."""
        return self.image.warnings + (() if self.mask is None else self.mask.warnings)


def read_raw_case(files: CaseFiles, options: LoadOptions = DEFAULT_OPTIONS) -> RawCase:
    """Read the files of one case and compare them. Where a mask or a further channel lies on the grid of the (first)
    image with its axes in another order or direction, it is turned, without a change to any voxel.

    Raises DataError with all faults of the case: each file that cannot be read, channel files or a mask of another size
    or geometry than the image, an image too small to hold anything.
    """
    faults: list[Fault] = []
    scans = [_collect(read_image, path, options.read, faults) for path in files.images]
    mask = None if files.mask is None else _collect(read_mask, files.mask, options.read, faults)
    channels = [(path, scan) for path, scan in zip(files.images, scans, strict=True) if scan is not None]
    if channels:
        image = channels[0][1]
        mask = None if mask is None or files.mask is None else _turned(files.mask, mask, image)
        first, *others = channels = [(path, _turned(path, scan, image)) for path, scan in channels]
        faults += [fault for path, scan in channels for fault in too_large_values(scan.pixels, printable(path))]
        faults += _too_small(*first)
        if mask is not None and files.mask is not None:
            others.append((files.mask, mask))
        faults += [fault for other in others for fault in _differences(*first, *other)]
    if faults:
        raise DataError(faults)
    return RawCase.of(files, [scan for _, scan in channels], mask)


def _turned(path: Path, scan: Scan, image: Scan) -> Scan:
    """A scan turned onto the image where it lies on the same grid, with a warning that says so."""
    turned = turned_onto(scan, image)
    if turned is scan:
        return scan
    found, expected = f"axes {_orientation(scan)}", f"{_orientation(image)}, as the image has"
    cure = "It was turned on reading; no voxel changed its value or its place."
    return replace(
        turned,
        warnings=(*turned.warnings, _warning(FaultCode.GEOMETRY_MISMATCH, path, found, expected, cure)),
    )


def class_indices(mask: Scan, labels: LabelMap, mask_repair: MaskRepair, file: str) -> NDArray[np.uint8]:
    """Class indices `(*spatial)` of a mask. file: how it is called in a fault.

    Raises as `LabelMap.apply`, or `repair_mask`.
    """
    repair = mask_repair == "nearest" and not labels.is_named(mask)
    return repair_mask(mask, labels, file) if repair else labels.apply(mask, file)


def to_case(
    raw: RawCase,
    labels: LabelMap | None,
    channels: int | None,
    mask_repair: MaskRepair = "stop",
) -> Case:
    """Map the mask's values to class indices and bring the image to the dataset's number of channels.

    labels: None leaves the case without a mask.
    channels: None keeps the image's own; a grey image is repeated where the set has more, any other difference raises
        DataError(CHANNEL_MISMATCH).
    Values of the mask that are no classes raise as in `class_indices`.
    """
    image, mask = raw.image, None
    if raw.mask is not None and labels is not None:
        mask = class_indices(raw.mask, labels, mask_repair, printable(raw.files.mask or raw.files.name))
    return Case(
        name=raw.files.name,
        image=_with_channels(raw, channels),
        mask=mask,
        spacing=image.spacing,
        affine=image.affine,
        patient=raw.files.patient,
        modality=image.modality,
        sha256=image.sha256,
        warnings=raw.warnings,
        spacing_unit=image.spacing_unit,
    )


class CaseStore(Sequence[Case]):
    """The cases of a dataset, decoded once: kept in memory up to a byte budget, read again on access beyond it.

    Slices and `select` give stores of fewer cases that share the memory.
    """

    def __init__(
        self,
        entries: Sequence[CaseFiles],
        labels: LabelMap | None,
        channels: int | None = None,
        options: LoadOptions = DEFAULT_OPTIONS,
        budget: int | None = None,
    ) -> None:
        """entries: where the cases lie; labels, channels: as in `to_case`; budget: bytes, `memory_budget()` if None."""
        self.entries = tuple(entries)
        self._labels = labels
        self._channels = channels
        self._options = options
        self._budget = memory_budget() if budget is None else budget
        self._kept = _Kept()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cases, in order."""
        return tuple(files.name for files in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @overload
    def __getitem__(self, place: int) -> Case: ...

    @overload
    def __getitem__(self, place: slice) -> CaseStore: ...

    def __getitem__(self, place: int | slice) -> Case | CaseStore:
        if isinstance(place, slice):
            return self._sharing(self.entries[place])
        files = self.entries[place]
        kept = self._kept.cases.get(files.name)
        return self.keep(read_raw_case(files, self._options)) if kept is None else kept

    def select(self, names: Sequence[str]) -> CaseStore:
        """The cases of these names, in this order. Raises KeyError for a name that is not in the store."""
        by_name = {files.name: files for files in self.entries}
        return self._sharing([by_name[name] for name in names])

    def keep(self, raw: RawCase) -> Case:
        """The case of `raw`, kept in memory if the budget still allows it."""
        case = to_case(raw, self._labels, self._channels, self._options.mask_repair)
        self._kept.add(case, self._budget)
        return case

    def _sharing(self, entries: Sequence[CaseFiles]) -> CaseStore:
        store = CaseStore(entries, self._labels, self._channels, self._options, self._budget)
        store._kept = self._kept
        return store


@dataclass
class _Kept:
    """Cases in memory, by name, and the bytes of their pixels."""

    cases: dict[str, Case] = field(default_factory=dict)
    used: int = 0

    def add(self, case: Case, budget: int) -> None:
        """Keep a case, instead of what was kept under its name, if all together take no more bytes than `budget`."""
        before = self.cases.get(case.name)
        used = self.used + _case_bytes(case) - (0 if before is None else _case_bytes(before))
        if used <= budget:
            self.cases[case.name], self.used = case, used


def _case_bytes(case: Case) -> int:
    return case.image.nbytes + (0 if case.mask is None else case.mask.nbytes)


def _collect(
    read: Callable[[Path, ReadOptions], Scan], path: Path, options: ReadOptions, faults: list[Fault]
) -> Scan | None:
    """Read one file; what is wrong with it goes to `faults`, so that the other files are still looked at."""
    try:
        return read(path, options)
    except DataError as error:
        faults.extend(error.faults)
        return None


def _merge(files: CaseFiles, scans: Sequence[Scan]) -> Scan:
    """One scan of all channel files, in their order."""
    first = scans[0]
    merged = first
    if len(scans) > 1:
        merged = replace(
            first,
            pixels=np.concatenate([scan.pixels for scan in scans]),
            modality=first.modality if len({scan.modality for scan in scans}) == 1 else "",
            sha256=hashlib.sha256("".join(scan.sha256 for scan in scans).encode()).hexdigest(),
        )
    warnings = [one for path, scan in zip(files.images, scans, strict=True) for one in _scan_warnings(path, scan)]
    return replace(merged, warnings=(*warnings, *_constant(files.images[0], merged.pixels)))


def _with_channels(raw: RawCase, channels: int | None) -> NDArray[np.generic]:
    pixels = raw.image.pixels
    if channels is None or channels == pixels.shape[0]:
        return pixels
    if pixels.shape[0] == 1:
        return np.repeat(pixels, channels, axis=0)
    raise DataError([channel_mismatch(raw.files, pixels.shape[0], channels)])


def channel_mismatch(files: CaseFiles, found: int, expected: int) -> Fault:
    """The fault of an image with another number of channels than its set or model."""
    return Fault(
        FaultCode.CHANNEL_MISMATCH,
        printable(files.images[0]),
        f"{found} channel{'s' * (found != 1)}",
        f"{expected}, as the other images have",
        "Export all images with the same channels, in the same order.",
    )


def _scan_warnings(path: Path, scan: Scan) -> tuple[Fault, ...]:
    """The reader's warnings about a file, and what is odd about it without being a reason to stop."""
    found = [*scan.warnings, *_saturated(path, scan)]
    if len(scan.spatial) == 3 and 1 in scan.spatial:
        text = f"a volume of a single slice, {_size(scan.spatial)}"
        cure = "It is used as it is; for 2D models export it as a 2D image."
        found.append(_warning(FaultCode.SINGLE_SLICE, path, text, "several slices", cure))
    return tuple(found)


def _saturated(path: Path, scan: Scan) -> list[Fault]:
    """One warning for the channels of a file that are mostly at their highest value; colours are looked at together."""
    if not np.issubdtype(scan.pixels.dtype, np.integer):
        return []
    parts = [scan.pixels] if scan.modality == "rgb" else list(scan.pixels)
    shares = [np.count_nonzero(part == part.max()) / part.size if np.ptp(part) else 0.0 for part in parts]
    said = [
        f"{share:.0%} of the pixels{f' of channel {number}' if len(parts) > 1 else ''} have the highest value, {most}"
        for number, (share, most) in enumerate(zip(shares, (part.max() for part in parts), strict=True))
        if share > _SATURATED_SHARE
    ]
    cure = "Check the original: it may be over-exposed or clipped by its export."
    expected = "contrast within the anatomy"
    return [_warning(FaultCode.SATURATED_IMAGE, path, "; ".join(said), expected, cure)] if said else []


def _constant(path: Path, pixels: NDArray[np.generic]) -> list[Fault]:
    """A warning for an image `(channel, *spatial)` in which nothing is to be seen, in no channel.

    Single channels that are the same all over are a matter of the whole set; see `genseg.examine.channel_faults`.
    """
    if any(np.ptp(channel) for channel in pixels):
        return []
    values = ", ".join(dict.fromkeys(str(channel.flat[0]) for channel in pixels))
    cure = "Check the original: an exposure or an export may have failed."
    return [_warning(FaultCode.CONSTANT_IMAGE, path, f"every pixel is {values}", "an image", cure)]


def _warning(code: FaultCode, path: Path, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, printable(path), found, expected, cure, stops=False)


def too_large_values(pixels: NDArray[np.generic], file: str) -> list[Fault]:
    """The fault of an image whose values overflow when they are computed with; file: how it is called."""
    low, high = float(pixels.min()), float(pixels.max())
    if max(-low, high) < LARGEST_VALUE:
        return []
    marked = int(np.count_nonzero(np.abs(pixels.astype(np.float64)) >= LARGEST_VALUE))
    found = f"values from {low:.2g} to {high:.2g}, {marked} of {pixels.size} beyond what can be computed with"
    cure = "They are likely marks for missing values: replace them by the background's value."
    return [
        Fault(FaultCode.OVERFLOW, file, found, f"values of less than {LARGEST_VALUE:g}, positive or negative", cure)
    ]


def _too_small(path: Path, scan: Scan) -> list[Fault]:
    if sorted(scan.spatial)[-2] >= LEAST_SIDE:
        return []
    cure = "Take the original image; this one may be a thumbnail or a broken export."
    expected = f"at least {LEAST_SIDE} x {LEAST_SIDE}"
    return [Fault(FaultCode.TOO_SMALL, printable(path), f"an image of {_size(scan.spatial)}", expected, cure)]


def _differences(path: Path, image: Scan, other_path: Path, other: Scan) -> list[Fault]:
    """What keeps `other` (a mask, or a further channel) from lying on `image`, voxel on voxel."""
    if image.spatial != other.spatial:
        return [_size_mismatch(path, image, other_path, other)]
    if image.affine is None or other.affine is None or "px" in (image.spacing_unit, other.spacing_unit):
        return []
    gap, allowed = displacement(image.spatial, image.affine, other.affine), tolerance(image)
    return [] if gap <= allowed else [_geometry_mismatch(path, image, other_path, other, gap, allowed)]


def _size_mismatch(path: Path, image: Scan, other_path: Path, other: Scan) -> Fault:
    cure = "Export both from the same source at the same size; nothing is resized here."
    if sorted(image.spatial) == sorted(other.spatial):
        cure = "It would fit with its axes swapped: export it again in the image's orientation."
    if any(fault.code is FaultCode.ROTATED_BY_TAG for fault in image.warnings):
        cure += " The image was turned as its EXIF tag says; the mask has to be drawn on the turned image."
    return Fault(
        FaultCode.SIZE_MISMATCH,
        printable(other_path),
        f"size {_size(other.spatial)}",
        f"{_size(image.spatial)}, the size of {printable(path.name)}",
        cure,
    )


def _geometry_mismatch(path: Path, image: Scan, other_path: Path, other: Scan, gap: float, tolerance: float) -> Fault:
    axes, other_axes = _orientation(image), _orientation(other)
    turned = "" if axes == other_axes else f", axes {other_axes} where the image has {axes}"
    return Fault(
        FaultCode.GEOMETRY_MISMATCH,
        printable(other_path),
        f"its affine puts voxels up to {gap:.3g} mm from where {printable(path.name)} has them{turned}",
        f"the same place within {tolerance:.3g} mm",
        "Resample it onto the image, or export it again from the same series.",
    )


def _orientation(scan: Scan) -> str:
    """Directions of the voxel axes, such as RAS. nibabel is loaded here because only this message needs it."""
    from nibabel.orientations import aff2axcodes

    return "".join(code or "?" for code in aff2axcodes(scan.affine))


def _size(spatial: Sequence[int]) -> str:
    return " x ".join(map(str, spatial))
