"""TIFF pictures and stacks, decoded with tifffile, or with Pillow where tifffile lacks the decompressor."""

from __future__ import annotations

import logging
import lzma
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image, ImageSequence
from tifffile import COMPRESSION, PHOTOMETRIC, TiffFile, TiffPage, TiffPageSeries

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import Scan
from genseg.read.options import ReadOptions
from genseg.read.orientation import ORIENTATION_TAG, SIDEWAYS, upright
from genseg.read.pixels import Pixels, invert, inverted_warning, native, picture_modality
from genseg.read.source import Source, check_unpacked, inflated, most_bytes, promise_faults, truncated
from genseg.read.tiff_spacing import stated_spacing
from genseg.read.transparency import without_transparency

_KINDS = frozenset(
    {PHOTOMETRIC.MINISWHITE, PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.RGB, PHOTOMETRIC.PALETTE, PHOTOMETRIC.YCBCR}
)
_PAGE_AXES = "ZIQ"  # tifffile's letters for depth, for a plain sequence of pages, and for an unknown axis
_CHANNEL_AXES = "CS"  # separate channels, and samples interleaved in each pixel
_ALPHA_SAMPLES = frozenset({1, 2})  # values of the ExtraSamples tag, TIFF 6.0 specification, section 18
# Size, kind, packing and place of the pixels: TIFF 6.0 specification, appendix A.
_PIXEL_TAGS = frozenset({256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 323, 324, 325})
_PIXEL_TAGS |= {338, 339}
_HARMLESS_BYTES = 64 * 2**20
_PIECE = 2**20
_MOST_PACKED = 10000  # what LZMA can do; deflate packs 1032 times at most

# What tifffile says of damaged files may quote their text; with a handler of its own it is not printed.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class _Decoded:
    """Pixels in the file's own axis order; `as_shown`: the decoder has already turned and inverted them by tag."""

    pixels: Pixels
    axes: str
    as_shown: bool


def read(source: Source, options: ReadOptions, as_mask: bool) -> Scan:
    """Read one picture as `(channel, row, column)`, or a stack as `(channel, row, column, page)` where asked for.

    The spacing is what ImageJ, OME or a microscope wrote into the file (`stated_spacing`), else it is unknown.

    Raises:
        DataError: MULTI_PAGE, UNSUPPORTED_PIXELS, UNSUPPORTED_COMPRESSION, TOO_LARGE or UNREADABLE (ends early).
    """
    with TiffFile(BytesIO(source.data)) as tiff:
        _check_chain(tiff, source)
        series = tiff.series[0]
        page = series.keyframe
        _check_header(tiff, source, options)
        _check_packed(series, source)
        decoded = _decode(series, source)
        pixels = _channels_first(decoded)
        pixels, shown = (pixels, ()) if decoded.as_shown else _as_shown(pixels, page, source.name)
        pixels, transparency = _colours(pixels, page, decoded.axes, source.name, as_mask)
        rank = pixels.ndim - 1
        spacing, unit = stated_spacing(tiff, rank)
        if _orientation(page) in SIDEWAYS:
            spacing = (spacing[1], spacing[0], *spacing[2:])
    pixels = native(pixels)
    return Scan(
        pixels=pixels,
        spacing=spacing,
        affine=np.diag([*spacing, 1.0]) if rank == 3 else None,
        modality=picture_modality(len(pixels)) if rank == 2 else "",
        sha256=source.sha256,
        warnings=shown + transparency,
        spacing_unit=unit,
    )


def _check_chain(tiff: TiffFile, source: Source) -> None:
    """Raise UNREADABLE where a page leads back to an earlier one: tifffile would follow such pages without end."""
    layout, data = tiff.tiff, source.data
    offset, seen = tiff.pages.first.offset, set[int]()
    while offset not in seen:
        seen.add(offset)
        (count,) = struct.unpack_from(layout.tagnoformat, data, offset)
        end = offset + layout.tagnosize + count * layout.tagsize
        if end + layout.offsetsize > len(data):
            return
        (offset,) = struct.unpack_from(layout.offsetformat, data, end)
        if not 0 < offset <= len(data) - layout.tagnosize:
            return
    found, cure = f"{len(seen)} pages that follow each other in a circle", "Copy or export the file again."
    raise DataError([Fault(FaultCode.UNREADABLE, source.name, found, "a last page", cure)])


