"""Pictures of cases: what is shown, in which colours, and how sheets are laid out."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from genseg.drawing.overlays import (
    CLASS_COLOURS,
    class_colours,
    marked_slice,
    outline,
    overlay,
    palette,
    side_by_side,
    tile,
    with_heading,
    write_in_corner,
)
from genseg.read.case import Case


def _square(size: int = 20, value: int = 1) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[5:15, 5:15] = value
    return mask


def test_overlay_outlines_the_class_in_its_colour_and_tints_the_inside() -> None:
    image = np.full((3, 20, 20), 100, np.uint8)
    shown = overlay(image, _square(), size=20)
    assert tuple(shown[5, 10]) == CLASS_COLOURS[0]
    tint = [round(0.75 * 100 + 0.25 * level) for level in CLASS_COLOURS[0]]
    assert np.abs(shown[10, 10].astype(int) - tint).max() <= 1
    assert tuple(shown[4, 10]) == tuple(shown[0, 0]) == (100, 100, 100)


def test_overlay_without_mask_is_the_image_alone() -> None:
    image = np.random.default_rng(0).integers(0, 255, (3, 16, 16), dtype=np.uint8)
    np.testing.assert_array_equal(overlay(image, None, size=16), np.moveaxis(image, 0, -1))


def test_overlay_leaves_its_input_as_it_is() -> None:
    image, mask = np.full((1, 20, 20), 100, np.uint8), _square()
    overlay(image, mask, size=20)
    assert (image == 100).all()
    np.testing.assert_array_equal(mask, _square())


@pytest.mark.parametrize("dtype", [np.bool_, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_values_that_are_not_8_bit_are_stretched_to_the_full_range(dtype: type) -> None:
    ramp = np.tile(np.linspace(0, 1, 50), (50, 1))[None]
    image = (ramp > 0.5) if dtype is np.bool_ else (ramp * 30000 - 100).astype(dtype)
    shown = overlay(image.astype(dtype), None, size=50)
    assert shown.dtype == np.uint8
    assert (shown.min(), shown.max()) == (0, 255)


def test_not_finite_and_constant_values_are_drawn_without_complaint() -> None:
    image = np.full((1, 16, 16), 7.0, np.float32)
    assert not overlay(image, None, size=16).any()
    image[0, 0, 0], image[0, 0, 1], image[0, 8:] = np.nan, np.inf, 9.0
    assert overlay(image, None, size=16)[12, 12, 0] == 255


@pytest.mark.fault(56)
def test_every_channel_is_shown_in_its_own_range_with_the_mask() -> None:
    ramp = np.tile(np.linspace(0, 1, 16), (16, 1))
    image = np.stack([1000 * ramp - 1000, ramp.T]).astype(np.float32)
    shown = overlay(image, None, size=16)
    assert shown.shape == (16, 32, 3)
    assert shown[8, :16, 0].tolist() == sorted(shown[8, :16, 0])
    assert shown[:, 24, 0].tolist() == sorted(shown[:, 24, 0])
    assert [(half.min(), half.max()) for half in (shown[:, :16], shown[:, 16:])] == [(0, 255)] * 2
    marked = overlay(image, _square(16), size=16)
    assert tuple(marked[5, 10]) == tuple(marked[5, 26]) == CLASS_COLOURS[0]


@pytest.mark.fault(56)
def test_channels_lie_in_rows_and_those_of_volumes_too() -> None:
    image = np.stack([np.full((16, 16), level, np.uint8) for level in (10, 20, 30, 40)])
    assert overlay(image, None, size=16)[::16, ::16, 0].tolist() == [[10, 20], [30, 40]]
    assert overlay(np.zeros((7, 16, 16)), None, size=16).shape == (24, 24, 3)
    volume = np.zeros((2, 16, 16, 3), np.float32)
    volume[1, :, 8:] = 0.5
    shown = overlay(volume, None, size=16)
    assert shown.shape == (16, 32, 3)
    assert not shown[:, :16].any()
    assert shown[:8, 16:].min() == 255


@pytest.mark.parametrize(("third", "width"), [(1.5, 16), (40.0, 32)])
def test_three_channels_that_share_no_range_are_no_colours(third: float, width: int) -> None:
    ramp = np.tile(np.linspace(0, 1, 16), (16, 1))
    assert overlay(np.stack([ramp, 0.5 * ramp, third * ramp]), None, size=16).shape[1] == width


def test_of_a_volume_the_slice_with_most_foreground_is_shown() -> None:
    volume = np.zeros((1, 16, 16, 4), np.uint8)
    for place in range(4):
        volume[0, 4 * place : 4 * place + 4, :, place] = 9
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[0, 0, 0] = mask[:4, :4, 3] = 1

    def bright_columns(mask: np.ndarray | None) -> list[int]:
        return np.flatnonzero(overlay(volume, mask, size=16)[0, :, 0] == 255).tolist()

    assert bright_columns(mask) == [12, 13, 14, 15]
    assert bright_columns(np.zeros_like(mask)) == bright_columns(None) == [8, 9, 10, 11]


def test_of_a_volume_the_first_axis_runs_right_and_the_second_up() -> None:
    volume = np.zeros((1, 16, 10, 1), np.uint8)
    volume[0, 10:, :4] = 7
    shown = overlay(volume, None, size=16)
    assert shown.shape == (10, 16, 3)
    assert (shown[6:, 10:] == 255).all()
    assert shown[:6].max() == shown[:, :10].max() == 0
    marked = overlay(volume, (volume[0] > 0).astype(np.uint8), size=16)
    assert tuple(marked[6, 10]) == CLASS_COLOURS[0]
    assert marked[:6].max() == marked[:, :10].max() == 0


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((1, 20, 40), None, (50, 100)),
        ((1, 40, 20), None, (100, 50)),
        ((1, 20, 40), (2.0, 1.0), (100, 100)),
        ((1, 40, 20, 3), (1.0, 4.0, 9.0), (100, 50)),
        ((1, 1, 2000), None, (1, 100)),
    ],
)
def test_proportions_follow_size_and_spacing(
    shape: tuple[int, ...], spacing: tuple[float, ...] | None, expected: tuple[int, int]
) -> None:
    image = np.ones(shape, np.uint8)
    assert overlay(image, np.ones(shape[1:], np.uint8), size=100, spacing=spacing).shape == (*expected, 3)


def test_colours_repeat_when_there_are_more_classes_than_colours() -> None:
    colours = class_colours(len(CLASS_COLOURS) + 1)
    assert colours[-1] == CLASS_COLOURS[0]
    assert len(set(CLASS_COLOURS)) == len(CLASS_COLOURS)
    shown = overlay(np.zeros((1, 20, 20), np.uint8), _square(value=len(colours)), size=20)
    assert tuple(shown[5, 10]) == CLASS_COLOURS[0]


def test_tile_places_pictures_row_by_row() -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [np.full((20, 30, 3), colour, np.uint8) for colour in colours]
    sheet = np.asarray(tile(pictures, ["a", "b", "c"], columns=2))
    covered = [np.argwhere((sheet == colour).all(axis=2)) for colour in colours]
    (top_a, left_a), (top_b, left_b), (top_c, left_c) = (places[0] for places in covered)
    assert [len(places) for places in covered] == [600, 600, 600]
    assert top_a == top_b < top_c
    assert left_a == left_c < left_b


def test_tile_of_nothing_is_an_empty_sheet() -> None:
    assert tile([], [], columns=3).size[0] > 0


@pytest.mark.parametrize("title", ["two\nlines", "\u00e9\u4e2d\U0001f600", "-x" * 200, "", "\x00\udcff"])
def test_any_file_name_can_be_a_title(title: str) -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    sheet = tile([picture, picture], [title, title], columns=2)
    single = tile([picture], ["short"], columns=1)
    assert sheet.height == single.height
    page = with_heading(sheet, title, [title, "tumour"])
    assert page.height > sheet.height


def test_long_titles_keep_both_ends_so_that_names_stay_apart() -> None:
    picture = np.zeros((20, 60, 3), np.uint8)
    stem = "patient_number_of_the_hospital_"
    first, second = (np.asarray(tile([picture], [stem + end], columns=1)) for end in ("0001", "0002"))
    assert (first != second).any()


def test_heading_shows_every_class_colour_and_wraps_many_classes() -> None:
    sheet = Image.new("RGB", (100, 50))
    few = with_heading(sheet, "set", ["one", "two"])
    pixels = np.asarray(few).reshape(-1, 3)
    assert all((pixels == colour).all(axis=1).any() for colour in CLASS_COLOURS[:2])
    many = with_heading(sheet, "set", [f"class {n}" for n in range(40)])
    assert many.height > few.height


def test_one_slice_shows_what_several_masks_mark() -> None:
    first, second = np.zeros((2, 4, 4, 3), np.uint8)
    assert marked_slice(first) == slice(1, 2)
    first[0, 0, 0], second[:2, 0, 2] = 1, 3
    assert marked_slice(first) == slice(0, 1)
    assert marked_slice(first, second) == slice(2, 3)
    assert marked_slice(first[..., 0]) == slice(None)


@pytest.mark.parametrize("width", [1, 2, 3])
def test_an_outline_is_as_wide_as_asked_for_and_lies_within_its_class(width: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    mask = np.zeros((20, 30), np.uint8)
    mask[4:16, 6:24] = 2
    drawn = outline(picture, mask, [(0, 0, 0), (1, 1, 1), (9, 8, 7)], width)
    is_line = mask > 0
    is_line[4 + width : 16 - width, 6 + width : 24 - width] = False
    assert (drawn[is_line] == (9, 8, 7)).all()
    np.testing.assert_array_equal(drawn[~is_line], picture[~is_line])


def test_each_of_two_classes_that_touch_has_its_own_line() -> None:
    mask = np.repeat(np.array([[1] * 6 + [2] * 6], np.uint8), 8, axis=0)
    drawn = outline(np.zeros((8, 12, 3), np.uint8), mask, [(0, 0, 0), (10, 0, 0), (0, 20, 0)])
    assert drawn[4, :, 0].tolist() == [0] * 5 + [10] + [0] * 6
    assert drawn[4, :, 1].tolist() == [0] * 6 + [20] + [0] * 5


def test_an_outline_leaves_its_input_as_it_is_even_where_the_picture_is_smaller_than_the_line() -> None:
    picture, mask = np.zeros((1, 2, 3), np.uint8), np.ones((1, 2), np.uint8)
    picture.flags.writeable = mask.flags.writeable = False
    assert not outline(picture, mask, [(0, 0, 0), (255, 0, 0)], 3).any()


@pytest.mark.parametrize("size", [(720, 1280), (48, 64), (3, 5)])
def test_text_in_the_corner_can_be_read_on_any_picture_and_stays_in_the_corner(size: tuple[int, int]) -> None:
    shown = np.full((*size, 3), 200, np.uint8)
    write_in_corner(shown, "12.5 frames/s")
    assert shown[0, 0].max() < 50
    if size[0] > 100:
        assert shown[:40, :200].max() > 220
    if size[0] > 10:
        assert (shown[size[0] // 2 :] == 200).all()


def test_each_class_has_a_colour_of_its_own_and_the_background_is_black() -> None:
    colours = palette(7)
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 7


def _volume() -> tuple[Case, np.ndarray]:
    """A volume whose truth is in slice 1 and whose prediction is, larger, in slice 3."""
    image = np.zeros((1, 8, 8, 5), np.int16)
    image[..., 3] = 100
    truth, prediction = np.zeros((2, 8, 8, 5), np.uint8)
    truth[2:4, 2:4, 1] = 1
    prediction[2:6, 2:6, 3] = 1
    return Case("case", image, truth, (1.0, 1.0, 1.0), np.eye(4), "", "mr", ""), prediction


def test_image_truth_and_prediction_are_shown_side_by_side_in_one_slice() -> None:
    case, prediction = _volume()
    shown, truth, predicted = np.split(side_by_side(case, prediction), 3, axis=1)
    assert np.array_equal(shown, truth)
    assert not np.array_equal(shown, predicted)
