"""Fields of codes under masks."""

from __future__ import annotations

import pytest
import torch
from style_masks import square

from genseg.generators.fields import centres_of, extend, lay_out, shift
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
    style = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, *style_shape(2, 3, 4))
    assert torch.equal(lay_out(style, mask)[0, 0], mask[0, 1])
    half = 0.5 * mask + 0.5 * mask.roll(1, 1)
    assert lay_out(style, half)[0, 0, 30, 30] == 1.5


def test_middles_of_classes_and_of_the_whole_foreground() -> None:
    mask = square(2, 24, classes=3)
    mask[:, 0, :16, 48:], mask[:, 2, :16, 48:] = 0, 1  # the upper right corner
    centres = centres_of(mask)[0]
    assert centres[1].tolist() == pytest.approx([0, 0], abs=1e-6)
    assert centres[2].tolist() == pytest.approx([-0.75, 0.75])
    assert centres[0].tolist() == pytest.approx([-0.375, 0.375])
    assert centres_of(torch.zeros(1, 2, 9, 9)).abs().max() == 0


@pytest.mark.parametrize("rank", [2, 3])
def test_objects_codes_move_with_the_object_and_surroundings_stay(rank: int) -> None:
    style = torch.zeros(1, *style_shape(rank, 2, 1))
    centre = (0, slice(None), 0, *(GRID[rank] // 2,) * rank)
    style[centre] = 1
    offset = torch.zeros(1, 2, rank)
    offset[..., 0] = 2 / GRID[rank] * 3  # three cells along the first axis
    moved = shift(style, offset)
    assert torch.equal(moved[:, 0], style[:, 0])
    torch.testing.assert_close(moved[0, 1, 0], style[0, 1, 0].roll(3, 0), atol=1e-4, rtol=0)