def _check_header(tiff: TiffFile, source: Source, options: ReadOptions) -> None:
    """Raise all faults that the tags tell before any pixel is decoded."""
    series = tiff.series[0]
    faults = _layout_faults(tiff, source.name, options) + _kind_faults(series.keyframe, source.name)
    faults += promise_faults(source.name, series.nbytes, len(source.data)) + _lost_tags(tiff, series.keyframe, source)
    end = max((_end_of_data(page) for page in tiff.pages if isinstance(page, TiffPage)), default=0)
    if end > len(source.data):
        faults.append(truncated(source.name, source.format, len(source.data), end))
    if faults:
        raise DataError(faults)


def _check_packed(series: TiffPageSeries, source: Source) -> None:
    """Raise TOO_LARGE where a strip or tile unpacks to far more than the tags say: tifffile unpacks each of them whole.

    Left out are LZW and PackBits, which cannot grow so, what Pillow unpacks, which looks at sizes, and strips too short
    to do harm.
    """
    unpack = _UNPACKERS.get(COMPRESSION(series.keyframe.compression))
    if unpack is None:
        return
    most = min(most_bytes(), max(_HARMLESS_BYTES, 4 * series.keyframe.nbytes))
    for page in series.pages:
        if page is None:
            continue
        for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False):
            if count * _MOST_PACKED > _HARMLESS_BYTES:
                check_unpacked(source.name, unpack(memoryview(source.data)[offset : offset + count]), most)


def _unpack_lzma(data: memoryview) -> Iterator[bytes]:
    """What a strip compressed with LZMA holds, a piece at a time. Ends where it is damaged."""
    unpacker, rest = lzma.LZMADecompressor(), bytes(data)
    try:
        while not unpacker.eof and (rest or not unpacker.needs_input):
            yield unpacker.decompress(rest, _PIECE)
            rest = b""
    except lzma.LZMAError:
        return


def _inflate(data: memoryview) -> Iterator[bytes]:
    return inflated(data, zlib.MAX_WBITS)


_UNPACKERS: dict[int, Callable[[memoryview], Iterator[bytes]]] = {
    COMPRESSION.ADOBE_DEFLATE: _inflate,
    COMPRESSION.DEFLATE: _inflate,
    COMPRESSION.LZMA: _unpack_lzma,
}
"""How to unpack, in pieces, what can grow more than a thousandfold."""


def _layout_faults(tiff: TiffFile, name: str, options: ReadOptions) -> list[Fault]:
    axes = tiff.series[0].axes
    pages = [axis for axis in axes if axis in _PAGE_AXES]
    other = set(axes) - set(_PAGE_AXES + _CHANNEL_AXES + "YX")
    if len(tiff.series) == 1 and not other and (not pages or (len(pages) == 1 and options.pages == "volume")):
        return []
    usable = len(tiff.series) == 1 and not other and len(pages) == 1
    return [
        Fault(
            FaultCode.MULTI_PAGE,
            name,
            f"{len(tiff.pages)} pages with axes {' and '.join(series.axes for series in tiff.series)}",
            "one 2D image",
            "If the pages are slices of a volume, read with pages 'volume'." if usable else "Save one image per file.",
        )
    ]


def _lost_tags(tiff: TiffFile, page: TiffPage, source: Source) -> list[Fault]:
    """UNREADABLE where the file has a tag on its pixels that tifffile leaves out, for its value is damaged: without it
    the pixels would be taken for others.
    """
    layout = tiff.tiff
    (count,) = struct.unpack_from(layout.tagnoformat, source.data, page.offset)
    first = page.offset + layout.tagnosize
    entries = source.data[first : first + count * layout.tagsize]
    stored = {
        struct.unpack_from(f"{layout.byteorder}H", entries, place)[0]
        for place in range(0, len(entries), layout.tagsize)
    }
    lost = sorted(code for code in stored & _PIXEL_TAGS if code not in page.tags)
    if not lost:
        return []
    found = f"a TIFF file whose tags {', '.join(map(str, lost))} are damaged"
    cure = "Copy or export the file again."
    return [Fault(FaultCode.UNREADABLE, source.name, found, "tags that tell how the pixels are stored", cure)]


def _kind_faults(page: TiffPage, name: str) -> list[Fault]:
    complex_numbers = page.dtype is None or page.dtype.kind not in "biuf"
    if page.photometric in _KINDS and not complex_numbers:
        return []
    kind = PHOTOMETRIC(page.photometric).name
    return [
        Fault(
            FaultCode.UNSUPPORTED_PIXELS,
            name,
            f"{kind} pixels of type {page.dtype}",
            "grey or RGB numbers",
            "Convert the image to RGB or grey.",
        )
    ]


