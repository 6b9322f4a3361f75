"""What a DICOM picture says of the size of its pixels; modules disagree on where they say it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from pydicom import Dataset

from genseg.base.lengths import SpacingUnit
from genseg.errors import DataError, Fault, FaultCode
from genseg.read.geometry import bad_spacing

Steps = tuple[float, float]
"""mm between rows, and between columns."""

_TISSUE_PLANE = 1  # Region Spatial Format "2D"; others are curves over time, spectra and drawings
_CENTIMETRES = 3  # Physical Units; others are seconds, hertz, dB, cm/s ...
_TOLERANCE = 0.01
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def picture_spacing(dataset: Dataset, name: str) -> tuple[Steps, SpacingUnit, tuple[Fault, ...]]:
    """Distances between rows and between columns in mm, and warnings; (1, 1) in pixels where the file says nothing.

    The first of these that is stated counts:

    1. ultrasound: the deltas of the 2D region that covers most of the image (DICOM PS3.3, C.8.5.5);
    2. Pixel Spacing, which is calibrated to the patient where there is a calibration (C.7.6.3.1 and 10.7);
    3. the Pixel Spacing of enhanced images, in their functional groups (C.7.6.16.2.1);
    4. Imager Pixel Spacing, divided by Estimated Radiographic Magnification Factor where that is stated: without it,
       lengths are those on the detector, somewhat larger than in the patient (10.7.1.3);
    5. Nominal Scanned Pixel Spacing, of digitised film.

    Raises:
        DataError: BAD_SPACING where what counts is impossible.
    """
    found = _ultrasound(dataset)
    if found:
        return found[0], "mm", _region_warnings(found, dataset, name)
    stated = dataset.get("PixelSpacing") or _measured(dataset)
    if not stated and dataset.get("ImagerPixelSpacing"):
        factor = _factor(dataset.get("EstimatedRadiographicMagnificationFactor"))
        return _checked(dataset.ImagerPixelSpacing, name, factor), "mm", ()
    stated = stated or dataset.get("NominalScannedPixelSpacing")
    return (_checked(stated, name), "mm", ()) if stated else ((1.0, 1.0), "px", ())


def _checked(stated: Sequence[Any], name: str, magnification: float = 1.0) -> Steps:
    rows, columns = (float(step) / magnification for step in stated)
    if min(rows, columns) > 0 and math.isfinite(rows) and math.isfinite(columns):
        return rows, columns
    raise DataError([bad_spacing(name, f"pixel spacing {rows:g} x {columns:g} mm", "positive distances")])


def _factor(stated: Any) -> float:
    """How many times larger the subject is on the detector than it is; 1 where nothing possible is stated."""
    factor = float(stated or 1)
    return factor if math.isfinite(factor) and factor > 0 else 1.0


def _measured(dataset: Dataset) -> Sequence[Any] | None:
    """Pixel Spacing in the functional groups of an enhanced image of one frame."""
    for keyword in _GROUPS:
        for groups in dataset.get(keyword) or ():
            for measures in groups.get("PixelMeasuresSequence") or ():
                if measures.get("PixelSpacing"):
                    found: Sequence[Any] = measures.PixelSpacing
                    return found
    return None


def _ultrasound(dataset: Dataset) -> list[Steps]:
    """The distances in each calibrated 2D region of an ultrasound image, that of the largest region first."""
    regions = [region for region in dataset.get("SequenceOfUltrasoundRegions") or () if _is_plane(region)]
    regions.sort(key=_area, reverse=True)
    return [(_millimetres(region, "Y"), _millimetres(region, "X")) for region in regions]


def _is_plane(region: Dataset) -> bool:
    """Whether both axes of a region are distances in the body."""
    is_length = all(region.get(f"PhysicalUnits{axis}Direction") == _CENTIMETRES for axis in "XY")
    flat = region.get("RegionSpatialFormat", _TISSUE_PLANE) == _TISSUE_PLANE
    steps = [_millimetres(region, axis) for axis in "XY"] if is_length else [0.0]
    return flat and all(math.isfinite(step) and step > 0 for step in steps)


def _millimetres(region: Dataset, axis: str) -> float:
    """Negative where the axis runs upwards or to the left."""
    return abs(float(region.get(f"PhysicalDelta{axis}") or 0)) * 10


def _area(region: Dataset) -> int:
    corners = [int(region.get(f"RegionLocation{place}") or 0) for place in ("MinX0", "MaxX1", "MinY0", "MaxY1")]
    left, right, top, bottom = corners
    return max(0, right - left + 1) * max(0, bottom - top + 1)


def _region_warnings(found: Sequence[Steps], dataset: Dataset, name: str) -> tuple[Fault, ...]:
    """A warning where regions, or Pixel Spacing beside them, say something else than what is used."""
    used, others = found[0], list(found[1:])
    stated = [float(step) for step in dataset.get("PixelSpacing") or ()]
    if len(stated) == 2 and min(stated) > 0:
        others.append((stated[0], stated[1]))
    other = next((one for one in others if not all(map(_is_close, used, one))), None)
    if other is None:
        return ()
    text = f"an ultrasound image with pixels of {_size(used)} in one place and {_size(other)} in another"
    cure = "The largest 2D region's size is used; do not trust lengths in the others."
    return (Fault(FaultCode.BAD_SPACING, name, text, "one size of pixels", cure, stops=False),)


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=_TOLERANCE)


def _size(steps: Steps) -> str:
    return f"{steps[0]:.4g} x {steps[1]:.4g} mm"
