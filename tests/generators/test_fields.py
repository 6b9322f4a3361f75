"""Fields of codes under masks."""

from __future__ import annotations

import pytest
import torch
from style_masks import square
from torch.nn import functional

from genseg.generators.fields import centres_of, extend, lay_out, rim_width, shares_of, shift
from genseg.generators.style import GRID, style_shape


@pytest.mark.parametrize("rank", [2, 3])
def test_codes_are_kept_where_they_are_sure_and_carried_on_to_everywhere(rank: int) -> None:
    sure = torch.zeros(1, 1, *(8,) * rank)
    sure[..., :2], sure[..., -2:] = 1, 1
    codes = torch.full_like(sure, 100.0)
    codes[..., :2], codes[..., -2:] = -1, 1
    extended = extend(codes, sure)
    assert torch.equal(extended[sure > 0], codes[sure > 0])
    assert extended.abs().max() <= 1 + 1e-5
    assert extended[..., 2].mean() < 0 < extended[..., 5].mean()
    assert not extend(codes, torch.zeros_like(sure)).any()


def test_odd_numbers_of_cells_are_carried_on_too() -> None:
    sure = torch.zeros(1, 1, 5, 3)
    sure[..., 0, 0] = 1
    torch.testing.assert_close(extend(torch.full((1, 2, 5, 3), 7.0), sure), torch.full((1, 2, 5, 3), 7.0))


def test_a_style_is_laid_out_by_the_classes_of_the_mask() -> None:
    mask = square(2, 24, classes=3)
    style = torch.arange(4.0).view(1, 4, 1, 1, 1).expand(1, *style_shape(2, 3, 4))
    laid_out = lay_out(style, mask)[0, 0]
    assert (laid_out[mask[0, 1] > 0] == 1).all()
    assert laid_out[22, 30] > 2, "beside the object the rim's codes weigh most"
    assert laid_out[0, 0] == 0
    half = 0.5 * mask + 0.5 * mask.roll(1, 1)
    assert lay_out(style, half)[0, 0, 30, 30] == 1.5


@pytest.mark.parametrize("rank", [2, 3])
def test_the_rim_takes_its_share_from_the_surroundings_alone(rank: int) -> None:
    mask = square(rank, 24, classes=3)
    shares = shares_of(mask)
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))
    assert torch.equal(shares[:, 1:3], mask[:, 1:])
    middle = (0, -1, slice(None), *(30,) * (rank - 1))
    margin = rim_width(mask.shape[2:])
    outwards = shares[middle][:24].flip(0)
    assert outwards[0] > 0.99
    assert (outwards.diff() <= 0).all()
    assert outwards[margin // 2 + margin :].max() == 0 < outwards[margin // 2 + margin - 1]
    assert not shares_of(torch.zeros_like(mask)).any()


def test_middles_of_classes_and_of_the_whole_foreground() -> None:
    mask = square(2, 24, classes=3)
    mask[:, 0, :16, 48:], mask[:, 2, :16, 48:] = 0, 1  # the upper right corner
    centres = centres_of(mask)[0]
    assert centres[1].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert centres[2].tolist() == pytest.approx([-0.75, 0.75])
    assert centres[0].tolist() == pytest.approx([-0.375, 0.375])
    assert centres_of(torch.zeros(1, 2, 9, 9)).abs().max() == 0


@pytest.mark.parametrize("rank", [2, 3])
def test_each_field_moves_by_its_own_offset(rank: int) -> None:
    style = torch.zeros(1, *style_shape(rank, 2, 1))
    style[(0, slice(None), 0, *(GRID[rank] // 2,) * rank)] = 1
    offset = torch.zeros(1, 3, rank)
    offset[:, 1, 0] = 2 / GRID[rank] * 3  # three cells along the first axis
    offset[:, 2, -1] = -2 / GRID[rank]  # one cell back along the last
    moved, expected = shift(style, offset), style[0, 0, 0]
    for field, wanted in enumerate((expected, expected.roll(3, 0), expected.roll(-1, -1))):
        torch.testing.assert_close(moved[0, field, 0], wanted, atol=1e-4, rtol=0)


def test_an_image_has_the_same_rim_at_every_size_and_volumes_one_of_as_many_voxels() -> None:
    assert [rim_width((side, side)) for side in (64, 128, 192, 256, 512)] == [4, 6, 8, 12, 24]
    assert rim_width((96, 171)) == rim_width((128, 128))  # as many pixels
    assert rim_width((8, 8)) == 2  # never none
    assert {rim_width((side,) * 3) for side in (8, 64, 128)} == {2}
    whole = shares_of(square(2, 24).repeat_interleave(4, 2).repeat_interleave(4, 3))[:, -1:]
    half = shares_of(square(2, 24).repeat_interleave(2, 2).repeat_interleave(2, 3))[:, -1:]
    torch.testing.assert_close(functional.avg_pool2d(whole, 2).sum(), half.sum(), rtol=0.05, atol=0)