def _end_of_data(page: TiffPage) -> int:
    """Where the last strip or tile of a page ends in the file, in bytes."""
    ends = (offset + count for offset, count in zip(page.dataoffsets, page.databytecounts, strict=False))
    return max(ends, default=0)


def _decode(series: TiffPageSeries, source: Source) -> _Decoded:
    if series.keyframe.photometric == PHOTOMETRIC.YCBCR:  # which tifffile does not convert to RGB
        return _decode_with_pillow(series, source)
    try:
        return _Decoded(series.asarray(), series.axes, as_shown=False)
    except ValueError as error:
        if "imagecodecs" not in str(error):  # tifffile's way to say that a decompressor is not installed
            raise
    return _decode_with_pillow(series, source)


def _decode_with_pillow(series: TiffPageSeries, source: Source) -> _Decoded:
    """Pillow knows LZW, JPEG and fax compression of 8-bit pictures; it turns and inverts by tag on its own."""
    try:
        with Image.open(BytesIO(source.data), formats=("TIFF",)) as image:
            pages = [_in_rgb(page) for page in ImageSequence.Iterator(image)]
    except (OSError, SyntaxError, ValueError):
        raise DataError([_compressed(series.keyframe, source.name)]) from None
    leading = {axis: length for axis, length in zip(series.axes, series.shape, strict=True) if axis not in "YXS"}
    pixels = np.stack(pages).reshape(*leading.values(), *pages[0].shape)
    return _Decoded(pixels, "".join(leading) + "YXS"[: pages[0].ndim], as_shown=True)


def _in_rgb(page: Image.Image) -> Pixels:
    return np.array(page.convert("RGB") if page.mode == "YCbCr" else page)


def _compressed(page: TiffPage, name: str) -> Fault:
    return Fault(
        FaultCode.UNSUPPORTED_COMPRESSION,
        name,
        f"{COMPRESSION(page.compression).name} compression of {page.dtype} pixels",
        "no compression, deflate or packbits",
        "Save it without compression, or install the package imagecodecs.",
    )


def _channels_first(decoded: _Decoded) -> Pixels:
    """Pixels as `(channel, row, column)` or `(channel, row, column, page)`, from any order of axes."""
    present = {axis: place for place, axis in enumerate(decoded.axes)}
    channels = [place for axis, place in present.items() if axis in _CHANNEL_AXES]
    pages = [place for axis, place in present.items() if axis in _PAGE_AXES]
    ordered = decoded.pixels.transpose([*channels, present["Y"], present["X"], *pages])
    return ordered.reshape(-1, *ordered.shape[len(channels) :])


def _colours(pixels: Pixels, page: TiffPage, axes: str, name: str, as_mask: bool) -> tuple[Pixels, tuple[Fault, ...]]:
    """Truth values, palettes and transparency resolved; the rest as it is."""
    if pixels.dtype.kind == "b":
        return pixels.astype(np.uint8) * (1 if as_mask else 255), ()
    if page.photometric == PHOTOMETRIC.PALETTE and not as_mask and len(pixels) == 1:
        return _through_palette(pixels[0], page), ()
    plain = 3 if page.photometric == PHOTOMETRIC.RGB else 1
    has_alpha = bool(_ALPHA_SAMPLES.intersection(page.extrasamples)) or plain == 3
    if "S" in axes and len(pixels) == plain + 1 and has_alpha:
        return without_transparency(pixels, name)
    return pixels, ()


def _through_palette(indices: Pixels, page: TiffPage) -> Pixels:
    """Colours `(3, *indices.shape)` uint8; palettes hold 16-bit values, but some programs write 8-bit ones."""
    palette = np.asarray(page.colormap)
    return (palette[:, indices] >> (8 if palette.max() > 255 else 0)).astype(np.uint8)


def _as_shown(pixels: Pixels, page: TiffPage, name: str) -> tuple[Pixels, tuple[Fault, ...]]:
    """Pixels inverted and turned as the tags ask, with a warning for each."""
    warnings: tuple[Fault, ...] = ()
    if page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype.kind in "bu":
        pixels = ~pixels if pixels.dtype.kind == "b" else invert(pixels, 0, 2**page.bitspersample - 1)
        warnings = (inverted_warning(name, "MINISWHITE"),)
    pixels, turned = upright(pixels, _orientation(page), name)
    return pixels, warnings + turned


def _orientation(page: TiffPage) -> int:
    tag = page.tags.get(ORIENTATION_TAG)
    return int(tag.value) if tag else 1
