"""What TIFF files say of the size of their voxels: ImageJ's and tifffile's descriptions, OME-XML, resolution tags.

A plain TIFF file has a resolution for printers, which is no size of the subject: 72, 96 or 300 dots an inch of a
photograph. It is believed only where it is finer than any print, as microscopes and slide scanners write it.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np
from tifffile import TiffFile

from genseg.base.lengths import MM_PER_UNIT, SpacingUnit

_RESOLUTION_UNITS = {2: "inch", 3: "cm"}  # TIFF 6.0 specification, section 8
_FINEST_PRINT_MM = MM_PER_UNIT["inch"] / 5080
_LEAST_MM, _MOST_MM = 1e-7, 1000.0
_ESCAPE = re.compile(r"\\u([0-9a-fA-F]{4})")
_OME_AXES = ("Y", "X", "Z")
_OME_OTHER_UNITS = frozenset({"pixel", "reference frame"})

Step = tuple[float | None, str]
"""Distance between rows, columns or pages as stated, None where it is not, and its unit as stated."""


def stated_spacing(tiff: TiffFile, rank: int) -> tuple[tuple[float, ...], SpacingUnit]:
    """Distances between rows, columns and, with rank 3, pages: in mm, or "px" where one of them is not stated.

    Where all are stated in one unknown unit, such as ImageJ's "pixel", they come in columns: their ratio is known.
    """
    steps = _stated(tiff, rank)[:rank]
    millimetres = [_in_mm(value, unit) for value, unit in steps]
    known = tuple(value for value in millimetres if value is not None and _LEAST_MM <= value <= _MOST_MM)
    if len(known) == rank:
        return known, "mm"
    values, units = [value for value, _ in steps], {unit for _, unit in steps}
    same = len(units) == 1 and not units & MM_PER_UNIT.keys()
    if same and values[1] is not None and all(value is not None and _is_size(value) for value in values):
        return tuple(float(value or 1) / values[1] for value in values), "px"
    return (1.0,) * rank, "px"


def like_source(tiff: TiffFile, mask: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, Any]:
    """Arguments of `tifffile.imwrite` that say of a stack `(page, row, column)` what `tiff` says of its voxels.

    Nothing else of the file is taken over: its texts may name people.
    """
    if tiff.is_ome:
        sizes = {key: value for key, value in _ome_attributes(tiff).items() if key.startswith("PhysicalSize")}
        texts = {value for key, value in sizes.items() if key.endswith("Unit")}
        sizes = sizes if all(_is_unit(text) or text in _OME_OTHER_UNITS for text in texts) else {}
        # tifffile draws an identity by chance and time; the same mask shall be the same file.
        identity = uuid.uuid5(uuid.NAMESPACE_OID, hashlib.sha256(mask.tobytes()).hexdigest())
        return {"ome": True, "metadata": {"axes": "ZYX", "UUID": f"urn:uuid:{identity}", **sizes}}
    description = _description(tiff)
    if description is None:
        return {"metadata": None}
    said = {key: _ascii(description[key]) for key in ("unit", "yunit", "zunit") if _is_unit(description.get(key))}
    if _number(description.get("spacing")) is not None:
        said["spacing"] = description["spacing"]
    resolution = {key: tiff.pages.first.tags.valueof(key) for key in ("XResolution", "YResolution")}
    page = {"resolution": tuple(resolution.values())} if None not in resolution.values() else {}
    unit = {"resolutionunit": tiff.pages.first.tags.valueof("ResolutionUnit", 1)} if page else {}
    return {"imagej": bool(tiff.is_imagej), "metadata": {"axes": "ZYX", **said}, **page, **unit}


def _stated(tiff: TiffFile, rank: int) -> Sequence[Step]:
    """Steps between rows, columns and pages, from the first statement that the file has."""
    if tiff.is_ome:
        attributes = _ome_attributes(tiff)
        return [
            (_number(attributes.get(f"PhysicalSize{axis}")), attributes.get(f"PhysicalSize{axis}Unit", "um").lower())
            for axis in _OME_AXES
        ]
    y, x = _resolution(tiff, "YResolution"), _resolution(tiff, "XResolution")
    description = _description(tiff)
    if description is not None and (rank == 3 or _unit(description, "unit") != "inch"):
        unit = _unit(description, "unit")
        z = _number(description.get("spacing"))
        depth = None if z is None else abs(z)  # ImageJ lets it be negative, for stacks that are stored from the far end
        return [(y, _unit(description, "yunit", unit)), (x, unit), (depth, _unit(description, "zunit", unit))]
    unit = _RESOLUTION_UNITS.get(tiff.pages.first.tags.valueof("ResolutionUnit", 1), "")
    fine = all(step is not None and (_in_mm(step, unit) or 1) < _FINEST_PRINT_MM for step in (y, x))
    return [(y, unit), (x, unit), (None, unit)] if fine else [(None, "")] * 3


def _description(tiff: TiffFile) -> Mapping[str, Any] | None:
    """What ImageJ, or tifffile in its own form, wrote into the file; None where neither did."""
    if tiff.is_imagej:
        return tiff.imagej_metadata or {}
    shaped = tiff.shaped_metadata
    return shaped[0] if shaped and {"unit", "spacing"} & shaped[0].keys() else None


def _ome_attributes(tiff: TiffFile) -> Mapping[str, str]:
    """Attributes of the first image's pixels; sizes without a unit are in micrometres.

    Source: OME data model 2016-06, Pixels, PhysicalSizeX and PhysicalSizeXUnit.
    """
    text = tiff.ome_metadata or ""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # OME has none; they can make a short text long
        return {}
    pixels = next((part for part in ElementTree.fromstring(text).iter() if part.tag.endswith("Pixels")), None)
    return {} if pixels is None else pixels.attrib


def _resolution(tiff: TiffFile, tag: str) -> float | None:
    """Units from one pixel to the next: the inverse of a resolution tag, a fraction."""
    value = tiff.pages.first.tags.valueof(tag)
    if not isinstance(value, tuple) or len(value) != 2 or not value[0]:
        return None
    return float(value[1]) / float(value[0])


def _unit(description: Mapping[str, Any], key: str, default: str = "") -> str:
    found = description.get(key)
    return _plain(found) if isinstance(found, str) else default


def _plain(unit: str) -> str:
    r"""The unit in lower case; ImageJ writes a micro sign as \u00B5."""
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)), unit).strip().lower()


def _ascii(unit: str) -> str:
    return "".join(sign if sign.isascii() else f"\\u{ord(sign):04X}" for sign in unit)


def _is_unit(unit: object) -> bool:
    return isinstance(unit, str) and _plain(unit) in MM_PER_UNIT


def _in_mm(value: float | None, unit: str) -> float | None:
    factor = MM_PER_UNIT.get(unit)
    return None if value is None or factor is None or not _is_size(value) else value * factor


def _number(value: object) -> float | None:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None


def _is_size(value: float) -> bool:
    return bool(np.isfinite(value) and value > 0)
