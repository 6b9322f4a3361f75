"""The units that lengths have: of voxels as files state them, and of distances as reports show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

SpacingUnit = Literal["mm", "px"]
"""What the size of a voxel is given in: millimetres, or pixels where the file does not state it."""

Unit = Literal["mm", "um", "px"]
"""What distances are reported in; "um" is micrometres."""

MICROSCOPIC_MM = 0.01
"""Where no voxel edge is longer than this, distances are reported in micrometres: in mm they would round to 0."""

MM_PER_UNIT = {
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "micron", "microns", "micrometer", "micrometre", "micrometers"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre", "nanometers"), 1e-6),
    **dict.fromkeys(("mm", "millimeter", "millimetre", "millimeters"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre", "centimeters"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters"), 1000.0),
    **dict.fromkeys(("inch", "inches", "in"), 25.4),
    **dict.fromkeys(("\u00e5", "\u212b", "angstrom"), 1e-7),
    **dict.fromkeys(("pm", "picometer", "picometre"), 1e-9),
}
"""Millimetres per unit, by the names in lower case that files use."""

_PER_MM = {"mm": 1.0, "um": 1000.0}


def length_unit(spacing: Sequence[float], spacing_unit: SpacingUnit) -> Unit:
    """The unit to report distances in, for voxels of this size."""
    if spacing_unit == "px":
        return "px"
    return "um" if max(spacing) <= MICROSCOPIC_MM else "mm"


def steps_in(unit: Unit, spacing: Sequence[float]) -> tuple[float, ...]:
    """Edges of a voxel in `unit`. spacing: in mm; with "px" each edge counts as 1."""
    if unit == "px":
        return (1.0,) * len(spacing)
    return tuple(float(step) * _PER_MM[unit] for step in spacing)
