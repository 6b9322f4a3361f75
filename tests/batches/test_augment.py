"""Random changes of batches: one draw for image and mask, each change doing what it says."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Generator, Tensor

from genseg.batches.augment import Range, Ranges, augment
from genseg.read.case import IGNORE

NOTHING = Ranges(**{field.name: Range(0, 0, 0) for field in fields(Ranges)})
EVERYTHING = Ranges(**{field.name: replace(getattr(Ranges(), field.name), probability=1) for field in fields(Ranges)})
SPATIAL = ("rotation", "rotation_3d", "scale", "shear", "translation", "elastic")
INTENSITY = tuple(field.name for field in fields(Ranges) if field.name not in SPATIAL)
SIZES = [(40, 56), (20, 28, 24)]


def _always(low: float, high: float | None = None) -> Range:
    """Happens to every image, with a number of low..high, or exactly low."""
    return Range(1, low, low if high is None else high)


def _only(**changes: Range) -> Ranges:
    return replace(NOTHING, **changes)


def _without(*names: str) -> Ranges:
    return replace(EVERYTHING, **{name: Range(0, 0, 0) for name in names})


def _seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=_seeded(9))


def _no_mask(image: Tensor) -> Tensor:
    return torch.zeros(image.shape[:1] + image.shape[2:], dtype=torch.uint8)


def _changed(image: Tensor, seed: int = 0, is_colour: bool = False, **changes: Range) -> Tensor:
    """The image after one kind of change, or more."""
    ranges = _only(**changes)
    return augment(image, _no_mask(image), _seeded(seed), flip_axes=(), is_colour=is_colour, ranges=ranges)[0]


def _millimetres(spatial: tuple[int, ...], spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """Position of each pixel's centre from the middle, in mm, `(rank, *spatial)`."""
    middle = [(size - 1) / 2 for size in spatial]
    return np.stack([(i - m) * s for i, m, s in zip(np.indices(spatial), middle, spacing, strict=True)])


def _ellipsoid(spatial: tuple[int, ...], spacing: tuple[float, ...], radii: tuple[float, ...]) -> Tensor:
    """Mask `(1, *spatial)` of an ellipsoid in the middle, radii in mm."""
    places = _millimetres(spatial, spacing) / np.reshape(radii, (-1, *[1] * len(spatial)))
    return torch.from_numpy(((places**2).sum(0) < 1).astype(np.uint8))[None]


def _measures(mask: Tensor, spacing: tuple[float, ...]) -> tuple[float, NDArray[np.float64]]:
    """Volume of class 1 in mm, and the radii in mm of the ellipsoid that has its second moments."""
    inside = (mask[0] == 1).numpy()
    places = _millimetres(inside.shape, spacing)[:, inside]
    return inside.sum() * math.prod(spacing), np.sqrt(np.linalg.eigvalsh(np.cov(places)) * (len(spacing) + 2))


# The draw


@pytest.mark.parametrize("spatial", SIZES)
def test_the_same_seed_gives_the_same_draw_and_another_seed_another(spatial: tuple[int, ...]) -> None:
    image, mask = _noise(3, 2, *spatial), (_noise(3, *spatial) > 0).byte()
    first, again, other = (
        augment(image, mask, _seeded(seed), flip_axes=(0, 1), ranges=EVERYTHING) for seed in (1, 1, 2)
    )
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("spatial", SIZES)
def test_every_image_of_a_batch_gets_its_own_draw(spatial: tuple[int, ...]) -> None:
    image, mask = _noise(1, 2, *spatial).repeat(4, 1, *[1] * len(spatial)), (_noise(1, *spatial) > 0).byte()
    images, masks = augment(image, mask.repeat(4, *[1] * len(spatial)), _seeded(), flip_axes=(), ranges=EVERYTHING)
    for first in range(4):
        for second in range(first):
            assert not torch.allclose(images[first], images[second], atol=0.1)
            assert not torch.equal(masks[first], masks[second])


@pytest.mark.parametrize("name", SPATIAL + INTENSITY)
def test_a_change_happens_to_its_share_of_the_images(name: str) -> None:
    size = (8, 8, 8) if name == "rotation_3d" else (8, 8)
    image = _noise(1, 2, *size).repeat(600, 1, *[1] * len(size))
    change = replace(getattr(Ranges(), name), probability=0.1 if name == "rotation_3d" else 0.25)
    untouched = (_changed(image, **{name: change}) == image).flatten(1).all(1)
    # Volumes turn about each of three axes by chance.
    expected = 1 - 0.9**3 if name == "rotation_3d" else 0.25
    assert 1 - untouched.float().mean() == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("spatial", SIZES)
