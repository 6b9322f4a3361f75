"""What a dataset is like: sizes, spacings, modality, intensities and classes, as a plan of training needs them.

Each case is measured once, as it is read; the measures of all cases are then summarised. No pixels are kept, only a
sample of intensities for each mask value, so that sets larger than the memory can be measured as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.base.lengths import SpacingUnit, length_unit, steps_in
from genseg.examine.cases import RawCase
from genseg.examine.channels import (
    SHOWN,
    ChannelMeasures,
    ChannelStatistics,
    called,
    distributions,
    modality_of,
    named_modality,
    names_of,
    rule_of,
)
from genseg.labels import LabelMap, MaskValue, count_labels, nearest_classes
from genseg.prepare.preprocess import axis_order
from genseg.read.case import Scan

_MOST_SAMPLED_VALUES = 32
_SPECK = 4
_SAMPLES = 4000
_LEAST_SAMPLES = 100
_SAMPLES_IN_ALL = 500 * _SAMPLES  # so that what is kept of large sets does not grow with them


@dataclass(frozen=True)
class Measures:
    """What is kept of one case.

    by_channel: where each channel comes from, and its bounds.
    counts: voxels of each stored mask value; None for a case without mask.
    image_sample: `(channel, n)` intensities, as stored, at a fixed stride over the whole image.
    mask_samples: mask value -> `(channel, n)` intensities at a fixed stride over its voxels, without the value 0.
    spacing_unit: as in `Scan`.
    object_width: of a picture's mask, see `Statistics`; None for other cases, and where there is no object.
    """

    spatial: tuple[int, ...]
    spacing: tuple[float, ...]
    by_channel: tuple[ChannelMeasures, ...]
    counts: Mapping[MaskValue, int] | None
    image_sample: NDArray[np.generic]
    mask_samples: Mapping[MaskValue, NDArray[np.generic]]
    spacing_unit: SpacingUnit = "mm"
    object_width: float | None = None

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.by_channel)


@dataclass(frozen=True)
class ClassStatistics:
    """One foreground class: in how many labelled cases it is present, and its share of all labelled voxels."""

    name: str
    cases: int
    voxel_share: float


@dataclass(frozen=True)
class Statistics:
    """A dataset in figures. Tuples over axes: row, column for pictures; for volumes the axes nearest to RAS+.

    rank: 2 for pictures, 3 for volumes.
    modality: what the channels show, such as "rgb", "ct" or "pet, ct"; "" where nothing tells.
    spacing_*: in `spacing_unit`: mm, or "px" where not all files state the size of their voxels.
    foreground_fraction: share of the labelled voxels that belong to any class.
    by_channel: name, values and intensity rule of each channel.
    object_width: of pictures, what the smaller objects measure: the root of an object's area as a share of the root of
    the image's, its median within each image, and of images the lower quartile. 0 where there are none, and of volumes.
    """

    cases: int
    labelled: int
    empty_masks: int
    rank: int
    channels: int
    modality: str
    dtypes: tuple[str, ...]
    size_min: tuple[int, ...]
    size_median: tuple[int, ...]
    size_max: tuple[int, ...]
    spacing_min: tuple[float, ...]
    spacing_median: tuple[float, ...]
    spacing_max: tuple[float, ...]
    classes: tuple[ClassStatistics, ...]
    foreground_fraction: float
    by_channel: tuple[ChannelStatistics, ...]
    spacing_unit: SpacingUnit = "mm"
    object_width: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The figures as plain lists, numbers and strings."""
        by_channel = [asdict(channel) | {"rule": channel.rule.model_dump(mode="json")} for channel in self.by_channel]
        return asdict(self) | {"by_channel": by_channel}

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of each figure, for printing."""
        return [
            ("cases", f"{self.cases}, {self.labelled} of them labelled, {self.empty_masks} with an empty mask"),
            ("kind", f"{self.rank}D, {self._shown()}, {self.channels} channel(s), {', '.join(self.dtypes)}"),
            ("size", _range(self.size_min, self.size_median, self.size_max)),
            self._spacing_row(),
            *((called(n, channel.name), channel.text()) for n, channel in enumerate(self.by_channel)),
            *(
                [("objects", f"the smaller ones {self.object_width:.1%} of the image's side")]
                if self.object_width
                else []
            ),
            *((f"class {c.name}", f"in {c.cases} cases, {c.voxel_share:.2%} of the voxels") for c in self.classes),
        ]

    def _spacing_row(self) -> tuple[str, str]:
        unit = length_unit(self.spacing_median, self.spacing_unit)
        spacings = (self.spacing_min, self.spacing_median, self.spacing_max)
        if unit != "px":
            return f"spacing in {unit}", _range(*(steps_in(unit, spacing) for spacing in spacings))
        elements = "pixels" if self.rank == 2 else "voxels"
        ratio = "" if len(set(sum(spacings, ()))) == 1 else f", in the ratio {_range(*spacings)}"
        return "spacing", f"unknown{ratio}: lengths are in {elements}"

    def _object_row(self) -> list[tuple[str, str]]:
        return [("objects", f"smaller ones: {self.object_width:.1%} of the image's side")] if self.object_width else []

    def _shown(self) -> str:
        return ", ".join(dict.fromkeys(SHOWN[channel.modality] for channel in self.by_channel))


def samples_of_each(cases: int) -> int:
    """How many intensities to keep of each case, of its image and again under its mask, in a set of so many."""
    return min(_SAMPLES, max(_LEAST_SAMPLES, _SAMPLES_IN_ALL // max(cases, 1)))


def measure(raw: RawCase, samples: int = _SAMPLES) -> Measures:
    """Measure one case; see `Measures`. samples: about how many intensities to keep, as `samples_of_each` says."""
    counts = None if raw.mask is None else count_labels(raw.mask)
    flat = raw.image.pixels.reshape(raw.image.pixels.shape[0], -1)
    order = _working_order(raw.image)
    return Measures(
        spatial=tuple(raw.image.spatial[axis] for axis in order),
        spacing=tuple(raw.image.spacing[axis] for axis in order),
        by_channel=tuple(
            ChannelMeasures(origin, float(values.min()), float(values.max()))
            for origin, values in zip(raw.origins, flat, strict=True)
        ),
        counts=counts,
        image_sample=flat[:, :: _stride(flat.shape[1], samples)].copy(),  # a view would keep the whole image
        mask_samples={} if raw.mask is None or counts is None else _sample_values(flat, raw.mask, counts, samples),
        spacing_unit=raw.image.spacing_unit,
        object_width=None if raw.mask is None or len(order) != 2 else _object_width(raw.mask),
    )


def _object_width(mask: Scan) -> float | None:
    """The root of the median object's area as a share of the root of the image's; objects are parts that touch."""
    from scipy.ndimage import label

    foreground = mask.pixels.any(axis=0)
    areas = np.bincount(label(foreground)[0].ravel())[1:]
    # Specks of a few pixels are slips of the pen or traces of a lossy format.
    areas = areas[areas >= max(_SPECK, areas.max(initial=0) / 100)]
    return float(np.sqrt(np.median(areas) / foreground.size)) if len(areas) else None


def summarise(
    measures: Sequence[Measures], labels: LabelMap, declared_modality: str, channel_names: Sequence[str], channels: int
) -> Statistics:
    """Summarise the measures of a dataset of one rank.

    channels: what every image is brought to; grey ones count as if repeated.
    declared_modality, channel_names: as the dataset's own description has them, or empty.
    """
    sizes = np.array([case.spatial for case in measures])
    spacings = np.array([case.spacing for case in measures])
    counts = [class_counts(case.counts, labels) for case in measures if case.counts is not None]
    voxels = np.array(counts).reshape(len(counts), len(labels.names))
    total = max(int(voxels.sum()), 1)
    by_channel = _summarise_channels(measures, labels, declared_modality, names_of(channel_names, channels))
    widths = [case.object_width for case in measures if case.object_width is not None]
    return Statistics(
        cases=len(measures),
        labelled=len(counts),
        empty_masks=int((voxels[:, 1:].sum(axis=1) == 0).sum()),
        rank=sizes.shape[1],
        channels=channels,
        modality=", ".join(dict.fromkeys(channel.modality for channel in by_channel if channel.modality)),
        dtypes=tuple(sorted({dtype for channel in by_channel for dtype in channel.dtypes})),
        size_min=_whole(sizes.min(axis=0)),
        size_median=_whole(np.median(sizes, axis=0)),
        size_max=_whole(sizes.max(axis=0)),
        spacing_min=_decimal(spacings.min(axis=0)),
        spacing_median=_decimal(np.median(spacings, axis=0)),
        spacing_max=_decimal(spacings.max(axis=0)),
        classes=tuple(
            ClassStatistics(name, int((column > 0).sum()), float(column.sum() / total))
            for name, column in zip(labels.names[1:], voxels.T[1:], strict=True)
        ),
        foreground_fraction=float(voxels[:, 1:].sum() / total),
        by_channel=by_channel,
        spacing_unit="px" if any(case.spacing_unit == "px" for case in measures) else "mm",
        object_width=float(np.quantile(widths, 0.25)) if widths else 0.0,
    )


def class_counts(counts: Mapping[MaskValue, int], labels: LabelMap) -> list[int]:
    """Voxels of each class, background first; stray values count for the nearest known one."""
    values = list(counts)
    totals = np.bincount(
        nearest_classes(values, labels), weights=[counts[value] for value in values], minlength=len(labels.names)
    )
    return [int(total) for total in totals]


def _summarise_channels(
    measures: Sequence[Measures], labels: LabelMap, declared_modality: str, names: Sequence[str]
) -> tuple[ChannelStatistics, ...]:
    """Each channel by itself. names: one a channel."""
    channels, rank = len(names), len(measures[0].spatial)
    text = "" if any(map(named_modality, names)) else declared_modality
    by_channel = [case.by_channel * channels if case.channels == 1 else case.by_channel for case in measures]
    values = distributions([_repeated(case.image_sample, channels) for case in measures])
    foreground = distributions([one for case in measures for one in _foreground_samples(case, labels, channels)])
    found = []
    for number, (name, cases) in enumerate(zip(names, zip(*by_channel, strict=True), strict=True)):
        modality = modality_of(name, text, cases, rank)
        inside = foreground[number] if foreground else None
        rule = rule_of(name, modality, cases, inside, rank)
        dtypes = tuple(sorted({case.origin.dtype for case in cases}))
        found.append(ChannelStatistics(name, modality, dtypes, values[number], inside, rule))
    return tuple(found)


def _working_order(scan: Scan) -> list[int]:
    """The order of a scan's axes that training works in: of volumes that nearest to RAS+, of pictures their own."""
    if scan.affine is None or len(scan.spatial) != 3:
        return list(range(len(scan.spatial)))
    from nibabel.orientations import io_orientation

    return axis_order(io_orientation(scan.affine))


