"""Faults of a set as a whole that examined files do not bring about easily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genseg.base.files import printable
from genseg.base.lengths import SpacingUnit
from genseg.errors import FaultCode, listed
from genseg.examine.channels import ChannelMeasures
from genseg.examine.consistency import common_channels, mixed_dimensions, spacing_faults
from genseg.examine.one_pass import Reading
from genseg.examine.statistics import Measures
from genseg.read.case import CaseFiles, Origin

ROOT = Path("set")


def _channels(count: int) -> tuple[ChannelMeasures, ...]:
    return tuple(ChannelMeasures(Origin(Path("a"), number, "", "uint8", ""), 0, 255) for number in range(count))


def _readings(channels: Sequence[int], ranks: Sequence[int], units: Sequence[SpacingUnit] = ()) -> list[Reading]:
    units = units or ("mm",) * len(ranks)
    return [
        Reading(
            CaseFiles(f"{place}", (Path(f"{place}.png"),), None, f"{place}"),
            None,
            Measures((9,) * rank, (1.0,) * rank, _channels(count), None, np.zeros((count, 0)), {}, unit),
            f"{place}",
            np.zeros((0, 64, 64), np.uint8),
        )
        for place, (count, rank, unit) in enumerate(zip(channels, ranks, units, strict=True))
    ]


@pytest.mark.fault(10)
@pytest.mark.parametrize(
    ("channels", "rank", "common", "odd"),
    [
        ([1, 1], 2, 1, []),
        ([3, 3], 2, 3, []),
        ([4, 4, 3], 2, 4, ["2.png"]),
        ([1, 2, 1], 2, 1, ["1.png"]),
        ([1, 3, 2], 2, 1, ["1.png", "2.png"]),
        ([1, 3, 1], 3, 1, ["1.png"]),
        ([], 2, 0, []),
    ],
)
def test_mixtures_other_than_grey_and_rgb_pictures_stop(
    channels: list[int], rank: int, common: int, odd: list[str]
) -> None:
    found, faults = common_channels(ROOT, _readings(channels, [rank] * len(channels)))
    assert found == common
    assert [fault.file for fault in faults] == odd
    assert all(fault.code is FaultCode.CHANNEL_MISMATCH and fault.stops for fault in faults)


@pytest.mark.fault(10)
def test_grey_and_rgb_pictures_become_rgb_whichever_are_more() -> None:
    for channels in ([1, 1, 3], [3, 3, 1]):
        found, faults = common_channels(ROOT, _readings(channels, [2, 2, 2]))
        assert found == 3
        assert [(fault.code, fault.stops) for fault in faults] == [(FaultCode.MIXED_CHANNELS, False)]


@pytest.mark.fault(56)
def test_a_grey_picture_stands_for_no_three_channels_that_are_no_colours() -> None:
    readings = _readings([3, 1, 3], [2, 2, 2])
    _, faults = common_channels(ROOT, readings, ("T1", "T2", "FLAIR"))
    assert [(fault.code, fault.file) for fault in faults] == [(FaultCode.CHANNEL_MISMATCH, "1.png")]
    assert common_channels(ROOT, readings, ("R", "G", "B"))[1][0].code is FaultCode.MIXED_CHANNELS
    three_files = replace(readings[0].files, images=(Path("a.png"), Path("b.png"), Path("c.png")))
    _, faults = common_channels(ROOT, [replace(readings[0], files=three_files), *readings[1:]])
    assert [fault.code for fault in faults] == [FaultCode.CHANNEL_MISMATCH]


@pytest.mark.parametrize(
    ("ranks", "odd"), [([], []), ([3, 3], []), ([3, 2, 3], ["1.png"]), ([2, 3, 2, 3, 2], ["1.png", "3.png"])]
)
def test_each_case_of_the_rarer_dimension_stops(ranks: list[int], odd: list[str]) -> None:
    faults = mixed_dimensions(_readings([1] * len(ranks), ranks))
    assert [fault.file for fault in faults] == odd
    assert all(fault.stops for fault in faults)


def test_lists_are_short_and_on_one_line() -> None:
    assert printable(listed(["a", "b\n"])) == "a, b\\n"
    assert listed([str(number) for number in range(12)]) == "0, 1, 2, 3, 4 and 7 more"


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("rank", "units", "said"),
    [
        (3, ["mm", "mm"], []),
        (3, ["px", "px"], [("2 of 2 images do not state their voxel size (0, 1)", False)]),
        (3, ["mm", "px", "mm"], [("1 of 3 images do not state their voxel size (1)", True)]),
        (2, ["px", "px"], []),
        (2, ["mm", "mm"], []),
        (2, ["mm", "px", "mm"], [("1 of 3 images do not state their pixel size (1)", False)]),
    ],
)
def test_unknown_voxel_sizes_are_told_in_one_row(
    rank: int, units: list[SpacingUnit], said: list[tuple[str, bool]]
) -> None:
    faults = spacing_faults(ROOT, _readings([1] * len(units), [rank] * len(units), units))
    assert [(fault.found, fault.stops) for fault in faults] == said
    assert all(fault.code is FaultCode.BAD_SPACING for fault in faults)
