"""What each channel of a dataset shows, and the rule by which its values become network input.

Every channel is judged by its own name, its own files and its own values: what is known of one says nothing of another.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genseg.config import IntensityRule, Rule
from genseg.read.case import Origin

Modality = Literal["rgb", "gray", "ct", "mr", "pet", ""]
"""What a channel shows; "" where nothing tells."""

AIR_HU = -500.0
"""A volume with values below this is taken for CT: air is at -1000 HU, and neither MR nor PET has such values."""

EIGHT_BIT = 255

SHOWN = {"rgb": "RGB", "gray": "grey", "ct": "CT", "mr": "MR", "pet": "PET", "": "unknown modality"}

_SCHEMES: dict[str, Rule] = {
    "nonorm": "unchanged",
    "zscore": "z-score",
    "rescale_to_0_1": "min-max",
    "rgb_to_0_1": "eight-bit",
}
"""Channel names by which nnU-Net, version 2, chooses a rule; in small letters."""

_WORDS: dict[Modality, re.Pattern[str]] = {
    "ct": re.compile(r"CT|CTA|CTRES|CTSCAN|CBCT|CCTA|CECT|HRCT|LDCT|NCCT|NECT"),
    "mr": re.compile(r"MRI?|MRA|T[12]([A-Z]\w*)?|\w*FLAIR|ADC|B0|B\d{3,4}|DCE|DWI|HBV|PD|PDW|STIR|SWI|TOF"),
    "pet": re.compile(r"PET|PT|SUV\w*|\d*F?FDG|PSMA"),
}
"""Words of channel names, in capitals, that say what a channel shows. Not CT1: to some it is a T1 after contrast."""


@dataclass(frozen=True)
class ChannelMeasures:
    """Of one channel of one case: where it comes from, and its smallest and largest value."""

    origin: Origin
    lowest: float
    highest: float


@dataclass(frozen=True)
class Distribution:
    """Distribution of the values of one channel; `low` and `high` are the 0.5th and 99.5th percentile."""

    low: float
    median: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True)
class ChannelStatistics:
    """One channel of a dataset.

    name: as the dataset declares it, or "". modality: by its name or files, else as its values suggest. dtypes: of its
    files. values: over all voxels of all images (sampled at a fixed stride). foreground: the same over the voxels of
    all classes; None where no voxel is labelled. rule: how its values become network input.
    """

    name: str
    modality: Modality
    dtypes: tuple[str, ...]
    values: Distribution
    foreground: Distribution | None
    rule: IntensityRule

    def text(self) -> str:
        """All of it but the name, for printing."""
        spread = f"{self.values.low:.4g} to {self.values.high:.4g} (0.5 to 99.5 %), median {self.values.median:.4g}"
        return f"{SHOWN[self.modality]}, {', '.join(self.dtypes)}, {spread}; scaled by {self.rule}"


def called(number: int, name: str) -> str:
    """What a channel is called in texts."""
    return f"channel {number} ({name})" if name else f"channel {number}"


def names_of(declared: Sequence[str], channels: int) -> tuple[str, ...]:
    """The name of each channel: those declared, a single one for all; none where there are more or fewer."""
    if len(declared) == channels:
        return tuple(declared)
    return tuple(declared) * channels if len(declared) == 1 else ("",) * channels


def named_modality(text: str) -> Modality:
    """What a name says that a channel shows; "" where it says nothing, or two things."""
    words = re.split(r"[^A-Z0-9]+", text.upper())
    found = [modality for modality, known in _WORDS.items() if any(known.fullmatch(word) for word in words)]
    return found[0] if len(found) == 1 else ""


def modality_of(name: str, text: str, cases: Sequence[ChannelMeasures], rank: int) -> Modality:
    """What a channel shows: by its name, by what most of its files say, by `text`, else by its values.

    text: what the dataset says of all its channels, "" where some channel's own name tells.
    """
    told = Counter(case.origin.modality for case in cases)
    said = told.most_common(1)[0][0]
    for declared in (named_modality(name), said, named_modality(text)):
        if declared in _WORDS:
            return next(modality for modality in _WORDS if modality == declared)
    if rank == 2:
        return "rgb" if "rgb" in told else "gray"
    return "ct" if sum(case.lowest < AIR_HU for case in cases) > len(cases) / 2 else ""


def rule_of(
    name: str, modality: Modality, cases: Sequence[ChannelMeasures], foreground: Distribution | None, rank: int
) -> IntensityRule:
    """The rule for a channel: that of nnU-Net's words where it is so named, else by its type, modality and values."""
    asked = _SCHEMES.get(name.casefold())
    if asked is not None and (asked != "eight-bit" or fits_eight_bits(cases)):
        return IntensityRule(channel=name, rule=asked)
    if rank == 2 and {case.origin.dtype for case in cases} == {"uint8"}:
        return IntensityRule(channel=name, rule="eight-bit")
    if modality == "ct" and foreground is not None and foreground.low < foreground.high:
        low, high, mean, std = foreground.low, foreground.high, foreground.mean, foreground.std
        return IntensityRule(channel=name, rule="window", low=low, high=high, mean=mean, std=std)
    return IntensityRule(channel=name, rule="percentile" if rank == 2 else "z-score")


def fits_eight_bits(cases: Sequence[ChannelMeasures]) -> bool:
    """Whether all values of a channel lie within 0..255."""
    return all(case.lowest >= 0 and case.highest <= EIGHT_BIT for case in cases)


def distributions(samples: Sequence[NDArray[np.generic]]) -> tuple[Distribution, ...]:
    """One distribution a channel over `(channel, n)` samples; none where there are no values."""
    if sum(sample.shape[1] for sample in samples) == 0:
        return ()
    # Channel by channel: over all at once, sums are rounded as their number has it, and take several times the memory.
    return tuple(_distribution([sample[channel] for sample in samples]) for channel in range(len(samples[0])))


def _distribution(samples: Sequence[NDArray[np.generic]]) -> Distribution:
    values = np.concatenate(samples).astype(np.float64)
    low, median, high = (float(bound) for bound in np.percentile(values, (0.5, 50, 99.5)))
    return Distribution(low, median, high, float(values.mean()), float(values.std()))