def test_without_any_change_image_and_mask_are_the_same(spatial: tuple[int, ...]) -> None:
    image, mask = _noise(2, 3, *spatial), (_noise(2, *spatial) > 0).byte()
    same_image, same_mask = augment(image, mask, _seeded(), flip_axes=(), ranges=NOTHING)
    assert torch.equal(same_image, image)
    assert torch.equal(same_mask, mask)


@pytest.mark.parametrize("spatial", SIZES)
@pytest.mark.parametrize("ranges", [Ranges(), EVERYTHING, _without(*SPATIAL), _without(*INTENSITY)])
def test_inputs_are_not_modified(spatial: tuple[int, ...], ranges: Ranges) -> None:
    image, mask = _noise(2, 3, *spatial), (_noise(2, *spatial) > 0).byte()
    image_before, mask_before = image.clone(), mask.clone()
    augment(image, mask, _seeded(), flip_axes=(0, 1), ranges=ranges)
    assert torch.equal(image, image_before)
    assert torch.equal(mask, mask_before)


@pytest.mark.parametrize("spatial", SIZES)
def test_layout_in_memory_does_not_matter(spatial: tuple[int, ...]) -> None:
    image, mask = _noise(2, 3, *spatial), (_noise(2, *spatial) > 0).byte()
    layout = torch.channels_last if len(spatial) == 2 else torch.channels_last_3d
    plain = augment(image, mask, _seeded(), flip_axes=(0,), ranges=EVERYTHING)[0]
    fast = augment(image.contiguous(memory_format=layout), mask, _seeded(), flip_axes=(0,), ranges=EVERYTHING)[0]
    assert torch.allclose(plain, fast, atol=1e-4)


@pytest.mark.parametrize("spatial", SIZES)
def test_gradients_flow_through_every_change_in_double_precision(spatial: tuple[int, ...]) -> None:
    image = _noise(2, 3, *spatial).double().requires_grad_()
    changed, _ = augment(image, _no_mask(image), _seeded(), flip_axes=(0, 1), ranges=EVERYTHING)
    (gradient,) = torch.autograd.grad(changed.square().sum(), image)
    assert changed.dtype == torch.float64
    assert torch.isfinite(gradient).all()
    assert (gradient.flatten(1).abs().amax(1) > 0).all()


# Image and mask together


@pytest.mark.parametrize(
    ("spatial", "spacing"), [((48, 64), None), ((24, 32, 28), None), ((24, 32, 28), (2.0, 1, 1.5))]
)
@pytest.mark.parametrize("seed", range(4))
def test_image_and_mask_stay_in_register(
    spatial: tuple[int, ...], spacing: tuple[float, ...] | None, seed: int
) -> None:
    blobs = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=spatial), 4)
    mask = torch.from_numpy((blobs > 0).astype(np.uint8))[None].repeat(3, *[1] * len(spatial))
    ranges = _without(*INTENSITY)
    image, mask = augment(
        mask[:, None].float(), mask, _seeded(seed), flip_axes=range(len(spatial)), spacing=spacing, ranges=ranges
    )
    for own, labels in zip(image[:, 0].numpy(), mask.numpy(), strict=True):
        counted, inside = labels != IGNORE, labels == 1
        assert set(np.unique(labels)) <= {0, 1, IGNORE}
        # The nearest pixel has at least this share in the linear mean, so that the mean bounds what the mask may be.
        share = 0.5**own.ndim
        assert inside[counted & (own > 1 - share + 1e-4)].all()
        assert not inside[counted & (own < share - 1e-4)].any()
        assert 0.02 < inside[counted].mean() < 0.98
        assert np.corrcoef(own[counted], inside[counted])[0, 1] > 0.85


