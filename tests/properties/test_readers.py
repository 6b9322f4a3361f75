"""What is written is read back, for any shape, numbers and place in space; what is damaged is refused or sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from PIL import Image

from benchmarks.robustness.dicom_files import write_dicom
from benchmarks.robustness.fuzz_samples import Sample
from benchmarks.robustness.fuzz_worker import DATA_SETS, sound
from genseg.errors import GensegError, MissingExtraError
from genseg.read import ReadOptions, read_image, read_mask
from genseg.read.itk import load_simpleitk

Damaged = Callable[[str, Callable[[bytes], bytes]], Path]

INTEGERS = ["u1", "i1", "<i2", ">i2", "<u2", ">u2", "<i4", ">u4"]
NUMBERS = [*INTEGERS, "<f4", ">f4", "<f8"]
PAGES = ReadOptions(pages="volume")
NAMES = [
    *("gray.png", "rgb.png", "deep.png", "alpha.png", "palette.png", "bits.png", "gray.jpg", "rgb.jpg"),
    *("progressive.jpg", "gray.bmp", "rgb.bmp", "gray.tif", "rgb.tif", "float.tif", "deflate.tif", "tiled.tif"),
    *("big.tif", "planes.tif", "white.tif", "tiff_lzw.tif", "packbits.tif", "jpeg.tif", "fax.tif", "palette.tif"),
    *("integers.nii", "integers.nii.gz", "fractions.nii", "doubles.nii.gz", "flat.nii", "labels.nii.gz", "second.nii"),
    *("plain-mha.mha", "packed-mha.mha", "plain-nrrd.nrrd", "packed-nrrd.nrrd", "plain-mhd.mhd", "packed-nhdr.nhdr"),
    *("ct.dcm", "rgb.dcm", "inverted.dcm", "implicit.dcm", "deflated.dcm", "palette.dcm", "enhanced.dcm", "rle.dcm"),
    *("jpeg.dcm", "jpeg2000.dcm"),
]


def pixels_of(kinds: list[str], *, least: int = 1, most: int = 6, rank: int = 2, channels: int = 0) -> Any:
    """Arrays of any of these kinds; fractions are finite, and such as float32 can hold."""
    shapes = arrays.array_shapes(min_dims=rank, max_dims=rank, min_side=least, max_side=most)
    shapes = shapes.map(lambda shape: (*shape, channels) if channels else shape)
    fractions = st.floats(-1000, 1000, width=32)
    return st.sampled_from(kinds).flatmap(
        lambda kind: arrays.arrays(kind, shapes, elements=fractions if "f" in kind else None)
    )


@st.composite
def affines(draw: st.DrawFn) -> NDArray[np.float64]:
    """Voxel axes along any axes of the body, turned by a few degrees, of any usual spacing, anywhere."""
    spacing = [draw(st.floats(0.2, 8)) for _ in range(3)]
    axes = np.eye(3)[:, draw(st.permutations(range(3)))] * [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    angle = np.radians(draw(st.floats(-20, 20)))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ axes * spacing
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return affine


def assert_equal(found: NDArray[Any], written: NDArray[Any]) -> None:
    """Equal values, of the same kind of number in this machine's byte order; fractions come as float32."""
    kind = np.dtype(np.float32) if written.dtype.kind == "f" else written.dtype.newbyteorder("=")
    assert found.dtype == kind
    np.testing.assert_array_equal(found, written.astype(kind))


@given(voxels=pixels_of(NUMBERS, rank=3), affine=affines(), second=st.booleans(), packed=st.booleans())
def test_nifti(tmp_path: Path, voxels: Any, affine: Any, second: bool, packed: bool) -> None:
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    nibabel.save((nibabel.Nifti2Image if second else nibabel.Nifti1Image)(voxels, affine), path)
    scan = read_image(path)
    assert_equal(scan.pixels[0], voxels)
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine, affine, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(scan.spacing, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-6)


@given(pixels=pixels_of(["u1"]) | pixels_of(["u1"], channels=3), suffix=st.sampled_from([".png", ".bmp", ".tif"]))
def test_pictures_by_pillow(tmp_path: Path, pixels: Any, suffix: str) -> None:
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    scan = read_image(tmp_path / f"a{suffix}")
    assert_equal(np.moveaxis(scan.pixels, 0, -1), np.atleast_3d(pixels))
    assert (scan.spacing, scan.affine) == ((1.0, 1.0), None)


@given(pixels=pixels_of(["<u2"]))
def test_deep_png(tmp_path: Path, pixels: Any) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels[0], pixels)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").pixels[0], pixels)


@given(indices=pixels_of(["u1"]), colours=st.binary(min_size=768, max_size=768))
def test_palettes_are_indices_in_masks_and_colours_in_images(tmp_path: Path, indices: Any, colours: bytes) -> None:
    picture = Image.fromarray(indices)
    picture.putpalette(colours)
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.png").pixels[0], indices)
    table = np.frombuffer(colours, np.uint8).reshape(256, 3)
    np.testing.assert_array_equal(np.moveaxis(read_image(tmp_path / "a.png").pixels, 0, -1), table[indices])


