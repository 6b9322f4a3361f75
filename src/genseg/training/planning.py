"""From what the data are like and what the machine can do to a plan of training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from genseg.config import IntensityRule, Plan, Settings
from genseg.data.labels import LabelMap
from genseg.data.statistics import Statistics
from genseg.errors import SettingsError
from genseg.segmenters.registry import default_segmenter, segmenter_spec
from genseg.training.device import Machine

MULTIPLE = 16
"""Sizes of pictures are multiples of it: four halvings without remainder."""

SIZE = {"cpu": 128, "cuda": 256}
UPDATES = {2: {"cpu": 750, "cuda": 3000}, 3: {"cpu": 400, "cuda": 3000}}
PATCH_VOXELS = {"cpu": 64**3 // 2, "cuda": 128**3}
BATCH_VOXELS = {"cpu": 64**3, "cuda": 2 * 128**3}
BATCH_PICTURES = {"cpu": 8, "cuda": 16}

SIDED = re.compile(r"(?i)(?<![a-z])(left|right|l|r)(?![a-z])")


def make_plan(statistics: Statistics, labels: LabelMap, settings: Settings, machine: Machine) -> Plan:
    """Derive a complete plan; what `settings` gives is kept.

    Raises SettingsError for a segmenter that does not exist or does not work on the data's dimensions, or a flip axis
    that the data do not have.
    """
    rank, kind = statistics.rank, "cuda" if machine.device.type == "cuda" else "cpu"
    name = settings.segmenter or default_segmenter(rank)
    spec = segmenter_spec(name, rank)
    patch_size = _picture_size(statistics, settings, kind) if rank == 2 else _volume_patch(statistics, kind)
    return Plan(
        rank=2 if rank == 2 else 3,
        channels=statistics.channels,
        class_names=labels.names,
        intensity=_intensity(statistics),
        spacing=None if rank == 2 else _spacing(statistics),
        patch_size=patch_size,
        segmenter=name,
        batch_size=settings.batch_size or _batch_size(patch_size, kind),
        updates=settings.updates or UPDATES[rank][kind],
        learning_rate=settings.learning_rate or spec.learning_rate,
        augmentation=settings.augmentation,
        flip_axes=_flip_axes(settings, rank, labels.names),
    )


def _picture_size(statistics: Statistics, settings: Settings, kind: str) -> tuple[int, ...]:
    """Rows and columns with the median picture's aspect and as many pixels as a square of the size asked for."""
    rows, columns = statistics.size_median
    side = settings.size or min(SIZE[kind], math.isqrt(rows * columns))
    aspect = min(max(rows / columns, 0.25), 4.0)
    return tuple(_multiple(side * root) for root in (math.sqrt(aspect), math.sqrt(1 / aspect)))


def _multiple(size: float, of: int = MULTIPLE) -> int:
    return max(of, round(size / of) * of)


def _spacing(statistics: Statistics) -> tuple[float, float, float]:
    first, second, third = (float(step) for step in statistics.spacing_median)
    return first, second, third


def _volume_patch(statistics: Statistics, kind: str) -> tuple[int, ...]:
    """The median volume rounded up to multiples of 8, its longest axes cut until it fits the machine."""
    patch = [math.ceil(size / 8) * 8 for size in statistics.size_median]
    while math.prod(patch) > PATCH_VOXELS[kind]:
        patch[patch.index(max(patch))] -= 8
    return tuple(patch)


def _batch_size(patch_size: Sequence[int], kind: str) -> int:
    if len(patch_size) == 2:
        return BATCH_PICTURES[kind]
    return min(8, max(2, BATCH_VOXELS[kind] // math.prod(patch_size)))


def _intensity(statistics: Statistics) -> IntensityRule:
    if statistics.rank == 2 and set(statistics.dtypes) == {"uint8"}:
        return IntensityRule(rule="eight-bit")
    if statistics.modality == "ct" and statistics.foreground_intensities:
        window = statistics.foreground_intensities[0]
        return IntensityRule(
            rule="window", low=window.low, high=window.high, mean=window.mean, std=max(window.std, 1e-3)
        )
    return IntensityRule(rule="percentile" if statistics.rank == 2 else "z-score")


def _flip_axes(settings: Settings, rank: int, names: Sequence[str]) -> tuple[int, ...]:
    every = tuple(range(rank))
    if isinstance(settings.flips, tuple):
        if not set(settings.flips) <= set(every):
            raise SettingsError(f"flips: {settings.flips} names an axis that {rank}D data do not have; choose of {every}")
        return settings.flips
    if settings.flips == "none" or (settings.flips == "auto" and any(SIDED.search(name) for name in names)):
        return ()
    return every
