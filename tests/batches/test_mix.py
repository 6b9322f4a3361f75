"""Two real pairs made into one: image and mask always from the same place, and nothing invented."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from genseg.batches.mix import PROBABILITY, Mix, mix_pairs
from genseg.read.case import IGNORE

SIZES = {2: (24, 20), 3: (12, 10, 8)}


def _numbered(rank: int, count: int) -> tuple[Tensor, Tensor]:
    """Images whose every pixel tells which image it is of, and masks: a box of class 1, a corner unknown."""
    size = SIZES[rank]
    image = torch.arange(count, dtype=torch.float32).reshape(-1, *[1] * (rank + 1)).expand(count, 2, *size).clone()
    mask = torch.zeros(count, *size, dtype=torch.uint8)
    for number in range(count):
        mask[(number, *(slice(2 + number % 3, 6 + number % 3) for _ in size))] = 1 + number % 2
        mask[(number, *(slice(0, 2) for _ in size))] = IGNORE
    return image, mask


def _generator(seed: int) -> Generator:
    return Generator().manual_seed(seed)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("mix", ["copy-paste", "cutmix"])
def test_every_pixel_and_its_label_come_from_one_of_two_images(rank: int, mix: Mix) -> None:
    image, mask = _numbered(rank, 64)
    mixed_image, mixed_mask = mix_pairs(image, mask, mix, _generator(0))
    own = mixed_image[:, 0] == image[:, 0]
    other = mixed_image[:, 0] == image.roll(1, 0)[:, 0]
    assert (own ^ other).all()
    assert torch.equal(mixed_mask, torch.where(own, mask, mask.roll(1, 0)))
    assert torch.equal(mixed_image[:, 1], mixed_image[:, 0])
    changed = other.flatten(1).any(1).float().mean()
    assert changed == pytest.approx(PROBABILITY, abs=0.2)


def test_objects_are_pasted_whole_and_alone() -> None:
    image, mask = _numbered(2, 64)
    mixed_image, _ = mix_pairs(image, mask, "copy-paste", _generator(1))
    other = mixed_image[:, 0] != image[:, 0]
    donors = mask.roll(1, 0)
    objects = (donors > 0) & (donors != IGNORE)
    chosen = other.flatten(1).any(1)
    assert 0 < chosen.sum() < 64
    assert torch.equal(other, objects & chosen[:, None, None])


def test_boxes_cover_half_of_the_image_less_what_lies_outside() -> None:
    image, mask = _numbered(2, 2000)
    mixed_image, _ = mix_pairs(image, mask, "cutmix", _generator(2))
    other = (mixed_image[:, 0] != image[:, 0]).float().flatten(1).mean(1)
    shares = other[other > 0]
    assert 0.25 < shares.mean() < 0.5
    assert shares.max() > 0.8
    assert shares.min() < 0.05


def test_the_draw_alone_decides_and_what_was_given_stays() -> None:
    image, mask = _numbered(2, 8)
    before = image.clone(), mask.clone()
    first, again, other = (mix_pairs(image, mask, "cutmix", _generator(seed)) for seed in (3, 3, 4))
    assert torch.equal(image, before[0])
    assert torch.equal(mask, before[1])
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_an_image_alone_stays_as_it_is() -> None:
    image, mask = _numbered(2, 1)
    for seed in range(4):
        mixed_image, mixed_mask = mix_pairs(image, mask, "copy-paste", _generator(seed))
        assert torch.equal(mixed_image, image)
        assert torch.equal(mixed_mask, mask)
