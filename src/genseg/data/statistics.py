"""What a data set is like: sizes, spacings, modality, intensities and classes, as a plan of training needs them.

Each case is measured once, as it is read; the measures of all cases are then summarised. No pixels are kept, only a
sample of intensities for each mask value, so that sets larger than the memory can be measured as well.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genseg.data.case import Scan
from genseg.data.labels import LabelMap, MaskValue, count_labels, nearest_classes
from genseg.data.load import RawCase
from genseg.data.preprocess import axis_order

Modality = Literal["rgb", "gray", "ct", "mr"]

AIR_HU = -500.0
"""A volume with values below this is taken for CT: air is at -1000 HU, and MR has no negative values of that size."""

_SAMPLES = 4000
_MOST_SAMPLED_VALUES = 32


@dataclass(frozen=True)
class Measures:
    """What is kept of one case.

    counts: voxels of each stored mask value; None for a case without mask.
    image_sample: `(channel, n)` intensities at a fixed stride over the whole image.
    mask_samples: mask value -> `(channel, n)` intensities at a fixed stride over its voxels, without the value 0.
    """

    spatial: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    dtype: str
    modality: str
    lowest: float
    counts: Mapping[MaskValue, int] | None
    image_sample: NDArray[np.float32]
    mask_samples: Mapping[MaskValue, NDArray[np.float32]]


@dataclass(frozen=True)
class Distribution:
    """Distribution of the values of one channel; `low` and `high` are the 0.5th and 99.5th percentile."""

    low: float
    median: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class ClassStatistics:
    """One foreground class: in how many labelled cases it is present, and its share of all labelled voxels."""

    name: str
    cases: int
    voxel_share: float


@dataclass(frozen=True)
class Statistics:
    """A data set in figures. Tuples over axes: row, column for pictures; for volumes the axes nearest to RAS+.

    rank: 2 for pictures, 3 for volumes.
    modality: "rgb", "gray", "ct" or "mr": as the data set or its files declare it, else as the values suggest.
    spacing_*: mm; 1.0 where the files say nothing.
    foreground_fraction: share of the labelled voxels that belong to any class.
    intensities: one a channel, over all voxels of all images (sampled at a fixed stride).
    foreground_intensities: the same over the voxels of all classes; empty where no voxel is labelled.
    """

    cases: int
    labelled: int
    empty_masks: int
    rank: int
    channels: int
    modality: Modality
    dtypes: tuple[str, ...]
    size_min: tuple[int, ...]
    size_median: tuple[int, ...]
    size_max: tuple[int, ...]
    spacing_min: tuple[float, ...]
    spacing_median: tuple[float, ...]
    spacing_max: tuple[float, ...]
    classes: tuple[ClassStatistics, ...]
    foreground_fraction: float
    intensities: tuple[Distribution, ...]
    foreground_intensities: tuple[Distribution, ...]

    def to_json(self) -> dict[str, Any]:
        """The figures as plain lists, numbers and strings."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of each figure, for printing."""
        return [
            ("cases", f"{self.cases}, {self.labelled} of them labelled, {self.empty_masks} with an empty mask"),
            ("kind", f"{self.rank}D, {self.modality}, {self.channels} channel(s), {', '.join(self.dtypes)}"),
            ("size", _range(self.size_min, self.size_median, self.size_max)),
            ("spacing in mm", _range(self.spacing_min, self.spacing_median, self.spacing_max)),
            *((f"intensity {n}", _spread(channel)) for n, channel in enumerate(self.intensities)),
            *((f"class {c.name}", f"in {c.cases} cases, {c.voxel_share:.2%} of the voxels") for c in self.classes),
        ]


def measure(raw: RawCase) -> Measures:
    """Measure one case; see `Measures`."""
    counts = None if raw.mask is None else count_labels(raw.mask)
    flat = raw.image.pixels.reshape(raw.image.pixels.shape[0], -1)
    order = _working_order(raw.image)
    return Measures(
        spatial=tuple(raw.image.spatial[axis] for axis in order),
        spacing=tuple(raw.image.spacing[axis] for axis in order),
        channels=flat.shape[0],
        dtype=str(flat.dtype),
        modality=raw.image.modality,
        lowest=float(flat.min()),
        counts=counts,
        image_sample=flat[:, :: _stride(flat.shape[1])].astype(np.float32),
        mask_samples={} if raw.mask is None or counts is None else _sample_values(flat, raw.mask, counts),
    )