@given(
    pixels=pixels_of(NUMBERS, most=20),
    order=st.sampled_from("<>"),
    compression=st.sampled_from([None, "zlib", "packbits"]),
    tile=st.sampled_from([None, (16, 16)]),
    big=st.booleans(),
)
def test_tiff(tmp_path: Path, pixels: Any, order: str, compression: str | None, tile: Any, big: bool) -> None:
    if compression == "packbits":
        compression = None if tile else compression
        pixels = pixels.astype(np.uint8)
    settings: dict[str, Any] = {"byteorder": order, "tile": tile, "bigtiff": big}
    if compression == "packbits":  # tifffile reads it and does not write it
        Image.fromarray(pixels).save(tmp_path / "a.tif", compression=compression)
    else:
        tifffile.imwrite(tmp_path / "a.tif", pixels, compression=compression, photometric="minisblack", **settings)
    assert_equal(read_image(tmp_path / "a.tif").pixels[0], pixels)


@given(pages=pixels_of(NUMBERS, least=2, rank=3))
def test_tiff_pages_are_a_volume(tmp_path: Path, pages: Any) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack", metadata=None)
    scan = read_image(tmp_path / "a.tif", PAGES)
    assert_equal(np.moveaxis(scan.pixels[0], -1, 0), pages)
    assert scan.spacing == (1.0, 1.0, 1.0)


@given(
    pixels=pixels_of(["u1", "<u2", "<i2"]),
    slope=st.sampled_from([1, 2, 0.5]),
    intercept=st.sampled_from([0, -1024]),
    spacing=st.lists(st.sampled_from([0.1, 0.5, 0.75, 3]), min_size=2, max_size=2),
)
def test_dicom(tmp_path: Path, pixels: Any, slope: float, intercept: float, spacing: list[float]) -> None:
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "PixelSpacing": spacing}
    place = [10.0, 20.0, 30.0]
    scan = read_image(write_dicom(tmp_path / "a.dcm", pixels, ImagePositionPatient=place, **tags))
    np.testing.assert_allclose(scan.pixels[0], pixels.astype(float) * slope + intercept, rtol=1e-6)
    assert scan.spacing == tuple(spacing)


@given(voxels=pixels_of(["<i2"], least=2, rank=3), draw=st.randoms(use_true_random=False))
def test_dicom_series_is_ordered_by_position(tmp_path_factory: pytest.TempPathFactory, voxels: Any, draw: Any) -> None:
    folder = tmp_path_factory.mktemp("series")
    names = draw.sample(range(100), voxels.shape[-1])
    for place, name in enumerate(names):
        position = [10.0, 20.0, 30.0 + 2.5 * place]
        write_dicom(folder / f"{name}.dcm", voxels[..., place], ImagePositionPatient=position)
    scan = read_image(folder)
    assert_equal(scan.pixels[0], voxels.swapaxes(0, 1))
    assert scan.spacing == pytest.approx((0.5, 0.75, 2.5))
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine[:3, 3], [-10, -20, 30])


@given(
    voxels=pixels_of(["u1", "<i2", "<u2", "<i4", "<f4"], rank=3),
    affine=affines(),
    suffix=st.sampled_from([".mha", ".mhd", ".nrrd", ".nhdr"]),
    packed=st.booleans(),
)
def test_nrrd_and_metaimage(tmp_path: Path, voxels: Any, affine: Any, suffix: str, packed: bool) -> None:
    try:
        simpleitk = load_simpleitk()
    except MissingExtraError:
        pytest.skip("no SimpleITK")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    flipped = np.diag([-1.0, -1.0, 1.0])
    image = simpleitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((flipped @ affine[:3, 3]).tolist())
    image.SetDirection((flipped @ affine[:3, :3] / spacing).ravel().tolist())
    simpleitk.WriteImage(image, str(tmp_path / f"a{suffix}"), useCompression=packed)
    scan = read_image(tmp_path / f"a{suffix}")
    assert_equal(scan.pixels[0], voxels)
    assert scan.affine is not None
    np.testing.assert_allclose(scan.affine, affine, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_file_that_ends_early_is_refused_or_read_as_if_whole(
    samples: dict[str, Sample], damaged: Damaged, name: str, data: st.DataObject
) -> None:
    sample = samples[name]
    whole = read_image(sample.folder / sample.target)
    share = data.draw(st.integers(0, 64) | st.integers(0, 4000))
    path = damaged(name, lambda content: content[: max(0, len(content) - 1 - share)])
    try:
        scan = read_image(path)
    except GensegError:
        return
    np.testing.assert_array_equal(scan.pixels, whole.pixels)


@pytest.mark.parametrize("name", NAMES)
@given(place=st.integers(0, 400) | st.integers(0, 4000), value=st.integers(0, 255))
def test_a_file_with_a_wrong_byte_is_refused_or_sound(damaged: Damaged, name: str, place: int, value: int) -> None:
    path = damaged(name, lambda content: content[:place] + bytes([value]) + content[place + 1 :])
    for read in (read_image, read_mask):
        try:
            scan = read(path)
        except GensegError:
            continue
        sound(scan)


def test_every_sample_that_can_be_read_is_damaged(samples: dict[str, Sample]) -> None:
    readable = set()
    for sample in samples.values():
        try:
            if sample.format not in DATA_SETS and sample.target:
                read_image(sample.folder / sample.target)
                readable.add(sample.name)
        except GensegError:
            continue
    assert readable >= set(NAMES)