@pytest.mark.parametrize("spatial", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_changes_of_intensity_never_touch_the_mask(spatial: tuple[int, ...], channels: int) -> None:
    image, mask = _noise(3, channels, *spatial), (_noise(3, *spatial) > 0).byte()
    mask[:, -1] = IGNORE
    changed, kept = augment(image, mask, _seeded(), flip_axes=(), ranges=_without(*SPATIAL))
    assert torch.equal(kept, mask)
    assert not any(torch.allclose(own, before) for own, before in zip(changed, image, strict=True))


@pytest.mark.parametrize(
    ("spatial", "axes"),
    [((3, 4), ()), ((3, 4), (0,)), ((3, 4), (1,)), ((3, 4), (0, 1)), ((2, 3, 4), (2,)), ((2, 3, 4), (0, 1, 2))],
)
def test_only_allowed_axes_are_flipped(spatial: tuple[int, ...], axes: tuple[int, ...]) -> None:
    one = torch.arange(math.prod(spatial)).reshape(spatial)
    batch = one.expand(80, *spatial)
    image, mask = augment(batch[:, None].float(), batch.byte(), _seeded(), flip_axes=axes, ranges=NOTHING)
    allowed = [chosen for size in range(len(axes) + 1) for chosen in itertools.combinations(axes, size)]
    assert {tuple(own.flatten().tolist()) for own in mask} == {
        tuple(one.flip(chosen).flatten().tolist()) for chosen in allowed
    }
    assert torch.equal(image[:, 0].byte(), mask)


# What spatial changes do


def test_a_quarter_turn_is_exact() -> None:
    image = _noise(1, 2, 7, 7)
    mask = torch.arange(49, dtype=torch.uint8).reshape(1, 7, 7)
    turned, turned_mask = augment(image, mask, _seeded(), flip_axes=(), ranges=_only(rotation=_always(math.pi / 2)))
    assert torch.allclose(turned, image.rot90(1, (2, 3)), atol=1e-5)
    assert torch.equal(turned_mask, mask.rot90(1, (1, 2)))


def test_what_comes_from_outside_is_ignored_and_what_was_ignored_moves() -> None:
    mask = torch.arange(200, dtype=torch.uint8).reshape(1, 10, 20)
    mask[0, 5, 6] = IGNORE
    moved_image, moved = augment(
        mask[:, None].float(), mask, _seeded(), flip_axes=(), ranges=_only(translation=_always(0.1))
    )
    assert torch.equal(moved[:, :-1, :-2], mask[:, 1:, 2:])
    assert (moved[:, -1:] == IGNORE).all()
    assert (moved[:, :, -2:] == IGNORE).all()
    assert torch.allclose(moved_image[:, 0, :-1, :-2], mask[:, 1:, 2:].float(), atol=1e-3)
    # The image goes on as its mirror image.
    assert torch.allclose(moved_image[:, 0, :-1, -2:], mask[:, 1:, -2:].flip(2).float(), atol=1e-3)


@pytest.mark.parametrize(
    ("spatial", "spacing", "radii"),
    [
        ((80, 120), (1.0, 1.0), (18.0, 30.0)),
        ((40, 120), (2.0, 1.0), (18.0, 30.0)),
        ((36, 40, 30), (1.0, 1.0, 1.0), (7.0, 10.0, 13.0)),
        ((24, 60, 20), (1.5, 0.7, 1.8), (8.0, 10.0, 13.0)),
    ],
)
@pytest.mark.parametrize("angle", [0.4, -1.1])
def test_rotation_is_rigid_in_millimetres(
    spatial: tuple[int, ...], spacing: tuple[float, ...], radii: tuple[float, ...], angle: float
) -> None:
    mask = _ellipsoid(spatial, spacing, radii)
    turning = _only(rotation=_always(angle), rotation_3d=_always(angle))
    _, turned = augment(mask[:, None].float(), mask, _seeded(), flip_axes=(), spacing=spacing, ranges=turning)
    volume, own_radii = _measures(mask, spacing)
    turned_volume, turned_radii = _measures(turned, spacing)
    assert (turned == 1).sum() != (turned == mask).sum()
    assert turned_volume == pytest.approx(volume, rel=0.03)
    assert turned_radii == pytest.approx(own_radii, rel=0.03)
    assert sorted(radii) == pytest.approx(own_radii, rel=0.05)


@pytest.mark.parametrize(("spatial", "spacing"), [((40, 120), (1.5, 1.0)), ((40, 30, 90), (1.0, 1.5, 0.7))])
def test_a_round_object_stays_round_under_rotation(spatial: tuple[int, ...], spacing: tuple[float, ...]) -> None:
    ball = _ellipsoid(spatial, spacing, (14.0,) * len(spatial))
    _, turned = augment(
        ball[:, None].float(),
        ball,
        _seeded(),
        flip_axes=(),
        spacing=spacing,
        ranges=_only(rotation=_always(0.7), rotation_3d=_always(0.7)),
    )
    assert ((turned == 1) != (ball == 1)).sum() < 0.08 * ball.sum()


@pytest.mark.parametrize(("spatial", "spacing"), [((80, 120), (1.5, 1.0)), ((40, 36, 60), (1.0, 1.5, 0.7))])
@pytest.mark.parametrize(
    ("change", "factor"),
    [({"scale": _always(1.25)}, 1.25), ({"scale": _always(0.75)}, 0.75), ({"shear": _always(0.2)}, 1.0)],
)
def test_scale_and_shear_change_the_volume_by_what_they_say(
    spatial: tuple[int, ...], spacing: tuple[float, ...], change: dict[str, Range], factor: float
) -> None:
    ball = _ellipsoid(spatial, spacing, (12.0,) * len(spatial))
    _, changed = augment(ball[:, None].float(), ball, _seeded(), flip_axes=(), spacing=spacing, ranges=_only(**change))
    volume, radii = _measures(changed, spacing)
    assert volume == pytest.approx(_measures(ball, spacing)[0] * factor ** len(spatial), rel=0.03)
    if "shear" in change:
        assert radii[-1] > 1.08 * radii[0]


@pytest.mark.parametrize("spatial", SIZES)
def test_elastic_deformation_bends_by_its_size(spatial: tuple[int, ...]) -> None:
    # A ramp along each axis shows where each pixel came from, in half sizes.
    ramps = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, size) for size in spatial], indexing="ij"))
    batch = ramps[None].repeat(20, 1, *[1] * len(spatial))
    inner = (..., *[slice(4, -4)] * len(spatial))
    bent = _changed(batch, elastic=_always(0.05))[inner]
    moved = bent - batch[inner]
    assert 0.02 < moved.std() < 0.06
    assert abs(moved.mean()) < 0.01
    folds = [(bent[:, axis].diff(dim=axis + 1) <= 0).float().mean() for axis in range(len(spatial))]
    assert max(folds) < 0.001


