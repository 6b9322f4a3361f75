"""What TIFF files say of the size of their voxels, checked against what tifffile was told to write."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from genseg.config import Settings
from genseg.read import ReadOptions, read_image, read_mask
from genseg.write.masks import write_mask

VOLUME = ReadOptions(pages="volume")
PAGES = np.arange(3 * 8 * 10, dtype=np.uint8).reshape(3, 8, 10)
MASK: NDArray[np.uint8] = np.moveaxis(PAGES % 2, 0, -1)
STEPS = (0.25, 0.2, 2.0)
"""Between rows, columns and pages, in the file's unit."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def imagej(path: Path, pages: Any = PAGES, unit: str | None = "um", spacing: float | None = 2.0, **more: Any) -> Path:
    said = {"unit": unit, "spacing": spacing, "axes": "ZYX" if pages.ndim == 3 else "YX"}
    metadata = {key: value for key, value in said.items() if value is not None}
    tifffile.imwrite(path, pages, imagej=True, resolution=(5, 4), metadata={**metadata, **more})
    return path


def ome(path: Path, unit: str | None = "µm", sizes: tuple[float | None, ...] = STEPS) -> Path:
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for axis, size in zip("YXZ", sizes, strict=True):
        metadata |= {} if size is None else {f"PhysicalSize{axis}": size}
        metadata |= {} if size is None or unit is None else {f"PhysicalSize{axis}Unit": unit}
    tifffile.imwrite(path, PAGES, ome=True, metadata=metadata)
    return path


def in_unit(mm: float) -> Any:
    return pytest.approx(tuple(step * mm for step in STEPS))


@pytest.mark.fault(63)
@pytest.mark.parametrize(
    ("unit", "mm"),
    [
        ("um", 1e-3),
        ("micron", 1e-3),
        ("\\u00B5m", 1e-3),  # as ImageJ itself writes a micro sign
        ("nm", 1e-6),
        ("mm", 1.0),
        ("cm", 10.0),
        ("inch", 25.4),
    ],
)
def test_the_size_of_imagej_s_voxels(tmp_path: Path, unit: str, mm: float) -> None:
    scan = read_image(imagej(tmp_path / "a.tif", unit=unit), VOLUME)
    assert (scan.spacing, scan.spacing_unit) == (in_unit(mm), "mm")
    assert scan.affine is not None
    assert tuple(scan.affine.diagonal()) == pytest.approx((*scan.spacing, 1.0))
    assert scan.spatial == (8, 10, 3)
    assert scan.warnings == ()


@pytest.mark.fault(63)
@pytest.mark.parametrize(("unit", "mm"), [("µm", 1e-3), ("\u03bcm", 1e-3), (None, 1e-3), ("nm", 1e-6), ("mm", 1.0)])
def test_the_size_of_ome_s_voxels(tmp_path: Path, unit: str | None, mm: float) -> None:
    scan = read_image(ome(tmp_path / "a.ome.tif", unit), VOLUME)
    assert (scan.spacing, scan.spacing_unit) == (in_unit(mm), "mm")


@pytest.mark.fault(63)
def test_axes_may_have_units_of_their_own(tmp_path: Path) -> None:
    scan = read_image(imagej(tmp_path / "a.tif", unit="um", zunit="mm", spacing=0.002), VOLUME)
    assert (scan.spacing, scan.spacing_unit) == (in_unit(1e-3), "mm")


@pytest.mark.fault(63)
def test_what_tifffile_describes_in_its_own_form_counts_too(tmp_path: Path, out: Path) -> None:
    said = {"unit": "um", "spacing": 2.0, "axes": "ZYX"}
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", resolution=(5, 4), metadata=said)
    scan = read_image(tmp_path / "a.tif", VOLUME)
    assert (scan.spacing, scan.spacing_unit) == (in_unit(1e-3), "mm")
    with tifffile.TiffFile(write_mask(MASK, tmp_path / "a.tif", out)) as written:
        (described,) = written.shaped_metadata or ()
    assert {key: described[key] for key in said} == said


