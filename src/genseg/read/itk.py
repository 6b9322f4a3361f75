"""NRRD and MetaImage files (.nrrd, .nhdr, .mha, .mhd), decoded with SimpleITK, which is an optional package."""

from __future__ import annotations

import math
import re
from collections import Counter
from types import ModuleType
from typing import Any

import numpy as np

from genseg.base.lengths import MM_PER_UNIT, SpacingUnit
from genseg.errors import DataError, Fault, FaultCode, MissingExtraError
from genseg.read.case import Scan
from genseg.read.formats import FileFormat, Format
from genseg.read.geometry import Affine, affine_faults, extent_warnings, ras_affine, spacing_faults, spacing_of
from genseg.read.itk_files import check_packed, stored_pixels
from genseg.read.options import ReadOptions
from genseg.read.pixels import Pixels, native, picture_modality
from genseg.read.source import Source, promise_faults

_READERS: dict[FileFormat, str] = {Format.NRRD: "NrrdImageIO", Format.META: "MetaImageIO"}
_SEGMENT = re.compile(r"Segment(\d+)_(Name|LabelValue|Layer)")
_BITS = re.compile(r"(\d+)-bit")


def load_simpleitk() -> ModuleType:
    """The SimpleITK module.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        import SimpleITK
    except ImportError:
        raise MissingExtraError("SimpleITK", "itk", "reading or writing NRRD and MetaImage files") from None
    return SimpleITK


def read(source: Source, options: ReadOptions) -> Scan:
    """Read a picture as `(channel, row, column)` or a volume as `(channel, i, j, k)`.

    Raises:
        DataError: SEGMENT_NAMES (segments of 3D Slicer that overlap, or whose names contradict each other),
            UNSUPPORTED_PIXELS (complex), UNDECLARED_CHANNELS (vectors in a volume, four axes), BAD_SPACING,
            BAD_AFFINE, TOO_LARGE, or OUTSIDE_FOLDER (the header names a pixel file elsewhere).
        MissingExtraError: SimpleITK is not installed.
    """
    simpleitk = load_simpleitk()
    stored = stored_pixels(source)
    reader = open_header(source)
    segments = _segments(reader, source.name)
    promised = _pixel_bytes(reader, simpleitk)
    _check_header(reader, simpleitk, source.name, options, promise_faults(source.name, promised, len(stored.data)))
    check_packed(stored, source, promised)
    image = reader.Execute()
    pixels = native(_channels_first(simpleitk.GetArrayFromImage(image), image))
    scale = MM_PER_UNIT[stored.unit or "mm"]
    unit: SpacingUnit = "px" if stored.unit is None else "mm"
    if image.GetDimension() == 2:
        spacing = tuple(float(step) * scale for step in reversed(image.GetSpacing()))
        kind = picture_modality(len(pixels))
        return Scan(pixels, spacing, None, kind, stored.sha256, spacing_unit=unit, segments=segments)
    affine = _affine(image, scale)
    spacing = spacing_of(affine)
    warnings = extent_warnings(pixels.shape[1:], spacing, source.name, scale) if unit == "mm" else ()
    return Scan(pixels, spacing, affine, "", stored.sha256, warnings, unit, segments)


def open_header(source: Source) -> Any:
    """A SimpleITK image reader that has read the file's header: size, spacing, origin, direction, pixel type."""
    reader = load_simpleitk().ImageFileReader()
    reader.SetImageIO(_READERS[source.format])
    reader.SetFileName(str(source.path))
    reader.ReadImageInformation()
    return reader


def _segments(reader: Any, name: str) -> dict[int, str]:
    """Value -> name of the segments that 3D Slicer writes into the header of a `.seg.nrrd`; empty for other files.

    Raises:
        DataError: SEGMENT_NAMES where they overlap, or one name or value stands for several.
    """
    fields: dict[int, dict[str, str]] = {}
    for key in reader.GetMetaDataKeys():
        match = _SEGMENT.fullmatch(key)
        if match:
            fields.setdefault(int(match[1]), {})[match[2]] = reader.GetMetaData(key).strip()
    segments = [fields[number] for number in sorted(fields)]
    if reader.GetNumberOfComponents() > 1 or len({one.get("Layer", "0") for one in segments}) > 1:
        if segments:
            cure = "In 3D Slicer, make the segments not overlap, and save the segmentation again."
            found = f"{len(segments)} segments in several layers"
            raise DataError([Fault(FaultCode.SEGMENT_NAMES, name, found, "segments that do not overlap", cure)])
        return {}
    return _one_to_one([(one.get("LabelValue", "1"), one.get("Name", "")) for one in segments], name)


def _one_to_one(segments: list[tuple[str, str]], name: str) -> dict[int, str]:
    """Value -> name of segments that have both; see `_segments`."""
    named = [(int(value), text) for value, text in segments if text and value.isdecimal()]
    texts = Counter(" ".join(text.split()).casefold() for _, text in named)
    values = Counter(value for value, _ in named)
    twice = [text for text, count in texts.items() if count > 1]
    twice += [f"value {value}" for value, count in values.items() if count > 1]
    if twice:
        cure = "In 3D Slicer, give each segment a name of its own, or merge the segments, and save again."
        found = f"several segments for {', '.join(twice)}"
        raise DataError([Fault(FaultCode.SEGMENT_NAMES, name, found, "one segment for each name and value", cure)])
    return dict(named)


def _pixel_bytes(reader: Any, simpleitk: ModuleType) -> int:
    """What all pixels take, complex ones taken for real ones."""
    bits = _BITS.search(simpleitk.GetPixelIDValueAsString(reader.GetPixelID()))
    pixels = math.prod(map(int, reader.GetSize())) * int(reader.GetNumberOfComponents())
    return pixels * int(bits[1] if bits else 64) // 8


def _check_header(reader: Any, simpleitk: ModuleType, name: str, options: ReadOptions, faults: list[Fault]) -> None:
    """Raise all faults that the header tells before any pixel is read. faults: those found so far."""
    components, dimension = reader.GetNumberOfComponents(), reader.GetDimension()
    faults += spacing_faults(reader.GetSpacing(), name)
    kind = simpleitk.GetPixelIDValueAsString(reader.GetPixelID())
    if "complex" in kind or "label" in kind:
        cure = "Convert it to a scalar volume."
        faults.append(Fault(FaultCode.UNSUPPORTED_PIXELS, name, f"pixels of type {kind}", "one number per pixel", cure))
    elif dimension not in (2, 3) or (dimension == 3 and components > 1 and not options.channels_last_axis):
        faults.append(_undeclared(name, dimension, components))
    if dimension == 3 and not faults:
        faults += affine_faults(_affine(reader), name)
    if faults:
        raise DataError(faults)


def _undeclared(name: str, dimension: int, components: int) -> Fault:
    return Fault(
        FaultCode.UNDECLARED_CHANNELS,
        name,
        f"{dimension} axes with {components} components a pixel",
        "a 2D image, or a volume of one number per voxel unless the dataset declares its channels",
        "Save one volume per file.",
    )


def _affine(image: Any, scale: float = 1.0) -> Affine:
    """Voxel index to RAS+ mm. scale: mm in the unit of the file."""
    axes = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return ras_affine(axes * scale, np.array(image.GetOrigin()) * scale)


def _channels_first(array: Pixels, image: Any) -> Pixels:
    """SimpleITK gives `(k, j, i)`, `(row, column)`, and components last."""
    if image.GetNumberOfComponentsPerPixel() == 1:
        array = array[..., None]
    if image.GetDimension() == 2:
        return np.moveaxis(array, -1, 0)
    return array.T