# What changes of intensity do


def test_noise_has_the_share_of_the_variance_that_was_drawn() -> None:
    image = 7 * _noise(4, 2, 60, 60) + 100
    noise = _changed(image, noise_variance=_always(0.09)) - image
    assert noise.std(dim=(1, 2, 3)) == pytest.approx(0.3 * image.std(dim=(1, 2, 3)), rel=0.05)
    assert noise.mean(dim=(1, 2, 3)) == pytest.approx(torch.zeros(4), abs=0.1)
    assert not torch.allclose(noise[0], noise[1], atol=1)


@pytest.mark.parametrize("spatial", [(20, 30), (12, 10, 14)])
def test_blur_is_gaussian(spatial: tuple[int, ...]) -> None:
    image = _noise(2, 2, *spatial)
    blurred = _changed(image, blur_sigma=_always(0.8))
    for own, before in zip(blurred.flatten(0, 1), image.flatten(0, 1), strict=True):
        expected = ndimage.gaussian_filter(before.numpy(), 0.8, radius=3, mode="nearest")
        np.testing.assert_allclose(own.numpy(), expected, rtol=1e-6, atol=1e-5)


def test_every_image_is_blurred_by_its_own_sigma() -> None:
    point = torch.zeros(6, 2, 15, 15)
    point[:, :, 7, 7] = 1
    blurred = _changed(point, blur_sigma=_always(0.5, 1.0))
    assert blurred.sum(dim=(2, 3)) == pytest.approx(torch.ones(6, 2), abs=1e-5)
    assert torch.allclose(blurred[:, 0], blurred[:, 1])
    assert len(set(blurred[:, 0, 7, 7].tolist())) == 6


EACH_OR_ALL = pytest.mark.parametrize(("is_colour", "axes"), [(False, (2, 3)), (True, (1, 2, 3))])
"""Statistics are those of each channel; of colours, those of all channels together."""


@EACH_OR_ALL
@pytest.mark.parametrize("factor", [0.75, 1.25])
def test_brightness_multiplies_the_light(factor: float, is_colour: bool, axes: tuple[int, ...]) -> None:
    image = _noise(3, 3, 20, 20)
    dark = image.amin(dim=axes, keepdim=True)
    changed = _changed(image, is_colour=is_colour, brightness=_always(factor))
    assert torch.allclose(changed - dark, factor * (image - dark), atol=1e-5)


