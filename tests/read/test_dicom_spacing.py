"""Where DICOM pictures say how large their pixels are; right values worked out by hand from what was written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from genseg.errors import FaultCode
from genseg.read import read_image

Write = Callable[..., Path]

GRAY = np.arange(96 * 80, dtype=np.uint8).reshape(96, 80)
WHOLE = (0, 0, 79, 95)
PLANE, MOTION, SPECTRUM = 1, 2, 3
CENTIMETRES, SECONDS, HERTZ, NONE = 3, 4, 5, 0


def region(
    x: float = 0.03,
    y: float = 0.02,
    place: tuple[int, int, int, int] = WHOLE,
    kind: int = PLANE,
    units: tuple[int, int] = (CENTIMETRES, CENTIMETRES),
) -> Dataset:
    """A calibrated region: cm from column to column and from row to row; first and last column and row of it."""
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType, item.RegionFlags = kind, 1, 0
    item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = place
    item.PhysicalUnitsXDirection, item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = x, y
    return item


@pytest.fixture
def ultrasound(tmp_path: Path, write_dicom: Write) -> Callable[..., Path]:
    def write(*regions: Dataset, **tags: Any) -> Path:
        usual = {"Modality": "US", "PixelSpacing": None, "ImageOrientationPatient": None}
        tags = {**usual, "SequenceOfUltrasoundRegions": list(regions), **tags}
        return write_dicom(tmp_path / "a.dcm", GRAY, **tags)

    return write


@pytest.mark.fault(64)
def test_ultrasound_has_the_spacing_of_its_region(ultrasound: Callable[..., Path]) -> None:
    scan = read_image(ultrasound(region()))
    assert (scan.spacing, scan.spacing_unit, scan.warnings) == (pytest.approx((0.2, 0.3)), "mm", ())


@pytest.mark.fault(64)
def test_axes_that_run_backwards_have_the_same_spacing(ultrasound: Callable[..., Path]) -> None:
    assert read_image(ultrasound(region(-0.03, -0.02))).spacing == pytest.approx((0.2, 0.3))


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    "other",
    [
        region(0.001, 1.5, (0, 40, 79, 95), MOTION, (SECONDS, CENTIMETRES)),
        region(0.001, 50.0, (0, 0, 79, 95), SPECTRUM, (SECONDS, HERTZ)),
        region(1.0, 1.0, (0, 0, 79, 95), PLANE, (NONE, NONE)),
        region(0.0, 0.0),
        region(float("nan"), 0.02),
    ],
)
def test_regions_that_are_no_plane_of_tissue_do_not_count(ultrasound: Callable[..., Path], other: Dataset) -> None:
    scan = read_image(ultrasound(other, region(place=(0, 0, 79, 39)), other))
    assert (scan.spacing, scan.warnings) == (pytest.approx((0.2, 0.3)), ())
    scan = read_image(ultrasound(other))
    assert (scan.spacing, scan.spacing_unit) == ((1.0, 1.0), "px")


@pytest.mark.fault(64)
def test_of_several_planes_the_largest_counts_and_a_difference_is_told(ultrasound: Callable[..., Path]) -> None:
    large, small = region(place=(0, 0, 79, 70)), region(0.01, 0.01, (60, 71, 79, 95))
    scan = read_image(ultrasound(small, large))
    assert scan.spacing == pytest.approx((0.2, 0.3))
    (warning,) = scan.warnings
    assert (warning.code, warning.stops) == (FaultCode.BAD_SPACING, False)
    assert "0.2 x 0.3 mm" in warning.found
    assert "0.1 x 0.1 mm" in warning.found
    alike = region(0.03, 0.02, (60, 71, 79, 95))
    assert read_image(ultrasound(alike, large)).warnings == ()


@pytest.mark.fault(64)
@pytest.mark.parametrize(("stated", "warned"), [([0.2, 0.3], 0), ([0.5, 0.5], 1), ([0, 0], 0)])
def test_regions_count_before_pixel_spacing(ultrasound: Callable[..., Path], stated: Any, warned: int) -> None:
    scan = read_image(ultrasound(region(), PixelSpacing=stated))
    assert (scan.spacing, len(scan.warnings)) == (pytest.approx((0.2, 0.3)), warned)


@pytest.mark.fault(64)
@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": [0.15, 0.1], "ImagerPixelSpacing": [0.3, 0.2]}, (0.15, 0.1)),
        ({"ImagerPixelSpacing": [0.3, 0.2]}, (0.3, 0.2)),
        ({"ImagerPixelSpacing": [0.3, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25}, (0.24, 0.16)),
        ({"ImagerPixelSpacing": [0.3, 0.2], "EstimatedRadiographicMagnificationFactor": 0}, (0.3, 0.2)),
        ({"PixelSpacing": [0.15, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25}, (0.15, 0.1)),
        ({"NominalScannedPixelSpacing": [0.175, 0.175]}, (0.175, 0.175)),
    ],
)
def test_radiographs(tmp_path: Path, write_dicom: Write, tags: dict[str, Any], spacing: tuple[float, float]) -> None:
    scan = read_image(write_dicom(tmp_path / "a.dcm", GRAY, **{"Modality": "DX", "PixelSpacing": None, **tags}))
    assert (scan.spacing, scan.spacing_unit) == (pytest.approx(spacing), "mm")


@pytest.mark.fault(64)
@pytest.mark.parametrize("group", ["SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"])
def test_enhanced_pictures_state_it_in_a_group(tmp_path: Path, write_dicom: Write, group: str) -> None:
    measures, groups = Dataset(), Dataset()
    measures.PixelSpacing = [0.011, 0.012]
    groups.PixelMeasuresSequence = [measures]
    scan = read_image(write_dicom(tmp_path / "a.dcm", GRAY, PixelSpacing=None, **{group: [groups]}))
    assert (scan.spacing, scan.spacing_unit) == ((0.011, 0.012), "mm")


@pytest.mark.fault(64)
def test_enhanced_ultrasound_volumes_lie_in_the_transducer_s_coordinates(tmp_path: Path, write_dicom: Write) -> None:
    frames = []
    for height in (0.0, 0.5, 1.0):
        frame, place = Dataset(), Dataset()
        place.ImagePositionVolume = [1, 2, height]
        frame.PlanePositionVolumeSequence = [place]
        frames.append(frame)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationVolume = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing = [0.3, 0.2]
    shared.PlaneOrientationVolumeSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    stack = np.stack([GRAY, GRAY + 1, GRAY + 2])
    groups = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": frames}
    scan = read_image(write_dicom(tmp_path / "a.dcm", stack, NumberOfFrames=3, PixelSpacing=None, **groups))
    assert (scan.spacing, scan.spatial, scan.spacing_unit) == (pytest.approx((0.2, 0.3, 0.5)), (80, 96, 3), "mm")
    np.testing.assert_array_equal(scan.pixels[0, :, :, 1], GRAY.T + 1)
