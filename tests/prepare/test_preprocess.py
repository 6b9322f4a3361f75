"""Cases brought to a plan's geometry and intensities, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from genseg.config import IntensityRule, Plan, Rule
from genseg.prepare.preprocess import Prepared, prepare, restore, scale_channel, unscale_channel, unscale_intensity
from genseg.read.case import IGNORE, Case

PlanOf = Callable[..., Plan]

RAS_SPACING = (0.7, 1.0, 2.5)
RULES = get_args(Rule)


def _picture(image: NDArray[Any], mask: NDArray[Any] | None = None) -> Case:
    return Case("picture", image, mask, (1.0, 1.0), None, "", "", "")


def _volume(image: NDArray[Any], mask: NDArray[Any] | None, affine: NDArray[np.float64] | None) -> Case:
    steps = (1.0, 1.0, 1.0) if affine is None else tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Case("volume", image, mask, steps, affine, "", "", "")


def _disc(rows: int, columns: int) -> NDArray[np.uint8]:
    row, column = np.mgrid[:rows, :columns]
    inside = ((row - rows * 0.4) / (rows * 0.25)) ** 2 + ((column - columns * 0.6) / (columns * 0.3)) ** 2 < 1
    return inside.astype(np.uint8)


def _worked(prepared: Prepared) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in prepared.geometry.worked)


def _world(affine: NDArray[np.float64], spatial: tuple[int, ...]) -> NDArray[np.float64]:
    """R, A and S in mm of every voxel, `(3, *spatial)`."""
    indices = np.indices(spatial).reshape(3, -1)
    return (affine[:3, :3] @ indices + affine[:3, 3:]).reshape(3, *spatial)


# Volumes


@pytest.mark.fault(23)
@pytest.mark.parametrize("number", range(48))
def test_volumes_of_every_orientation_become_ras_and_come_back(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int
) -> None:
    affine = volume_affines[number]
    world = _world(affine, (5, 6, 7))
    mask = np.random.default_rng(number).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    plan = plan_of(3, channels=3, spacing=RAS_SPACING, patch_size=(4, 4, 4), intensity={"rule": "z-score"})
    prepared = prepare(_volume(world, mask, affine), plan)
    for direction, coordinate in enumerate(prepared.image):
        steps = [np.abs(np.diff(coordinate, axis=axis)).max() for axis in range(3)]
        assert np.argmax(steps) == direction
        assert np.diff(coordinate, axis=direction).min() > 0
    assert prepared.mask is not None
    assert np.array_equal(restore(prepared.mask, prepared.geometry), mask)


@pytest.mark.fault(23)
@pytest.mark.parametrize("number", range(48))
def test_image_and_mask_of_every_orientation_stay_in_register(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int
) -> None:
    mask = np.random.default_rng(number).integers(0, 2, (5, 6, 7)).astype(np.uint8)
    prepared = prepare(_volume(255 * mask[None], mask, volume_affines[number]), plan_of(3, spacing=(1.3, 0.8, 1.9)))
    inside, image = prepared.mask[_worked(prepared)], prepared.image[0][_worked(prepared)]
    certain = np.abs(image) > 1e-3
    assert certain.mean() > 0.8
    assert np.array_equal((image > 0)[certain], inside[certain] == 1)


@pytest.mark.fault(23)
def test_an_oblique_volume_comes_back(plan_of: PlanOf) -> None:
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0, 0, 2.5], [-0.7, 0, 0], [0, 1.0, 0]])
    mask = np.random.default_rng(0).integers(0, 3, (5, 6, 7)).astype(np.uint8)
    prepared = prepare(_volume(mask[None], mask, affine), plan_of(3, spacing=(2.5, 0.7, 1.0), patch_size=(1, 1, 1)))
    assert prepared.mask.shape == (7, 5, 6)
    assert np.array_equal(restore(prepared.mask, prepared.geometry), mask)


def test_volumes_are_brought_to_the_spacing_of_the_plan(plan_of: PlanOf) -> None:
    affine = np.diag([2.0, 1.0, 0.5, 1.0])
    volume = _volume(np.zeros((2, 10, 11, 12), np.int16), None, affine)
    prepared = prepare(volume, plan_of(3, channels=2, spacing=(1, 1, 1), patch_size=(4, 4, 4)))
    assert prepared.image.shape == (2, 20, 11, 6)
    assert (prepared.geometry.oriented, prepared.geometry.worked) == ((10, 11, 12), (20, 11, 6))
    assert prepared.mask is None


@pytest.mark.parametrize(
    ("step", "places", "expected"),
    # Three voxels that become one have their mean at the middle one; smoothing bends only the ends.
    [(3.0, [1, 2], [4, 7]), (0.5, [4, 5, 6], [1.75, 2.25, 2.75])],
)
def test_a_volume_keeps_its_place_when_resampled(
    plan_of: PlanOf, step: float, places: list[int], expected: list[float]
) -> None:
    ramp = np.broadcast_to(np.arange(12, dtype=np.float32)[:, None, None], (12, 4, 4))
    wide = {"rule": "window", "low": -100, "high": 100}
    plan = plan_of(3, spacing=(step, 1, 1), patch_size=(1, 1, 1), intensity=wide)
    prepared = prepare(_volume(ramp[None], None, np.eye(4)), plan)
    assert prepared.image[0, places, 2, 2] == pytest.approx(expected, abs=0.05)


def test_small_volumes_are_padded_to_the_patch_and_large_ones_kept(plan_of: PlanOf) -> None:
    mask = np.ones((5, 20, 6), np.uint8)
    image = np.arange(mask.size, dtype=np.int16).reshape(1, *mask.shape)
    prepared = prepare(_volume(image, mask, np.eye(4)), plan_of(3, patch_size=(8, 8, 8)))
    assert prepared.mask.shape == prepared.image.shape[1:] == (8, 20, 8)
    outside = np.ones(prepared.mask.shape, bool)
    outside[:5, :, :6] = False
    assert np.array_equal(prepared.mask == IGNORE, outside)
    assert np.array_equal(prepared.image[0, 5:, :, 0], np.repeat(prepared.image[0, 4:5, :, 0], 3, axis=0))


def test_an_array_without_affine_stays_as_it_lies(plan_of: PlanOf) -> None:
    mask = np.random.default_rng(0).integers(0, 2, (5, 6, 7)).astype(np.uint8)
    prepared = prepare(_volume(mask[None], mask, None), plan_of(3, patch_size=(4, 4, 4)))
    assert np.array_equal(prepared.mask, mask)
    assert restore(mask, prepared.geometry) is mask


# Pictures


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("size", [(37, 20), (20, 37), (32, 48), (7, 101), (640, 481)])
def test_pictures_fit_whole_into_the_patch(plan_of: PlanOf, size: tuple[int, int], channels: int) -> None:
    mask = _disc(*size)
    image = np.repeat(255 * mask[None], channels, axis=0)
    prepared = prepare(_picture(image, mask), plan_of(2, patch_size=(32, 48), channels=channels))
    rows, columns = prepared.geometry.worked
    assert prepared.image.shape == (channels, 32, 48)
    assert prepared.mask.shape == (32, 48)
    assert (rows == 32 and columns <= 48) or (rows <= 32 and columns == 48)
    # Aspect is kept to the rounding of the shorter side.
    assert abs(rows * size[1] - columns * size[0]) <= 0.5 * max(size)
    outside = np.ones((32, 48), bool)
    outside[:rows, :columns] = False
    assert np.array_equal(prepared.mask == IGNORE, outside)
    assert np.array_equal(prepared.image[0], prepared.image[-1])


@pytest.mark.parametrize("size", [(37, 20), (20, 37), (32, 48), (640, 481)])
def test_picture_and_mask_stay_in_register(plan_of: PlanOf, size: tuple[int, int]) -> None:
    mask = _disc(*size)
    prepared = prepare(_picture(255 * mask[None], mask), plan_of(2, patch_size=(32, 48)))
    image, inside = prepared.image[0][_worked(prepared)], prepared.mask[_worked(prepared)]
    certain = np.abs(image) > 1e-3
    assert certain.mean() > 0.95
    assert np.array_equal((image > 0)[certain], inside[certain] == 1)


def test_the_class_with_the_largest_share_gets_the_pixel(plan_of: PlanOf) -> None:
    mask = np.zeros((32, 32), np.uint8)
    mask[:, 16:] = 3
    mask[:, 14:16] = 7  # of four columns that become one, two
    prepared = prepare(_picture(mask[None], mask), plan_of(2, patch_size=(8, 8)))
    assert set(np.unique(prepared.mask)) <= {0, 3, 7}
    assert prepared.mask[:, [0, 7]].tolist() == [[0, 3]] * 8


def test_a_picture_of_the_right_size_is_not_resampled(plan_of: PlanOf) -> None:
    image = np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.uint8)
    prepared = prepare(_picture(image), plan_of(2, patch_size=(16, 16), channels=3))
    assert np.array_equal(prepared.image, image.astype(np.float32) / 127.5 - 1)
    assert prepared.nbytes == 4 * image.size


# Foreground


def test_foreground_indices_lie_in_foreground(plan_of: PlanOf) -> None:
    mask = _disc(60, 97)
    prepared = prepare(_picture(mask[None], mask), plan_of(2, patch_size=(128, 96)))
    assert 1000 < len(prepared.foreground) <= 2000
    assert set(prepared.mask.flat[prepared.foreground]) == {1}
    everywhere = np.flatnonzero(prepared.mask == 1)
    assert prepared.foreground.mean() == pytest.approx(everywhere.mean(), rel=0.02)


def test_an_empty_mask_has_no_foreground(plan_of: PlanOf) -> None:
    empty = np.zeros((20, 30), np.uint8)
    assert len(prepare(_picture(empty[None], empty), plan_of(2)).foreground) == 0
    assert len(prepare(_picture(empty[None]), plan_of(2)).foreground) == 0


# Intensities


def _rule(rule: str) -> IntensityRule:
    return IntensityRule.model_validate({"rule": rule, "low": -100, "high": 300, "mean": 50, "std": 100})


def test_eight_bit_values_go_to_minus_one_to_one() -> None:
    scaled = scale_channel(np.array([[0, 51, 255]], np.uint8), _rule("eight-bit"))
    assert scaled.tolist() == pytest.approx(np.array([[-1, -0.6, 1]]))


def test_window_clips_and_standardises() -> None:
    stored = np.array([[[-1000, -100, 50, 300, 3000]]], np.int16)
    assert scale_channel(stored, _rule("window")).ravel() == pytest.approx([-1.5, -1.5, 0, 2.5, 2.5])


def test_percentiles_go_to_minus_one_and_one() -> None:
    ramp = np.random.default_rng(0).permutation(1001).astype(np.float32)
    scaled = scale_channel(7 + 20 * ramp, _rule("percentile"))
    assert scaled[np.argsort(ramp)[[0, 5, 104, 500, 995, 1000]]] == pytest.approx([-1, -1, -0.8, 0, 1, 1], abs=1e-5)


def test_smallest_and_largest_value_go_to_minus_one_and_one() -> None:
    scaled = scale_channel(np.array([[-30, 0, 20, 170]], np.int16), _rule("min-max"))
    assert scaled.ravel() == pytest.approx([-1, -0.7, -0.5, 1])


def test_values_stay_where_they_are_to_be_left_unchanged() -> None:
    stored = np.array([[-1024, 0, 7.5, 60000]], np.float64)
    assert scale_channel(stored, _rule("unchanged")).tolist() == stored.tolist()


@pytest.mark.parametrize("factor", [1e-9, 1.0, 1e4])
@pytest.mark.parametrize("spread", [3.0, 40.0])
def test_z_score_standardises(factor: float, spread: float) -> None:
    values = np.random.default_rng(0).normal(5, spread, (40, 40)) * factor
    scaled = scale_channel(values, _rule("z-score"))
    assert (scaled.mean(), scaled.std()) == pytest.approx((0, 1), abs=1e-5)


def test_few_bright_pixels_are_not_lost_by_percentiles() -> None:
    sparse = np.zeros((40, 40), np.uint16)
    sparse[20, 20] = 900
    assert np.unique(scale_channel(sparse, _rule("percentile"))).tolist() == [-1, 1]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_every_rule_gives_finite_float32_and_leaves_its_input(rule: str, dtype: type) -> None:
    varied = np.arange(60).reshape(6, 10).astype(dtype)
    for stored in (varied, np.full_like(varied, 7)):
        before = stored.copy()
        scaled = scale_channel(stored, _rule(rule))
        assert scaled.dtype == np.float32
        assert np.isfinite(scaled).all()
        assert np.array_equal(stored, before)


def test_intensities_are_scaled_before_pixels_are_mixed(plan_of: PlanOf) -> None:
    # Clipping must see stored values: one glaring pixel counts as 300 in the mean, not as 10,000.
    image = np.zeros((1, 2, 2), np.int16)
    image[0, 0, 0] = 10_000
    plan = plan_of(2, patch_size=(1, 1), intensity={"rule": "window", "low": 0, "high": 300, "mean": 0, "std": 1})
    assert prepare(_picture(image), plan).image.ravel() == pytest.approx([75])


@pytest.mark.parametrize(
    "rule", [{"rule": "eight-bit"}, {"rule": "window", "low": 0, "high": 255, "mean": 40, "std": 9}]
)
def test_scaled_values_lead_back_to_the_stored_ones(rule: dict[str, Any]) -> None:
    stored, intensity = np.arange(256, dtype=np.uint8).reshape(16, 16), IntensityRule(**rule)
    back = unscale_channel(scale_channel(stored, intensity), intensity)
    assert back.dtype == (np.uint8 if rule["rule"] == "eight-bit" else np.float32)
    np.testing.assert_allclose(back, stored, atol=1e-4)


# Channels of different kinds


def _ct_and_pet(size: int = 12) -> NDArray[np.float32]:
    """A CT in Hounsfield units and a PET in SUV, `(2, size, size, size)`."""
    random = np.random.default_rng(5)
    ct = random.choice([-1000.0, -80.0, 40.0, 900.0], (size,) * 3) + random.normal(0, 10, (size,) * 3)
    pet = random.gamma(1.5, 1.0, (size,) * 3)
    return np.stack([ct, pet]).astype(np.float32)


CT_RULE = {"channel": "CT", "rule": "window", "low": -160.0, "high": 240.0, "mean": 30.0, "std": 50.0}


@pytest.mark.fault(56)
def test_ct_has_its_window_and_pet_beside_it_keeps_its_variance(plan_of: PlanOf) -> None:
    image = _ct_and_pet()
    plan = plan_of(3, channels=2, patch_size=(12,) * 3, intensity=[CT_RULE, {"channel": "PET", "rule": "z-score"}])
    prepared = prepare(_volume(image, None, np.eye(4)), plan).image
    np.testing.assert_allclose(prepared[0], (image[0].clip(-160, 240) - 30) / 50, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prepared[1], (image[1] - image[1].mean()) / image[1].std(), rtol=1e-4, atol=1e-5)
    assert prepared[1].std() == pytest.approx(1, abs=1e-4)
    without = np.stack([image[0], 0 * image[1]])
    assert np.abs(prepare(_volume(without, None, np.eye(4)), plan).image[1] - prepared[1]).max() > 1


@pytest.mark.fault(56)
def test_what_is_scaled_leads_back_channel_by_channel() -> None:
    rules = [IntensityRule(**CT_RULE), IntensityRule(rule="unchanged"), IntensityRule(rule="eight-bit")]
    stored = np.stack([np.linspace(-160, 240, 64), np.linspace(-9, 9, 64), np.linspace(0, 255, 64).round()])
    image = stored.reshape(3, 8, 8).astype(np.float32)
    scaled = np.stack([scale_channel(channel, rule) for channel, rule in zip(image, rules, strict=True)])
    np.testing.assert_allclose(unscale_intensity(scaled, rules), image, atol=1e-3)
    eight = unscale_intensity(np.zeros((3, 4, 4), np.float32), 3 * [IntensityRule(rule="eight-bit")])
    assert eight.dtype == np.uint8


@pytest.mark.fault(56)
def test_beyond_a_straightened_volume_each_channel_is_as_dark_as_it_gets(plan_of: PlanOf) -> None:
    image = np.stack([np.full((8, 8, 8), 700.0), np.full((8, 8, 8), 3.0)]).astype(np.float32)
    image[:, 2, 2, 2] = -1000, 1
    leaning = np.eye(4)
    leaning[0, 2] = 0.5
    plan = plan_of(3, channels=2, patch_size=(8, 8, 8), intensity={"rule": "unchanged"})
    prepared = prepare(_volume(image, None, leaning), plan).image
    assert [channel.min() for channel in prepared] == [-1000, 1]
