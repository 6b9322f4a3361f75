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
from genseg.data.labels import LabelMap, MaskValue, count_labels, repair_mask
from genseg.data.load import RawCase
from genseg.data.preprocess import axis_order
from genseg.lengths import SpacingUnit, length_unit, steps_in

Modality = Literal["rgb", "gray", "ct", "mr"]

AIR_HU = -500.0
"""A volume with values below this is taken for CT: air is at -1000 HU, and MR has no negative values of that size."""

_MOST_SAMPLED_VALUES = 32
_SAMPLES = 4000
_LEAST_SAMPLES = 100
_SAMPLES_IN_ALL = 500 * _SAMPLES  # so that what is kept of large sets does not grow with them


@dataclass(frozen=True)
class Measures:
    """What is kept of one case.

    counts: voxels of each stored mask value; None for a case without mask.
    image_sample: `(channel, n)` intensities, as stored, at a fixed stride over the whole image.
    mask_samples: mask value -> `(channel, n)` intensities at a fixed stride over its voxels, without the value 0.
    spacing_unit: as in `Scan`.
    """

    spatial: tuple[int, ...]
    spacing: tuple[float, ...]
    channels: int
    dtype: str
    modality: str
    lowest: float
    counts: Mapping[MaskValue, int] | None
    image_sample: NDArray[np.generic]
    mask_samples: Mapping[MaskValue, NDArray[np.generic]]
    spacing_unit: SpacingUnit = "mm"


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
    spacing_*: in `spacing_unit`: mm, or "px" where not all files state the size of their voxels.
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
    spacing_unit: SpacingUnit = "mm"

    def to_json(self) -> dict[str, Any]:
        """The figures as plain lists, numbers and strings."""
        return asdict(self)

    def rows(self) -> list[tuple[str, str]]:
        """Name and text of each figure, for printing."""
        return [
            ("cases", f"{self.cases}, {self.labelled} of them labelled, {self.empty_masks} with an empty mask"),
            ("kind", f"{self.rank}D, {self.modality}, {self.channels} channel(s), {', '.join(self.dtypes)}"),
            ("size", _range(self.size_min, self.size_median, self.size_max)),
            self._spacing_row(),
            *((f"intensity {n}", _spread(channel)) for n, channel in enumerate(self.intensities)),
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
        channels=flat.shape[0],
        dtype=str(flat.dtype),
        modality=raw.image.modality,
        lowest=float(flat.min()),
        counts=counts,
        image_sample=flat[:, :: _stride(flat.shape[1], samples)].copy(),  # a view would keep the whole image
        mask_samples={} if raw.mask is None or counts is None else _sample_values(flat, raw.mask, counts, samples),
        spacing_unit=raw.image.spacing_unit,
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
        spacing_unit="px" if any(case.spacing_unit == "px" for case in measures) else "mm",
    )


def class_counts(counts: Mapping[MaskValue, int], labels: LabelMap) -> list[int]:
    """Voxels of each class, background first; stray values count for the nearest known one."""
    values = list(counts)
    totals = np.bincount(
        _classes_of(values, labels), weights=[counts[value] for value in values], minlength=len(labels.names)
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
    classes = _classes_of(values, labels)
    chosen = [value for value, index in zip(values, classes, strict=True) if index > 0]
    return [_repeated(case.mask_samples[value], channels) for value in chosen]


def _classes_of(values: Sequence[MaskValue], labels: LabelMap) -> NDArray[np.uint8]:
    """Class of each stored value, found as for the values of a mask."""
    if not values:
        return np.zeros(0, dtype=np.uint8)
    pixels = np.array(values, dtype=np.int64).reshape(len(values), -1).T[..., None]
    return repair_mask(Scan(pixels, (1.0, 1.0), None, "", ""), labels).ravel()


def _repeated(sample: NDArray[np.generic], channels: int) -> NDArray[np.generic]:
    return np.repeat(sample, channels, axis=0) if sample.shape[0] == 1 else sample


def _distributions(samples: Sequence[NDArray[np.generic]]) -> tuple[Distribution, ...]:
    """One distribution a channel over `(channel, n)` samples."""
    if sum(sample.shape[1] for sample in samples) == 0:
        return ()
    # One channel after the other: as 64-bit numbers, those of a large set take several times what is kept of it.
    return tuple(_distribution([sample[channel] for sample in samples]) for channel in range(samples[0].shape[0]))


def _distribution(samples: Sequence[NDArray[np.generic]]) -> Distribution:
    values = np.concatenate(samples).astype(np.float64)
    low, median, high = np.percentile(values, (0.5, 50, 99.5))
    return Distribution(float(low), float(median), float(high), float(values.mean()), float(values.std()))


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


def _spread(channel: Distribution) -> str:
    return f"{channel.low:.4g} to {channel.high:.4g} (0.5 to 99.5 %), median {channel.median:.4g}"
