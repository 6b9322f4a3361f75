"""Pictures for people: a case with its mask drawn over it, and sheets of many such pictures.

Pillow draws, because it starts in milliseconds and a sheet of hundreds of cases must not take longer than reading them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import cycle, islice

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from genseg.base.files import printable
from genseg.read.case import Case

Colour = tuple[int, int, int]

# Okabe and Ito's palette (2008), which colour-blind readers can tell apart too; best contrast to tissue first.
CLASS_COLOURS: tuple[Colour, ...] = (
    (240, 228, 66),
    (86, 180, 233),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (0, 114, 178),
)
"""Colours of the foreground classes 1, 2, ...; they repeat when there are more classes."""

BACKGROUND_COLOUR = (0, 0, 0)
REPORT_SIZE = 320
"""Pixels along the longer side of each picture in a report."""

_TINT = 0.25
_FONT_SIZE = 12
_LINE = 16
_MARGIN = 4
_SWATCH = 9
_LEAST_PAGE_WIDTH = 480
_LEAST_CORNER_FONT = 8
_LINES_OF_PICTURE = 30
_PAPER = (24, 24, 24)
_MOST_LARGE_CHANNELS = 4
_MOST_UNEQUAL = 4.0  # times that a colour's values may spread as wide as another's
_INK = (235, 235, 235)

_Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def class_colours(classes: int) -> list[Colour]:
    """One colour for each of `classes` foreground classes, repeating where the palette is too short."""
    return list(islice(cycle(CLASS_COLOURS), classes))


def palette(classes: int) -> list[tuple[int, int, int]]:
    """Colours of classes 0, 1, ...: index masks stay index masks, and a person opening one sees something."""
    return [BACKGROUND_COLOUR, *class_colours(classes - 1)]


def overlay(
    image: NDArray[np.generic],
    mask: NDArray[np.generic] | None,
    size: int = 192,
    spacing: Sequence[float] | None = None,
) -> NDArray[np.uint8]:
    """Draw a case: the image in its own brightness, each class tinted and outlined in its colour.

    image: `(channel, *spatial)` of any dtype, two or three spatial axes. Three channels of a picture that share a range
        are shown as RGB, other channels in grey, each with the mask, side by side in rows. All but 8-bit pictures are
        stretched between their 1st and 99th percentile.
    mask: `(*spatial)` class indices, or None. Of a volume the slice along the last axis that holds most foreground is
        shown (the middle one where there is none).
    size: pixels along the longer side of the picture, or of each channel; half as much where there are over four.
    spacing: size of a voxel along each spatial axis, so that the picture has the anatomy's proportions; equal if None.

    Returns `(height, width, 3)` uint8.
    """
    if image.ndim == 4:
        image, mask, spacing = _slice(image, mask, spacing)
        shown = [_stretched(channel) for channel in image]
    elif _is_in_colour(image):
        shown = [_displayable(np.moveaxis(image, 0, -1))]
    else:
        shown = [_displayable(channel) for channel in image]
    each = size if len(shown) <= _MOST_LARGE_CHANNELS else max(1, size // 2)
    return _in_rows([_drawn(channel, mask, each, spacing) for channel in shown])


def side_by_side(case: Case, prediction: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Image, expert's mask and prediction `(row, column, 3)`; of a volume the slice with most foreground in either."""
    image, truth = case.image, case.mask
    if truth is not None:
        shown = marked_slice(truth, prediction)
        image, truth, prediction = image[..., shown], truth[..., shown], prediction[..., shown]
    return np.hstack([overlay(image, mask, REPORT_SIZE, case.spacing) for mask in (None, truth, prediction)])


def _drawn(
    shown: NDArray[np.uint8], mask: NDArray[np.generic] | None, size: int, spacing: Sequence[float] | None
) -> NDArray[np.uint8]:
    """One picture in grey or RGB, in the size asked for, with the mask over it."""
    picture = Image.fromarray(shown)
    target = _fitting_size(picture.size, size, spacing)
    pixels = np.asarray(picture.resize(target, Image.Resampling.BILINEAR, reducing_gap=2.0).convert("RGB"))
    if mask is None:
        return pixels.copy()
    shrunk = Image.fromarray(mask.astype(np.uint8)).resize(target, Image.Resampling.NEAREST)
    return _paint(pixels, np.asarray(shrunk))


