"""What is odd about single channels of a dataset, though every case can be read: none of it stops, all of it is said.

One warning a channel and cause, with the number of cases and the names of the first few.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from genseg.base.files import printable
from genseg.config import IntensityRule, Rule
from genseg.errors import Fault, FaultCode, listed
from genseg.examine.channels import AIR_HU, SHOWN, ChannelStatistics, called, fits_eight_bits, named_modality
from genseg.examine.one_pass import Reading
from genseg.examine.statistics import Statistics
from genseg.index import Index
from genseg.prepare.preprocess import scale_channel

LEAST_CONTRAST = 0.01
"""Of what images usually have after scaling: with less there is nothing to see."""

_SAME_FOR_ALL: tuple[Rule, ...] = ("eight-bit", "window", "unchanged")
"""Rules that do not look at the image that they scale."""


def channel_faults(index: Index, readings: Sequence[Reading], statistics: Statistics) -> list[Fault]:
    """Warnings about channels of one value, of other content than their name or the other cases say, and copied ones.

    Cases of one channel in a set of three, grey pictures among RGB ones, are left out.
    """
    faults = _names_that_count_for_none(index, statistics)
    whole = [reading for reading in readings if reading.measures.channels == statistics.channels]
    for number, channel in enumerate(statistics.by_channel):
        if statistics.channels > 1:
            faults += _without_contrast(index, whole, number, channel)
        faults += _lost_in_scaling(index, whole, number, channel)
        faults += _of_another_kind(index, whole, number, channel)
    return [*faults, *_swapped(index, whole, statistics), *_copied(index, whole)]


def _names_that_count_for_none(index: Index, statistics: Statistics) -> list[Fault]:
    names, channels = index.channel_names, statistics.channels
    if len(names) in (0, 1, channels):
        return []
    cure = "Name each channel in dataset.json, in the order of the channels; until then their values alone decide."
    found = f"{len(names)} channel names ({listed(names)}) for images of {channels} channel(s)"
    return [_warning(FaultCode.CHANNEL_MISMATCH, index, found, "one name for each channel", cure)]


def _without_contrast(
    index: Index, readings: Sequence[Reading], number: int, channel: ChannelStatistics
) -> list[Fault]:
    """A channel that is the same everywhere, of images in which there is something to see."""
    flat = [
        reading.files.name
        for reading in readings
        if _is_flat(reading, number) and not all(_is_flat(reading, other) for other in range(reading.measures.channels))
    ]
    if not flat:
        return []
    found = f"{called(number, channel.name)} has the same value everywhere in {_of(flat, readings)}"
    cure = "Check the originals: the channel may not have been exported. Nothing can be learned from it."
    return [_warning(FaultCode.CONSTANT_IMAGE, index, found, "an image in every channel", cure)]


def _lost_in_scaling(index: Index, readings: Sequence[Reading], number: int, channel: ChannelStatistics) -> list[Fault]:
    """A channel with something to see, of which a rule for all images leaves nothing: a case in other units, say."""
    if channel.rule.rule not in _SAME_FOR_ALL:
        return []
    contrasts = {
        reading.files.name: _contrast(reading, number, channel.rule)
        for reading in readings
        if np.ptp(reading.measures.image_sample[number]) > 0
    }
    least = LEAST_CONTRAST * float(np.median(list(contrasts.values()) or [0.0]))
    lost = [name for name, contrast in contrasts.items() if contrast <= least]
    if not lost:
        return []
    found = f"{called(number, channel.name)} is almost the same everywhere once scaled ({channel.rule}) in "
    cure = "Export these images in the units of the others, or edit the rule in the plan."
    found += _of(lost, readings)
    return [_warning(FaultCode.CONSTANT_IMAGE, index, found, "values in the range of the other images", cure)]


def _of_another_kind(index: Index, readings: Sequence[Reading], number: int, channel: ChannelStatistics) -> list[Fault]:
    """A channel whose files, or whose values, contradict its name or those of most cases."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for reading in readings:
        said = reading.measures.by_channel[number].origin.modality
        if {said, channel.modality} <= {"ct", "mr", "pet"} and said != channel.modality:
            kinds[said].append(reading.files.name)
    name, cure = (
        called(number, channel.name),
        "Put the channels of every case into the same order.",
    )
    expected = f"{SHOWN[channel.modality]}, by its name or the other images"
    faults = [
        _warning(FaultCode.CHANNEL_CONTENT, index, f"{name} is {SHOWN[kind]} in {_of(cases, readings)}", expected, cure)
        for kind, cases in kinds.items()
    ]
    measured = [reading.measures.by_channel[number] for reading in readings]
    named = named_modality(channel.name)
    if named in ("mr", "pet") and sum(one.lowest < AIR_HU for one in measured) > len(measured) / 2:
        found = f"{name} with values down to {min(one.lowest for one in measured):.4g}, as CT has them"
        faults.append(_warning(FaultCode.CHANNEL_CONTENT, index, found, f"{SHOWN[named]}, by its name", cure))
    if channel.name.casefold() == "rgb_to_0_1" and not fits_eight_bits(measured):
        found = f"{name} with values of {min(m.lowest for m in measured):.4g} to {max(m.highest for m in measured):.4g}"
        cure = f"It is scaled by {channel.rule}; choose another name or rule where that is wrong."
        faults.append(_warning(FaultCode.CHANNEL_CONTENT, index, found, "0 to 255, by its name", cure))
    return faults