@EACH_OR_ALL
def test_contrast_stretches_about_the_mean_within_the_range(is_colour: bool, axes: tuple[int, ...]) -> None:
    image = _noise(3, 3, 20, 20)
    mean, shrunk = image.mean(dim=axes, keepdim=True), _changed(image, is_colour=is_colour, contrast=_always(0.75))
    assert torch.allclose(shrunk - mean, 0.75 * (image - mean), atol=1e-5)
    stretched = _changed(image, is_colour=is_colour, contrast=_always(1.25))
    assert (stretched.std(dim=axes) > 1.2 * image.std(dim=axes)).all()
    assert torch.equal(stretched.amax(dim=axes), image.amax(dim=axes))
    assert torch.equal(stretched.amin(dim=axes), image.amin(dim=axes))


@EACH_OR_ALL
@pytest.mark.parametrize("name", ["gamma", "inverted_gamma"])
@pytest.mark.parametrize("power", [0.7, 1.5])
def test_gamma_keeps_mean_spread_and_order(name: str, power: float, is_colour: bool, axes: tuple[int, ...]) -> None:
    image = torch.rand(3, 2, 20, 20, generator=_seeded()) * 8 - 3
    changed, last = _changed(image, is_colour=is_colour, **{name: _always(power)}), axes[0]
    assert changed.mean(dim=axes) == pytest.approx(image.mean(dim=axes), abs=1e-4)
    assert changed.std(dim=axes) == pytest.approx(image.std(dim=axes), rel=1e-4)
    assert torch.equal(changed.flatten(last).argsort(-1), image.flatten(last).argsort(-1))
    # A power above 1 spreads the bright end, one below it the dark end; inverted, the other way round.
    bright, dark = (changed.flatten(last).quantile(q, -1) for q in (0.99, 0.01))
    middle = changed.flatten(last).quantile(0.5, -1)
    assert ((bright - middle > middle - dark) == ((power > 1) == (name == "gamma"))).all()


def test_low_resolution_loses_detail_and_keeps_place() -> None:
    rows = torch.arange(40.0).view(1, 1, 40, 1).expand(2, 1, 40, 30)
    coarse = _changed(rows, low_resolution=_always(0.5))
    assert (coarse - rows)[..., 2:-2, :].abs().max() <= 1
    stripes = rows % 2
    assert _changed(stripes, low_resolution=_always(0.5)).std() < 1e-6
    assert torch.allclose(_changed(stripes, low_resolution=_always(1.0)), stripes)


def test_channel_jitter_moves_each_channel_by_itself() -> None:
    image = _noise(5, 3, 20, 20) + torch.tensor([0.0, 4.0, -2.0]).view(1, 3, 1, 1)
    changed = _changed(image, channel_jitter=_always(1.2))
    factors = changed.std(dim=(2, 3)) / image.std(dim=(2, 3))
    shifts = changed.mean(dim=(2, 3)) - image.mean(dim=(2, 3))
    assert len(set(factors.flatten().tolist())) == 15
    assert ((factors > 0.79) & (factors < 1.21)).all()
    assert factors.std() > 0.05
    assert (shifts.abs() <= 0.2 * image.std(dim=(1, 2, 3)).view(-1, 1) + 1e-5).all()
    assert shifts.std() > 0.1
    correlation = np.corrcoef(changed[0, 1].flatten(), image[0, 1].flatten())[0, 1]
    assert correlation == pytest.approx(1, abs=1e-5)


def test_channel_jitter_leaves_grey_images() -> None:
    image = _noise(3, 1, 20, 20)
    assert torch.equal(_changed(image, channel_jitter=_always(1.2)), image)


@pytest.mark.fault(56)
@pytest.mark.parametrize("channel", [0, 1])
def test_what_is_done_to_one_channel_does_not_depend_on_the_range_of_another(channel: int) -> None:
    image = _noise(4, 2, 20, 20)
    beside = image.clone()
    beside[:, 1 - channel] = 1000 * beside[:, 1 - channel] - 500
    changed, changed_beside = (_changed(one, **vars(_without(*SPATIAL))) for one in (image, beside))
    assert not torch.allclose(changed, image, atol=0.1)
    torch.testing.assert_close(changed[:, channel], changed_beside[:, channel])


@pytest.mark.parametrize("spatial", SIZES)
@pytest.mark.parametrize("value", [0.0, -1.0, 300.0])
def test_constant_images_stay_finite_and_constant(spatial: tuple[int, ...], value: float) -> None:
    image = torch.full((2, 3, *spatial), value).requires_grad_()
    changed, _ = augment(image, _no_mask(image), _seeded(), flip_axes=(0,), ranges=EVERYTHING)
    assert torch.isfinite(torch.autograd.grad(changed.sum(), image)[0]).all()
    assert torch.allclose(changed, image, rtol=1e-4, atol=1e-4)
