"""Pictures: PNG, JPEG and BMP, decoded with Pillow."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import Scan
from genseg.read.formats import Format
from genseg.read.orientation import ORIENTATION_TAG, upright
from genseg.read.pixels import Pixels, native, picture_modality
from genseg.read.source import Source, promise_faults
from genseg.read.transparency import without_transparency

_PLAIN_MODES = frozenset({"L", "RGB", "I", "I;16", "I;16B", "I;16L", "F"})
_PNG_BIT_DEPTH, _PNG_COLOUR_TYPE = 24, 25  # offsets in the file, PNG specification (3rd ed.), section 11.2.1


def read(source: Source, as_mask: bool) -> Scan:
    """Read one picture as `(channel, row, column)`, upright by its EXIF tag.

    As a mask a palette picture gives its indices and a 1-bit picture 0 and 1; as an image they give RGB and 0 and 255.
    The size of a pixel is unknown: pHYs of PNG, the density of JPEG and the resolution of BMP are those of a print.

    Raises:
        DataError: UNSUPPORTED_PIXELS (CMYK and other colour spaces), MULTI_PAGE (animation) or TOO_LARGE.
    """
    with _open(source) as image:
        warnings = _header_warnings(image, source, as_mask)
        image.load()
        tag = _orientation(image)
        pixels, transparency = _channels(image, source.name, as_mask)
        palette = _palette(image) if as_mask else {}
    pixels, turned = upright(pixels, tag, source.name)
    pixels = native(pixels)
    return Scan(
        pixels=pixels,
        spacing=(1.0, 1.0),
        affine=None,
        modality=picture_modality(len(pixels)),
        sha256=source.sha256,
        warnings=warnings + transparency + turned,
        spacing_unit="px",
        palette=palette,
    )


def _open(source: Source) -> Image.Image:
    """Past `Image.open`, whose limit on pixels is lower than what slide scanners make; `promise_faults` has a limit."""
    Image.preinit()
    open_as, _ = Image.OPEN[str(source.format)]  # Pillow has the same names
    return open_as(BytesIO(source.data), "")


def _header_warnings(image: Image.Image, source: Source, as_mask: bool) -> tuple[Fault, ...]:
    """What the header tells before any pixel is decoded; raises where it says that the picture cannot be used."""
    faults = []
    if source.format is Format.PNG and getattr(image, "n_frames", 1) > 1:
        faults.append(
            Fault(FaultCode.MULTI_PAGE, source.name, "an animated PNG", "one 2D image", "Save the frame you want.")
        )
    if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
        faults.append(_very_large(image, source.name))
    faults += promise_faults(source.name, 4 * image.width * image.height, len(source.data))
    if _loses_depth(source):
        faults.append(_depth_lost(source.name, as_mask))
    if any(fault.stops for fault in faults):
        raise DataError(faults)
    return tuple(faults)


def _loses_depth(source: Source) -> bool:
    """Whether this is a 16-bit PNG of several channels, of which Pillow keeps the upper 8 bits only."""
    header = source.data[_PNG_BIT_DEPTH : _PNG_COLOUR_TYPE + 1]
    return source.format is Format.PNG and header[:1] == b"\x10" and header[1:] != b"\x00"


def _depth_lost(name: str, as_mask: bool) -> Fault:
    return Fault(
        FaultCode.UNSUPPORTED_PIXELS,
        name,
        "a colour PNG of 16 bits per channel",
        "8 bits per channel",
        "Save it as TIFF to keep all bits." if not as_mask else "Save the mask as a grey PNG.",
        stops=as_mask,
    )


def _very_large(image: Image.Image, name: str) -> Fault:
    return Fault(
        FaultCode.TOO_LARGE,
        name,
        f"a 2D image of {image.width} x {image.height} pixels",
        f"at most {Image.MAX_IMAGE_PIXELS} pixels",
        "It was read, but will be slow; scale it down if detail is not needed.",
        stops=False,
    )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where there is none; broken EXIF data do not make the picture unusable."""
    try:
        tag = image.getexif().get(ORIENTATION_TAG, 1)
    except SyntaxError:
        return 1
    return tag if isinstance(tag, int) else 1


def _palette(image: Image.Image) -> dict[int, tuple[int, int, int]]:
    """Index -> colour of a palette picture; empty for any other."""
    colours = (image.getpalette("RGB") or []) if image.mode == "P" else []
    return {index: (*colours[3 * index : 3 * index + 3],) for index in range(len(colours) // 3)}  # type: ignore[misc]


def _channels(image: Image.Image, name: str, as_mask: bool) -> tuple[Pixels, tuple[Fault, ...]]:
    """Pixels `(channel, row, column)` of any mode that has a clear meaning."""
    if image.mode == "P" and not as_mask:
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    pixels = np.array(image)
    if image.mode == "1":
        return (pixels.astype(np.uint8) * (1 if as_mask else 255))[None], ()
    if image.mode in {"LA", "RGBA"}:
        return without_transparency(np.moveaxis(pixels, -1, 0), name)
    if image.mode in _PLAIN_MODES or image.mode == "P":
        return np.moveaxis(np.atleast_3d(pixels), -1, 0), ()
    fault = Fault(
        FaultCode.UNSUPPORTED_PIXELS, name, f"pixels of kind {image.mode}", "grey or RGB", "Convert the image to RGB."
    )
    raise DataError([fault])