def outline(
    picture: NDArray[np.uint8], mask: NDArray[np.uint8], colours: Sequence[Colour], width: int = 1
) -> NDArray[np.uint8]:
    """Draw around each class a line `width` pixels wide, within it, in a few milliseconds: for frames of a video.

    picture: RGB `(row, column, 3)`. mask: `(row, column)` class indices. colours: of classes 0, 1, ...; class 0 has no
    line. Returns a new picture; what lies inside of the lines keeps its own colour.
    """
    is_line = np.zeros(mask.shape, np.bool_)
    for axis in range(2):
        ahead, behind = np.moveaxis(mask, axis, 0)[width:], np.moveaxis(mask, axis, 0)[:-width]
        differs, line = ahead != behind, np.moveaxis(is_line, axis, 0)
        line[width:] |= differs
        line[:-width] |= differs
    is_line &= mask > 0
    drawn = picture.copy()
    drawn[is_line] = np.array(colours, np.uint8)[mask[is_line]]
    return drawn


def write_in_corner(picture: NDArray[np.uint8], text: str) -> None:
    """Write a line of text into the upper left corner of an RGB picture `(row, column, 3)`, on dark ground."""
    font = _corner_font(max(_LEAST_CORNER_FONT, len(picture) // _LINES_OF_PICTURE))
    right, bottom = (round(length) + 2 * _MARGIN for length in font.getbbox(text)[2:])
    corner = Image.fromarray(picture[:bottom, :right])
    draw = ImageDraw.Draw(corner)
    draw.rectangle((0, 0, right, bottom), fill=_PAPER)
    draw.text((_MARGIN, _MARGIN), text, fill=_INK, font=font)
    picture[:bottom, :right] = np.asarray(corner)


def marked_slice(*masks: NDArray[np.generic]) -> slice:
    """Of volumes, the part of the last axis to show: the one slice that the masks mark most, the middle one if none.

    masks: `(*spatial)` class indices, all of one size. Of pictures, all of the axis.
    """
    if masks[0].ndim == 2:
        return slice(None)
    marked = np.sum([np.count_nonzero(mask, axis=(0, 1)) for mask in masks], axis=0)
    index = int(marked.argmax()) if marked.any() else len(marked) // 2
    return slice(index, index + 1)


def tile(pictures: Sequence[NDArray[np.uint8]], titles: Sequence[str], columns: int) -> Image.Image:
    """Arrange pictures `(height, width, 3)` row by row, `columns` in a row, each below its title.

    Titles are shortened to the width of a column; characters that the built-in font lacks are shown escaped.
    """
    font = ImageFont.load_default(_FONT_SIZE)
    columns = max(1, min(columns, len(pictures)))
    width = max((picture.shape[1] for picture in pictures), default=1) + _MARGIN
    height = max((picture.shape[0] for picture in pictures), default=1) + _MARGIN + _LINE
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width + _MARGIN, rows * height + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for place, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        left, top = _MARGIN + place % columns * width, _MARGIN + place // columns * height
        draw.text((left, top), _shortened(title, width - _MARGIN, font), fill=_INK, font=font)
        sheet.paste(Image.fromarray(picture), (left, top + _LINE))
    return sheet


def with_heading(sheet: Image.Image, heading: str, class_names: Sequence[str]) -> Image.Image:
    """Put a heading and the legend of the foreground classes (in the order of `class_colours`) above a sheet."""
    font = ImageFont.load_default(_FONT_SIZE)
    width = max(sheet.width, _LEAST_PAGE_WIDTH)
    legend = _legend_places(class_names, width, font)
    lines = 1 + max((line for _, line, _ in legend), default=0)
    page = Image.new("RGB", (width, sheet.height + lines * _LINE + _MARGIN), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((_MARGIN, _MARGIN), _shortened(heading, width - 2 * _MARGIN, font), fill=_INK, font=font)
    for (left, line, name), colour in zip(legend, class_colours(len(class_names)), strict=True):
        top = _MARGIN + line * _LINE
        draw.rectangle((left, top + 2, left + _SWATCH, top + 2 + _SWATCH), fill=colour)
        draw.text((left + _SWATCH + _MARGIN, top), name, fill=_INK, font=font)
    page.paste(sheet, (0, page.height - sheet.height))
    return page


@cache
def _corner_font(size: int) -> _Font:
    return ImageFont.load_default(size)


def _legend_places(names: Sequence[str], width: int, font: _Font) -> list[tuple[int, int, str]]:
    """Left edge, line (from 1) and shown text of each legend entry, wrapped at the page's width."""
    places: list[tuple[int, int, str]] = []
    left, line = _MARGIN, 1
    for name in names:
        text = _shortened(name, width - _SWATCH - 3 * _MARGIN, font)
        entry = _SWATCH + round(font.getlength(text)) + 4 * _MARGIN
        if left > _MARGIN and left + entry > width:
            left, line = _MARGIN, line + 1
        places.append((left, line, text))
        left += entry
    return places


def _slice(
    volume: NDArray[np.generic], mask: NDArray[np.generic] | None, spacing: Sequence[float] | None
) -> tuple[NDArray[np.generic], NDArray[np.generic] | None, Sequence[float] | None]:
    """The slice of all channels to show, turned so that the first voxel axis runs right and the second runs up."""
    index = volume.shape[-1] // 2 if mask is None else marked_slice(mask).start
    shown = np.rot90(volume[..., index], axes=(1, 2))
    shown_mask = None if mask is None else np.rot90(mask[..., index])
    return shown, shown_mask, None if spacing is None else (spacing[1], spacing[0])


def _is_in_colour(image: NDArray[np.generic]) -> bool:
    """Whether the channels of a picture are shown as red, green and blue: three whose values share a range."""
    if len(image) != 3 or image.dtype == np.uint8:
        return len(image) == 3
    low, high = np.percentile(image.reshape(3, -1).astype(np.float64), (1, 99), axis=1)
    return bool((high - low).max() <= _MOST_UNEQUAL * (high - low).min())


def _in_rows(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """RGB pictures of one size side by side, in about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(pictures)))
    blank = [np.full_like(pictures[0], _PAPER)] * (-len(pictures) % columns)
    shown = [*pictures, *blank]
    return np.vstack([np.hstack(shown[start : start + columns]) for start in range(0, len(shown), columns)])


def _displayable(shown: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A picture `(row, column)` or `(row, column, 3)` of any dtype as uint8."""
    return np.ascontiguousarray(shown, dtype=np.uint8) if shown.dtype == np.uint8 else _stretched(shown)


def _stretched(shown: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Values between their 1st and 99th percentile -> 0..255; zeros where these are equal."""
    values = np.nan_to_num(shown.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = np.percentile(values, (1, 99))
    stretched = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.ascontiguousarray(np.clip(stretched * 255, 0, 255).astype(np.uint8))


def _fitting_size(stored: tuple[int, int], size: int, spacing: Sequence[float] | None) -> tuple[int, int]:
    """Width and height in pixels, the longer one `size`, in the proportions of the tissue."""
    row, column = (1.0, 1.0) if spacing is None else spacing
    width, height = stored[0] * column, stored[1] * row
    scale = size / max(width, height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _paint(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Tint the classes of `mask` `(height, width)` and draw the inner outline of each at full strength."""
    highest = int(mask.max(initial=0))
    colours = np.array([(0, 0, 0), *class_colours(highest)], dtype=np.float32)[mask]
    foreground = mask > 0
    outline = foreground & (ndimage.maximum_filter(mask, 3) != ndimage.minimum_filter(mask, 3))
    strength = np.where(outline, 1.0, np.where(foreground, _TINT, 0.0)).astype(np.float32)[..., None]
    painted: NDArray[np.uint8] = (pixels * (1 - strength) + colours * strength).round().astype(np.uint8)
    return painted


def _shortened(text: str, width: int, font: _Font) -> str:
    """`text` on one line, without characters the built-in font lacks, cut in the middle to fit `width` pixels."""
    shown = printable(text).encode("ascii", "backslashreplace").decode()
    if font.getlength(shown) <= width:
        return shown
    keep = len(shown)
    while keep > 2 and font.getlength(_cut(shown, keep)) > width:
        keep -= 1
    return _cut(shown, keep)


def _cut(text: str, keep: int) -> str:
    """The first and last characters of `text`, `keep` in all, because names often differ only at their end."""
    return f"{text[: (keep + 1) // 2]}..{text[len(text) - keep // 2 :]}"