def summarise(
    measures: Sequence[Measures], labels: LabelMap, declared_modality: str, channel_names: Sequence[str], channels: int
) -> Statistics:
    """Summarise the measures of a data set of one rank.

    channels: what every image is brought to; grey ones count as if repeated.
    declared_modality, channel_names: as the data set's own description has them, or empty.
    """
    sizes = np.array([case.spatial for case in measures])
    spacings = np.array([case.spacing for case in measures])
    counts = [class_counts(case.counts, labels) for case in measures if case.counts is not None]
    foreground = [sample for case in measures for sample in _foreground_samples(case, labels, channels)]
    voxels = np.array(counts).reshape(len(counts), len(labels.names))
    total = max(int(voxels.sum()), 1)
    return Statistics(
        cases=len(measures),
        labelled=len(counts),
        empty_masks=int((voxels[:, 1:].sum(axis=1) == 0).sum()),
        rank=sizes.shape[1],
        channels=channels,
        modality=guess_modality(measures, declared_modality, channel_names, channels),
        dtypes=tuple(sorted({case.dtype for case in measures})),
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
        intensities=_distributions([_repeated(case.image_sample, channels) for case in measures]),
        foreground_intensities=_distributions(foreground),
    )


def class_counts(counts: Mapping[MaskValue, int], labels: LabelMap) -> list[int]:
    """Voxels of each class, background first; stray values count for the nearest known one."""
    values = list(counts)
    totals = np.bincount(
        nearest_classes(values, labels), weights=[counts[value] for value in values], minlength=len(labels.names)
    )
    return [int(total) for total in totals]


def guess_modality(
    measures: Sequence[Measures], declared: str, channel_names: Iterable[str], channels: int
) -> Modality:
    """What kind of images these are: declared by the data set, declared by most files, else told by the values."""
    words = {word for text in (declared, *channel_names) for word in re.split(r"[^A-Z0-9]+", text.upper())}
    if "CT" in words:
        return "ct"
    if words & {"MR", "MRI"}:
        return "mr"
    told = Counter(case.modality for case in measures).most_common(1)[0][0]
    if told in ("ct", "mr"):
        return "ct" if told == "ct" else "mr"
    if len(measures[0].spatial) == 2:
        return "rgb" if channels == 3 else "gray"
    return "ct" if sum(case.lowest < AIR_HU for case in measures) > len(measures) / 2 else "mr"


def _working_order(scan: Scan) -> list[int]:
    """The order of a scan's axes that training works in: of volumes that nearest to RAS+, of pictures their own."""
    if scan.affine is None or len(scan.spatial) != 3:
        return list(range(len(scan.spatial)))
    from nibabel.orientations import io_orientation

    return axis_order(io_orientation(scan.affine))


def _sample_values(
    flat: NDArray[np.generic], mask: Scan, counts: Mapping[MaskValue, int]
) -> dict[MaskValue, NDArray[np.float32]]:
    """Intensities under each mask value, every value at the same stride, so that classes weigh as their voxels do."""
    black: MaskValue = 0 if mask.pixels.shape[0] == 1 else (0, 0, 0)
    frequent = [v for v, _ in Counter(counts).most_common(_MOST_SAMPLED_VALUES) if v != black]
    step = _stride(sum(counts[value] for value in frequent))
    codes = _codes(mask.pixels.reshape(mask.pixels.shape[0], -1))
    return {
        value: flat[:, np.flatnonzero(codes == _codes(np.array(value).reshape(-1, 1)))[::step]].astype(np.float32)
        for value in frequent
    }


def _codes(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(1, n)` indices or `(3, n)` colours -> `(n,)` numbers, one for each distinct value."""
    if values.shape[0] == 1:
        numbers: NDArray[np.generic] = values[0]
        return numbers
    red, green, blue = values.astype(np.int32)
    code: NDArray[np.int32] = (red << 16) | (green << 8) | blue
    return code


def _foreground_samples(case: Measures, labels: LabelMap, channels: int) -> list[NDArray[np.float32]]:
    values = list(case.mask_samples)
    classes = nearest_classes(values, labels)
    chosen = [value for value, index in zip(values, classes, strict=True) if index > 0]
    return [_repeated(case.mask_samples[value], channels) for value in chosen]


def _repeated(sample: NDArray[np.float32], channels: int) -> NDArray[np.float32]:
    return np.repeat(sample, channels, axis=0) if sample.shape[0] == 1 else sample


def _distributions(samples: Sequence[NDArray[np.float32]]) -> tuple[Distribution, ...]:
    """One distribution a channel over `(channel, n)` samples."""
    if sum(sample.shape[1] for sample in samples) == 0:
        return ()
    values = np.concatenate(samples, axis=1).astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5), axis=1)
    columns = zip(low, median, high, values.mean(axis=1), values.std(axis=1), strict=True)
    return tuple(Distribution(*map(float, column)) for column in columns)


def _stride(count: int) -> int:
    return max(1, count // _SAMPLES)


def _whole(values: NDArray[np.generic]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _decimal(values: NDArray[np.generic]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _range(least: Sequence[float], median: Sequence[float], most: Sequence[float]) -> str:
    if list(least) == list(most):
        return " x ".join(f"{value:g}" for value in least)
    parts = (" x ".join(f"{value:.4g}" for value in values) for values in (least, most, median))
    return "{} to {}, median {}".format(*parts)


def _spread(channel: Distribution) -> str:
    return f"{channel.low:.4g} to {channel.high:.4g} (0.5 to 99.5 %), median {channel.median:.4g}"