def _swapped(index: Index, readings: Sequence[Reading], statistics: Statistics) -> list[Fault]:
    """Volumes with air at -1000 HU in other channels than most have it in."""
    if statistics.rank == 2 or statistics.channels == 1:
        return []
    places = {
        reading.files.name: tuple(one.lowest < AIR_HU for one in reading.measures.by_channel) for reading in readings
    }
    usual = Counter(places.values()).most_common(1)[0][0]
    odd = [name for name, place in places.items() if place != usual and sum(place) == sum(usual)]
    if not odd:
        return []
    found = f"values of a CT in another channel than most cases have them in: {_of(odd, readings)}"
    cure = "Put the channels of these cases into the order of the others."
    return [_warning(FaultCode.CHANNEL_CONTENT, index, found, "the same channels in the same order", cure)]


def _copied(index: Index, readings: Sequence[Reading]) -> list[Fault]:
    """Files of one channel that are equal to the byte, in one case or in two whose other channels differ."""
    holders: dict[tuple[str, int], list[Reading]] = defaultdict(list)
    for reading in readings:
        for one in reading.measures.by_channel if len(reading.files.images) > 1 else ():
            if one.lowest < one.highest:  # empty channels are alike, and are said to be empty
                holders[one.origin.sha256, one.origin.number].append(reading)
    copied = {
        reading.files.name: None
        for shared in holders.values()
        if len(shared) > 1 and not _are_copies(shared)
        for reading in shared
    }
    if not copied:
        return []
    found = f"channel files that are equal to the byte in {_of(list(copied), readings)}"
    cure = "Check whether a channel was copied from another, or from another case, by mistake."
    return [_warning(FaultCode.DUPLICATE_IMAGE, index, found, "a file of its own for each channel", cure)]


def _are_copies(readings: Sequence[Reading]) -> bool:
    """Whether these are different cases whose images are the same in all channels, which is said elsewhere."""
    return len({id(reading) for reading in readings}) == len(readings) and len({r.image_hash for r in readings}) == 1


def _is_flat(reading: Reading, number: int) -> bool:
    one = reading.measures.by_channel[number]
    return one.lowest == one.highest


def _contrast(reading: Reading, number: int, rule: IntensityRule) -> float:
    return float(scale_channel(reading.measures.image_sample[number], rule).std())


def _of(names: Sequence[str], readings: Iterable[Reading]) -> str:
    return f"{len(names)} of {len(list(readings))} images ({listed(names)})"


def _warning(code: FaultCode, index: Index, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, printable(index.root), printable(found), expected, cure, stops=False)
