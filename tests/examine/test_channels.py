"""What each channel shows, and which rule scales it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genseg.config import Plan
from genseg.examine.cases import RawCase
from genseg.examine.channels import (
    ChannelMeasures,
    Distribution,
    Modality,
    distributions,
    modality_of,
    named_modality,
    names_of,
    rule_of,
)
from genseg.examine.statistics import measure, summarise
from genseg.labels import LabelMap
from genseg.prepare.preprocess import prepare
from genseg.read.case import Case, CaseFiles, Origin, Scan

LIVER = Distribution(low=-17.0, median=100.0, high=201.0, mean=99.4, std=39.4)
LABELS = LabelMap(("background", "lesion"), {0: 0, 1: 1}, {})


def _measured(modality: str = "", lowest: float = 0.0, highest: float = 9.0, dtype: str = "int16") -> ChannelMeasures:
    return ChannelMeasures(Origin(Path("a"), 0, modality, dtype, ""), lowest, highest)


# Modality


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CT", "ct"),
        ("ct_venous", "ct"),
        ("CTres", "ct"),
        ("low-dose CT", "ct"),
        ("MRI", "mr"),
        ("T1", "mr"),
        ("t1ce", "mr"),
        ("T2w", "mr"),
        ("T2-FLAIR", "mr"),
        ("ADC", "mr"),
        ("PET", "pet"),
        ("PT", "pet"),
        ("SUV", "pet"),
        ("SUVbw", "pet"),
        ("18F-FDG PET", "pet"),
        ("PET/CT", ""),
        ("CT1", ""),
        ("Tmax", ""),
        ("picture", ""),
        ("vector", ""),
        ("noNorm", ""),
        ("", ""),
    ],
)
def test_names_tell_the_modality_where_they_tell_one(name: str, expected: str) -> None:
    assert named_modality(name) == expected


@pytest.mark.parametrize(
    ("cases", "name", "text", "rank", "expected"),
    [
        ([_measured(lowest=-1000), _measured(lowest=-600), _measured()], "", "", 3, "ct"),
        ([_measured(lowest=-1000), _measured(), _measured()], "", "", 3, ""),
        ([_measured(lowest=-1000)], "", "T1 MRI, cropped", 3, "mr"),
        ([_measured(lowest=-1000)], "T1", "", 3, "mr"),
        ([_measured()], "CT", "", 3, "ct"),
        ([_measured(lowest=-1000)], "PET/CT", "", 3, "ct"),
        ([_measured()], "", "multispectral picture", 3, ""),
        ([_measured("ct")] * 2, "", "", 3, "ct"),
        ([_measured("pet"), _measured("pet"), _measured("ct")], "", "CT", 3, "pet"),
        ([_measured("mr")] * 2, "", "", 2, "mr"),
        ([_measured("rgb"), _measured("gray"), _measured("gray")], "", "", 2, "rgb"),
        ([_measured("gray", lowest=-1000)], "", "", 2, "gray"),
        ([_measured()], "", "RGB dermoscopy", 2, "gray"),
    ],
)
def test_modality_is_named_or_said_by_files_or_told_by_the_values(
    cases: list[ChannelMeasures], name: str, text: str, rank: int, expected: str
) -> None:
    assert modality_of(name, text, cases, rank) == expected


def test_there_is_a_name_for_each_channel_or_for_none() -> None:
    assert names_of(("PET", "CT"), 2) == ("PET", "CT")
    assert names_of(("dermoscopy",), 3) == ("dermoscopy",) * 3
    assert names_of((), 2) == names_of(("a", "b", "c"), 2) == ("", "")


# Rules


@pytest.mark.parametrize(
    ("name", "modality", "rank", "measured", "expected"),
    [
        ("", "gray", 2, {"dtype": "uint8"}, "eight-bit"),
        ("", "gray", 2, {"dtype": "uint16"}, "percentile"),
        ("", "gray", 2, {"dtype": "float32"}, "percentile"),
        ("", "ct", 2, {"dtype": "uint8"}, "eight-bit"),
        ("", "ct", 2, {"dtype": "int16"}, "window"),
        ("", "mr", 3, {"dtype": "uint8"}, "z-score"),
        ("", "", 3, {}, "z-score"),
        ("PET", "pet", 3, {}, "z-score"),
        ("CT", "ct", 3, {}, "window"),
        ("noNorm", "", 3, {}, "unchanged"),
        ("nonorm", "", 2, {"dtype": "uint8"}, "unchanged"),
        ("zscore", "ct", 3, {"lowest": -1000.0}, "z-score"),
        ("zscore", "gray", 2, {"dtype": "uint8"}, "z-score"),
        ("rescale_to_0_1", "", 3, {}, "min-max"),
        ("rgb_to_0_1", "rgb", 2, {"dtype": "uint8"}, "eight-bit"),
        ("rgb_to_0_1", "rgb", 2, {"dtype": "float32", "highest": 255.0}, "eight-bit"),
        ("rgb_to_0_1", "rgb", 2, {"dtype": "uint16", "highest": 4095.0}, "percentile"),
    ],
)
@pytest.mark.fault(56)
def test_the_rule_follows_name_type_modality_and_values(
    name: str, modality: Modality, rank: int, measured: dict[str, Any], expected: str
) -> None:
    found = rule_of(name, modality, [_measured(**measured)] * 2, LIVER, rank)
    assert (found.channel, found.rule) == (name, expected)


def test_a_channel_of_two_types_is_scaled_by_percentiles() -> None:
    cases = [_measured(dtype="uint8"), _measured(dtype="uint16")]
    assert rule_of("", "gray", cases, None, 2).rule == "percentile"


def test_ct_is_clipped_to_the_percentiles_of_its_foreground() -> None:
    rule = rule_of("CT", "ct", [_measured()], LIVER, 3)
    assert (rule.rule, rule.low, rule.high, rule.mean, rule.std) == ("window", -17.0, 201.0, 99.4, 39.4)


def test_ct_without_foreground_or_with_one_value_in_it_is_scaled_by_itself() -> None:
    metal = Distribution(low=9.0, median=9.0, high=9.0, mean=9.0, std=0.0)
    assert rule_of("CT", "ct", [_measured()], metal, 3).rule == "z-score"
    assert rule_of("CT", "ct", [_measured()], None, 3).rule == "z-score"


def test_distributions_are_those_of_each_channel() -> None:
    random = np.random.default_rng(0)
    values = random.normal([[0], [100]], [[1], [10]], (2, 5000)).astype(np.float32)
    for found, own in zip(distributions([values[:, :2000], values[:, 2000:]]), values, strict=True):
        assert (found.low, found.median, found.high) == pytest.approx(np.percentile(own, (0.5, 50, 99.5)), rel=1e-5)
        assert (found.mean, found.std) == pytest.approx((own.mean(), own.std()), rel=1e-4, abs=1e-4)
    assert distributions([]) == distributions([np.zeros((2, 0), np.float32)]) == ()


# Channels by themselves


_KINDS: dict[str, tuple[str, float, float]] = {
    "CT": ("", -1000, 400),
    "PET": ("", 0, 12),
    "T1": ("", 0, 900),
    "noNorm": ("", -3, 3),
    "rescale_to_0_1": ("", 5, 700),
    "": ("ct", -1000, 300),
    "Tmax": ("", 0, 60),
}
"""Name -> what its files say, smallest and largest value."""


def _raw(kinds: tuple[str, ...], seeds: dict[str, int]) -> RawCase:
    """A volume of a channel file for each kind; what a file holds depends on its kind alone."""
    scans = []
    for kind in kinds:
        modality, low, high = _KINDS[kind]
        pixels = np.random.default_rng(seeds[kind]).uniform(low, high, (1, 9, 8, 8)).astype(np.float32)
        scans.append(Scan(pixels, (1.0, 1.0, 1.0), np.eye(4), modality, kind))
    mask = np.zeros((1, 9, 8, 8), np.uint8)
    mask[0, 2:6, 2:6, 2:6] = 1
    files = CaseFiles("a", tuple(Path(f"{kind}.nii") for kind in kinds), Path("mask.nii"), "a")
    return RawCase.of(files, scans, Scan(mask, (1.0, 1.0, 1.0), np.eye(4), "", ""))


def _prepared(kinds: tuple[str, ...], seed: int, plan_of: Any) -> tuple[Plan, np.ndarray]:
    """The plan's rules for two cases of these channels, and the first case as the network sees it."""
    raws = [_raw(kinds, {kind: 10 * place + seed + case for place, kind in enumerate(_KINDS)}) for case in range(2)]
    figures = summarise([measure(raw) for raw in raws], LABELS, "", kinds, len(kinds))
    rules = tuple(channel.rule for channel in figures.by_channel)
    plan = plan_of(3, channels=len(kinds), intensity=rules, patch_size=(8, 8, 8))
    image = raws[0].image
    case = Case("a", image.pixels, None, image.spacing, image.affine, "", "", "")
    return plan, prepare(case, plan).image


