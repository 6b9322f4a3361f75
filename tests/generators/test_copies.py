"""The copy test: what it finds, what it lets pass, and where its threshold lies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genseg.generators.copies import CopyTest, describe_images


def _images(count: int, *spatial: int, channels: int = 2, seed: int = 0) -> Tensor:
    """Smooth random images: what is left of them when they are made small is not mere noise."""
    coarse = torch.randn(count, channels, *[6] * len(spatial), generator=torch.Generator().manual_seed(seed))
    return functional.interpolate(coarse, spatial, mode="bilinear" if len(spatial) == 2 else "trilinear")


def _test(
    images: Tensor, held_out: Tensor | None = None, groups: Sequence[int] = (), flips: Sequence[int] = ()
) -> CopyTest:
    unseen = images[:0] if held_out is None else held_out
    return CopyTest(describe_images(images), groups or range(len(images)), describe_images(unseen), flips)


@pytest.mark.parametrize("spatial", [(40, 33), (16, 16), (9, 50), (12, 10, 9)])
def test_light_and_contrast_do_not_matter(spatial: tuple[int, ...]) -> None:
    images = _images(3, *spatial)
    described = describe_images(images)
    assert described.shape == (3, 2, *((16, 16) if len(spatial) == 2 else (8, 8, 8)))
    torch.testing.assert_close(described.flatten(2).mean(2), torch.zeros(3, 2))
    torch.testing.assert_close(described.flatten(2).square().mean(2), torch.ones(3, 2))
    torch.testing.assert_close(describe_images(3 * images - 1), described)


@pytest.mark.parametrize("light", [0.0, 0.3, -1.0, 700.1])
def test_an_image_of_one_colour_is_nothing(light: float) -> None:
    assert not describe_images(torch.full((1, 3, 20, 20), light)).any()


@pytest.mark.parametrize("spatial", [(32, 32), (12, 12, 12)])
def test_copies_are_nearest_to_what_they_are_copies_of(spatial: tuple[int, ...]) -> None:
    images, rank = _images(5, *spatial), len(spatial)
    tested = _test(images, flips=range(rank))
    noise = 0.02 * torch.randn(images.shape, generator=torch.Generator().manual_seed(1))
    copies = torch.cat(
        [images[[3]], (images + noise)[[1]], images[[4]].flip(2), images[[0]].flip(tuple(range(2, 2 + rank)))]
    )
    distance, nearest = tested.nearest(describe_images(copies))
    assert nearest.tolist() == [3, 1, 4, 0]
    assert distance.max() < 0.2 * tested.threshold
    others, _ = tested.nearest(describe_images(_images(5, *spatial, seed=2)))
    assert others.min() > 0.5 * tested.threshold


def test_mirror_images_are_copies_only_where_the_plan_has_flips() -> None:
    images = _images(4, 32, 32)
    mirrored = describe_images(images.flip(3))
    assert _test(images, flips=(1,)).nearest(mirrored)[0].max() < 1e-5
    assert _test(images, flips=(0,)).nearest(mirrored)[0].min() > 0.5


def test_distances_are_0_for_an_equal_image_and_2_for_its_negative() -> None:
    images = _images(1, 32, 32)
    distance, _ = _test(images).nearest(describe_images(torch.cat([images, -images])))
    assert distance.tolist() == pytest.approx([0, 2], abs=1e-5)


def test_the_threshold_is_the_smallest_distance_between_patients() -> None:
    images = _images(6, 32, 32)
    far = _test(images).threshold
    described = describe_images(images)
    pairs = [(described[a] - described[b]).square().mean().sqrt().item() for a in range(6) for b in range(a)]
    assert far == pytest.approx(min(pairs))
    twice = torch.cat([images, 0.9 * images[[2]] + 0.1 * images[[3]]])
    near = _test(twice).threshold
    assert near < 0.3 * far
    assert _test(twice, groups=[0, 1, 2, 3, 4, 5, 2]).threshold > 2 * near


def test_held_out_images_lower_the_threshold_too() -> None:
    images = _images(6, 32, 32)
    unseen = 0.9 * images[[2]] + 0.1 * images[[3]]
    tested = _test(images, unseen)
    assert tested.threshold == pytest.approx(tested.nearest(describe_images(unseen))[0].item())
    assert tested.threshold < 0.3 * _test(images).threshold


def test_with_one_patient_alone_nothing_is_a_copy() -> None:
    assert _test(_images(3, 32, 32), groups=[0, 0, 0]).threshold == 0