@pytest.mark.fault(63)
@pytest.mark.parametrize("unit", ["pixel", None])
def test_of_imagej_s_pixels_only_the_ratio_is_known(tmp_path: Path, unit: str | None) -> None:
    scan = read_image(imagej(tmp_path / "a.tif", unit=unit), VOLUME)
    assert (scan.spacing, scan.spacing_unit) == (pytest.approx((1.25, 1.0, 10.0)), "px")


@pytest.mark.fault(63)
def test_a_size_that_is_not_wholly_stated_is_unknown(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", PAGES, photometric="minisblack", metadata=None)
    files = [
        tmp_path / "plain.tif",
        imagej(tmp_path / "no_depth.tif", spacing=None),
        ome(tmp_path / "a.ome.tif", sizes=(0.25, 0.2, None)),
        ome(tmp_path / "b.ome.tif", sizes=(0.25, 0.0, 2.0)),
        ome(tmp_path / "c.ome.tif", sizes=(0.25, float("nan"), 2.0)),
        ome(tmp_path / "d.ome.tif", unit="lightyear"),
    ]
    for path in files:
        scan = read_image(path, VOLUME)
        assert scan.spacing_unit == "px", path.name
        assert scan.spacing == (1.0, 1.0, 1.0) or path.name == "d.ome.tif"


@pytest.mark.fault(63)
@pytest.mark.parametrize("dots", [72, 96, 300, 1200])
@pytest.mark.parametrize("unit", [2, 3])
def test_the_resolution_of_a_print_is_no_size_of_a_pixel(tmp_path: Path, dots: int, unit: int) -> None:
    resolution = dots if unit == 2 else dots / 2.54
    plain, photo = tmp_path / "plain.tif", tmp_path / "photo.tif"
    tifffile.imwrite(plain, PAGES[0], resolution=(resolution,) * 2, resolutionunit=unit)
    tifffile.imwrite(photo, PAGES[0], imagej=True, resolution=(dots,) * 2, metadata={"unit": "inch"})
    for path in (plain, photo):
        scan = read_image(path)
        assert (scan.spacing, scan.spacing_unit) == ((1.0, 1.0), "px")


@pytest.mark.fault(63)
def test_a_microscope_s_resolution_is_finer_than_any_print(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES[0], resolution=(1e4 / 0.25, 1e4 / 0.5), resolutionunit="CENTIMETER")
    scan = read_image(tmp_path / "a.tif")
    assert (scan.spacing, scan.spacing_unit) == (pytest.approx((0.5e-3, 0.25e-3)), "mm")
    scan = read_image(imagej(tmp_path / "b.tif", PAGES[0], spacing=None))
    assert (scan.spacing, scan.spacing_unit) == (pytest.approx((0.25e-3, 0.2e-3)), "mm")


@pytest.mark.fault(63)
def test_a_picture_on_its_side_has_its_distances_turned(tmp_path: Path) -> None:
    resolution = {"resolution": (1e4 / 0.25, 1e4 / 0.5), "resolutionunit": "CENTIMETER"}
    tifffile.imwrite(tmp_path / "a.tif", PAGES[0], extratags=[(274, "H", 1, 6, True)], **resolution)
    scan = read_image(tmp_path / "a.tif")
    assert (scan.spatial, scan.spacing) == ((10, 8), pytest.approx((0.25e-3, 0.5e-3)))


@pytest.mark.fault(63)
@pytest.mark.parametrize("unit", ["um", "\\u00B5m", "nm", "cm"])
def test_masks_of_imagej_stacks_say_the_same_in_imagej_s_way(tmp_path: Path, out: Path, unit: str) -> None:
    image = imagej(tmp_path / "a.tif", unit=unit, Info="Doe^Jane")
    path = write_mask(MASK, image, out, name="written")
    with tifffile.TiffFile(path) as written, tifffile.TiffFile(image) as source:
        assert written.is_imagej
        assert (written.series[0].axes, written.series[0].dtype) == ("ZYX", np.uint8)
        said, expected = written.imagej_metadata or {}, source.imagej_metadata or {}
        assert {key: said[key] for key in ("unit", "spacing", "slices")} == {
            key: expected[key] for key in ("unit", "spacing", "slices")
        }
        for tag in ("XResolution", "YResolution", "ResolutionUnit"):
            assert written.pages[0].tags[tag].value == source.pages[0].tags[tag].value
    assert b"Doe" not in path.read_bytes()
    mask, scan = read_mask(path, VOLUME), read_image(image, VOLUME)
    np.testing.assert_array_equal(mask.pixels[0], MASK)
    assert (mask.spacing, mask.spacing_unit) == (scan.spacing, scan.spacing_unit)


@pytest.mark.fault(63)
def test_masks_of_ome_stacks_say_the_same_in_ome_s_way(tmp_path: Path, out: Path) -> None:
    image = ome(tmp_path / "a.ome.tif")
    path = write_mask(MASK, image, out)
    assert path.name == "a.ome.tif"
    with tifffile.TiffFile(path) as written:
        pixels = tifffile.xml2dict(written.ome_metadata or "")["OME"]["Image"]["Pixels"]
        assert written.series[0].axes == "ZYX"
    sizes = {key: value for key, value in pixels.items() if key.startswith("PhysicalSize")}
    assert sizes == {f"PhysicalSize{axis}": step for axis, step in zip("YXZ", STEPS, strict=True)} | {
        f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"
    }
    mask = read_mask(path, VOLUME)
    np.testing.assert_array_equal(mask.pixels[0], MASK)
    assert (mask.spacing, mask.spacing_unit) == (in_unit(1e-3), "mm")
    first = path.read_bytes()
    assert write_mask(MASK, image, out).read_bytes() == first


@pytest.mark.fault(63)
def test_a_stack_that_says_nothing_gets_a_mask_that_says_nothing(tmp_path: Path, out: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", PAGES, photometric="minisblack", metadata=None)
    with tifffile.TiffFile(write_mask(MASK, tmp_path / "a.tif", out)) as written:
        assert written.pages[0].description == ""
        assert not written.is_imagej


@pytest.mark.fault(63)
def test_texts_that_could_grow_are_not_expanded(tmp_path: Path) -> None:
    path = ome(tmp_path / "a.ome.tif")
    with tifffile.TiffFile(path) as tiff:
        text = tiff.ome_metadata or ""
    grown = text.replace("<OME ", '<!DOCTYPE a [<!ENTITY b "0.2">]><OME ', 1)
    tifffile.imwrite(path, PAGES, description=grown.encode(), metadata=None, photometric="minisblack")
    assert read_image(path, VOLUME).spacing_unit == "px"


@pytest.fixture
def stacks(tmp_path: Path) -> Path:
    """Eight labelled ImageJ stacks of 0.25 x 0.2 x 2 um."""
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(8):
        pages = random.integers(0, 50, (6, 16, 16)).astype(np.uint8)
        mask = np.zeros_like(pages)
        mask[1:5, 4:12, 4:12] = 1
        imagej(tmp_path / "images" / f"s{number}.tif", pages + 100 * mask)
        imagej(tmp_path / "masks" / f"s{number}.tif", mask)
    return tmp_path


@pytest.mark.fault(63)
def test_the_plan_of_anisotropic_stacks_is_anisotropic(stacks: Path) -> None:
    import genseg

    examination = genseg.check(stacks, pages="volume")
    assert dict(examination.statistics.rows())["spacing in um"] == "0.25 x 0.2 x 2"
    assert examination.faults == ()
    plan = genseg.plan(stacks, Settings(pages="volume", method="plain", updates=1))
    assert (plan.spacing, plan.spacing_unit, plan.length_unit) == (in_unit(1e-3), "mm", "um")
    assert json.loads(plan.model_dump_json())["spacing_unit"] == "mm"


@pytest.mark.fault(63)
def test_masks_that_lost_their_metadata_still_fit(stacks: Path) -> None:
    import genseg

    for path in (stacks / "masks").iterdir():
        tifffile.imwrite(path, tifffile.imread(path), photometric="minisblack", metadata=None)
    assert genseg.check(stacks, pages="volume").faults == ()