@pytest.mark.fault(56)
@settings(max_examples=20, deadline=None)
@given(order=st.permutations(list(_KINDS)).flatmap(lambda names: st.integers(1, 4).map(lambda n: tuple(names[:n]))))
def test_channels_in_another_order_have_their_own_rules_and_values_in_that_order(
    order: tuple[str, ...], plan_of: Any
) -> None:
    usual = tuple(kind for kind in _KINDS if kind in order)
    plan, image = _prepared(usual, 1, plan_of)
    turned_plan, turned_image = _prepared(order, 1, plan_of)
    places = [usual.index(kind) for kind in order]
    assert turned_plan.intensity == tuple(plan.intensity[place] for place in places)
    assert np.array_equal(turned_image, image[places])


@pytest.mark.fault(56)
@pytest.mark.parametrize("others", list(itertools.permutations(["PET", "T1", "noNorm"], 2)))
def test_a_ct_beside_others_leaves_their_rules_alone(others: tuple[str, ...], plan_of: Any) -> None:
    plan, image = _prepared(("CT", *others), 3, plan_of)
    alone = [_prepared((kind,), 3, plan_of) for kind in ("CT", *others)]
    assert plan.intensity == tuple(one.intensity[0] for one, _ in alone)
    assert np.array_equal(image, np.concatenate([prepared for _, prepared in alone]))
    assert all(channel.std() > 0.5 for channel in image)
