"""Which images suit a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from genseg.base.lengths import SpacingUnit
from genseg.errors import DataError, FaultCode
from genseg.models.model import Model
from genseg.trust.suitability import case_of_array, fit_case

MakeModel = Callable[..., Model]


def _codes(refused: pytest.ExceptionInfo[DataError]) -> list[FaultCode]:
    return [fault.code for fault in refused.value.faults]


def test_grey_pictures_become_rgb_where_the_model_wants_it(make_model: MakeModel) -> None:
    plan = make_model().plan
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    case = fit_case(case_of_array(grey, None, plan), plan)
    assert np.array_equal(case.image, np.stack([grey] * 3))


@pytest.mark.parametrize(("kind", "grey"), [(np.uint8, 58), (np.float32, 57.6)])
def test_rgb_pictures_become_grey_where_the_model_wants_it(make_model: MakeModel, kind: type, grey: float) -> None:
    plan = make_model(channels=1).plan
    picture = np.full((3, 6, 8), 0, kind)
    picture[:, 2, 3] = 20, 80, 41
    case = fit_case(case_of_array(picture, None, plan), plan)
    assert case.image.shape == (1, 6, 8)
    assert case.image.dtype == kind
    assert case.image[0, 2, 3] == pytest.approx(grey, abs=0.1)
    assert not case.image[0, 0].any()


def test_a_grey_picture_that_was_stored_as_rgb_stays_as_it_is(make_model: MakeModel) -> None:
    plan = make_model(channels=1).plan
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(fit_case(case_of_array(np.stack([grey] * 3), None, plan), plan).image[0], grey)


@pytest.mark.fault(43)
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ({"channels": 1}, (2, 8, 8)),
        ({}, (2, 8, 8)),
        ({"rank": 3, "channels": 1}, (3, 8, 8, 8)),
        ({"rank": 3, "channels": 3}, (1, 8, 8, 8)),
    ],
)
def test_other_channels_are_refused(make_model: MakeModel, model: dict[str, Any], shape: tuple[int, ...]) -> None:
    plan = make_model(**model).plan
    with pytest.raises(DataError, match=f"{shape[0]} channels; expected {plan.channels}") as refused:
        fit_case(case_of_array(np.zeros(shape), None, plan), plan)
    assert _codes(refused) == [FaultCode.CHANNEL_MISMATCH]


@pytest.mark.fault(43)
def test_pictures_are_refused_by_a_model_for_volumes(make_model: MakeModel) -> None:
    pictures, volumes = make_model().plan, make_model(rank=3).plan
    with pytest.raises(DataError, match="an image of 2 dimensions; expected 3") as refused:
        fit_case(case_of_array(np.zeros((3, 8, 8)), None, pictures), volumes)
    assert _codes(refused) == [FaultCode.MIXED_DIMENSIONS]


@pytest.mark.fault(43)
@pytest.mark.parametrize("value", [256, -1, 65535])
def test_values_that_no_8_bit_picture_has_are_refused(make_model: MakeModel, value: int) -> None:
    plan = make_model().plan
    pixels = np.zeros((3, 8, 8), np.int32)
    pixels[0, 0, 0] = value
    with pytest.raises(DataError, match=str(value)) as refused:
        fit_case(case_of_array(pixels, None, plan), plan)
    assert _codes(refused) == [FaultCode.UNSUPPORTED_PIXELS]


TWO_KINDS = ({"channel": "blue light", "rule": "eight-bit"}, {"channel": "depth", "rule": "percentile"})


@pytest.mark.fault(43, 56)
def test_only_channels_that_had_8_bits_are_held_to_them(make_model: MakeModel) -> None:
    plan = make_model(channels=2, intensity=TWO_KINDS).plan
    pixels = np.stack([np.full((8, 8), 200.0), np.full((8, 8), -4000.0)])
    assert fit_case(case_of_array(pixels, None, plan), plan).image.shape == (2, 8, 8)
    with pytest.raises(DataError, match=r"channel 0 \(blue light\): values -4000.0 to -4000.0") as refused:
        fit_case(case_of_array(pixels[::-1], None, plan), plan)
    assert _codes(refused) == [FaultCode.UNSUPPORTED_PIXELS]


@pytest.mark.fault(43, 56)
def test_a_grey_picture_stands_for_no_three_channels_of_other_names(make_model: MakeModel) -> None:
    rules = [{"channel": name, "rule": "percentile"} for name in ("T1", "T2", "FLAIR")]
    plan = make_model(intensity=rules).plan
    with pytest.raises(DataError, match="1 channels; expected 3") as refused:
        fit_case(case_of_array(np.zeros((8, 8)), None, plan), plan)
    assert _codes(refused) == [FaultCode.CHANNEL_MISMATCH]


@pytest.mark.fault(43, 56)
@pytest.mark.parametrize(("rank", "shape"), [(2, (2, 20, 12)), (3, (2, 12, 9, 10))])
def test_a_channel_in_which_nothing_is_seen_is_noted(make_model: MakeModel, rank: int, shape: tuple[int, ...]) -> None:
    window = {"channel": "CT", "rule": "window", "low": -100, "high": 200}
    model = make_model(rank=rank, channels=2, intensity=[window, {"channel": "PET", "rule": "z-score"}])
    image = np.random.default_rng(0).uniform(-1, 1, shape) * np.array([100, 5]).reshape(2, *[1] * rank)
    assert not any("same value" in note for note in model.examine(image).notes)
    empty, outside = image.copy(), image.copy()
    empty[1], outside[0] = 0, image[0] - 900
    said = "has the same value everywhere once scaled, so nothing is seen in it"
    assert f"channel 1 (PET) {said}" in model.examine(empty).notes
    assert f"channel 0 (CT) {said}" in model.examine(outside).notes


@pytest.mark.parametrize(
    ("pixels", "code"),
    [
        (np.zeros(8), FaultCode.MIXED_DIMENSIONS),
        (np.zeros((1, 3, 8, 8)), FaultCode.MIXED_DIMENSIONS),
        (np.zeros((3, 0, 8)), FaultCode.MIXED_DIMENSIONS),
        (np.array([["a", "b"], ["c", "d"]]), FaultCode.UNSUPPORTED_PIXELS),
        (np.zeros((3, 8, 8), np.complex64), FaultCode.UNSUPPORTED_PIXELS),
        (np.array([[None]]), FaultCode.UNSUPPORTED_PIXELS),
        (np.array([[0.0, np.nan]]), FaultCode.NOT_FINITE),
        (np.array([[0.0, -np.inf]]), FaultCode.NOT_FINITE),
    ],
)
def test_arrays_that_are_no_images_are_refused(make_model: MakeModel, pixels: np.ndarray, code: FaultCode) -> None:
    with pytest.raises(DataError) as refused:
        case_of_array(pixels, None, make_model().plan)
    assert _codes(refused) == [code]


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (1.0, 1.0, 0.0), (1.0, -2.0, 1.0), (1.0, float("nan"), 1.0)])
def test_a_spacing_that_is_none_is_refused_along_with_all_else(
    make_model: MakeModel, spacing: tuple[float, ...]
) -> None:
    with pytest.raises(DataError) as refused:
        case_of_array(np.full((4, 4, 4), np.nan), spacing, make_model(rank=3).plan)
    assert _codes(refused) == [FaultCode.NOT_FINITE, FaultCode.BAD_SPACING]


def test_volumes_have_the_spacing_given_or_the_plan_s(make_model: MakeModel) -> None:
    plan, pixels = make_model(rank=3).plan, np.zeros((4, 5, 6))
    assert case_of_array(pixels, None, plan).spacing == (1.0, 1.0, 1.2)
    case = case_of_array(pixels, np.array([2, 3, 4]), plan)
    assert case.spacing == (2.0, 3.0, 4.0)
    assert np.array_equal(case.affine, np.diag([2, 3, 4, 1]))


@pytest.mark.fault(63)
@pytest.mark.parametrize(("of_plan", "of_case"), [("mm", "px"), ("px", "mm")])
def test_a_volume_of_unknown_voxel_size_suits_no_model_of_known_ones(
    make_model: MakeModel, of_plan: SpacingUnit, of_case: SpacingUnit
) -> None:
    plan = make_model(rank=3, channels=1, spacing_unit=of_plan).plan
    case = case_of_array(np.zeros((8, 8, 8)), None, plan)
    assert fit_case(case, plan).spacing_unit == of_plan
    with pytest.raises(DataError) as refused:
        fit_case(replace(case, spacing_unit=of_case), plan)
    assert _codes(refused) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(64)
def test_only_arrays_with_a_spacing_have_a_known_one(make_model: MakeModel) -> None:
    picture = make_model().plan
    assert case_of_array(np.zeros((8, 8)), None, picture).spacing_unit == "px"
    assert case_of_array(np.zeros((8, 8)), (1, 1), picture).spacing_unit == "mm"