def _sample_values(
    flat: NDArray[np.generic], mask: Scan, counts: Mapping[MaskValue, int], samples: int
) -> dict[MaskValue, NDArray[np.generic]]:
    """Intensities under each mask value, every value at the same stride, so that classes weigh as their voxels do."""
    black: MaskValue = 0 if mask.pixels.shape[0] == 1 else (0, 0, 0)
    frequent = [v for v, _ in Counter(counts).most_common(_MOST_SAMPLED_VALUES) if v != black]
    step = _stride(sum(counts[value] for value in frequent), samples)
    codes = _codes(mask.pixels.reshape(mask.pixels.shape[0], -1))
    return {
        value: flat[:, np.flatnonzero(codes == _codes(np.array(value).reshape(-1, 1)))[::step]] for value in frequent
    }


def _codes(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(1, n)` indices or `(3, n)` colours -> `(n,)` numbers, one for each distinct value."""
    if values.shape[0] == 1:
        numbers: NDArray[np.generic] = values[0]
        return numbers
    red, green, blue = values.astype(np.int32)
    code: NDArray[np.int32] = (red << 16) | (green << 8) | blue
    return code


def _foreground_samples(case: Measures, labels: LabelMap, channels: int) -> list[NDArray[np.generic]]:
    values = list(case.mask_samples)
    classes = nearest_classes(values, labels)
    chosen = [value for value, index in zip(values, classes, strict=True) if index > 0]
    return [_repeated(case.mask_samples[value], channels) for value in chosen]


def _repeated(sample: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    return np.repeat(sample, channels, axis=0) if sample.shape[0] == 1 else sample


def _stride(count: int, samples: int) -> int:
    return max(1, count // samples)


def _whole(values: NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _decimal(values: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _range(least: Sequence[float], median: Sequence[float], most: Sequence[float]) -> str:
    if list(least) == list(most):
        return " x ".join(f"{value:g}" for value in least)
    parts = (" x ".join(f"{value:.4g}" for value in values) for values in (least, most, median))
    return "{} to {}, median {}".format(*parts)
