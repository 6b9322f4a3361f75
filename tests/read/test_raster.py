from __future__ import annotations

import contextlib
import hashlib
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from genseg.errors import DataError, Fault, FaultCode
from genseg.read import ReadOptions, is_scan_file, read_image, read_mask, source, stem
from genseg.read.formats import SUFFIXES, Format
from genseg.read.pixels import native
from genseg.read.source import decoding

FaultsOf = Callable[..., tuple[Fault, ...]]

GRAY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
RGB = np.stack([GRAY, 255 - GRAY, GRAY // 2], axis=-1)


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


def save(path: Path, pixels: Any, mode: str | None = None, **settings: Any) -> Path:
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path, **settings)
    return path


def png_16_bit_rgb(path: Path) -> Path:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in RGB.astype(np.uint16) * 257)
    header = struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"".join(parts))
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
@pytest.mark.parametrize(("stored", "modality"), [(GRAY, "gray"), (RGB, "rgb")])
def test_pictures_come_channels_first_as_stored(tmp_path: Path, suffix: str, stored: Any, modality: str) -> None:
    path = save(tmp_path / f"a{suffix}", stored)
    scan = read_image(path)
    expected = np.moveaxis(np.atleast_3d(stored), -1, 0)
    np.testing.assert_array_equal(scan.pixels, expected)
    assert scan.pixels.dtype == np.uint8
    assert scan.pixels.flags.writeable
    assert scan.pixels.flags.c_contiguous
    assert (scan.spacing, scan.affine, scan.modality, scan.warnings) == ((1.0, 1.0), None, modality, ())
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_jpeg_decodes_as_pillow_does(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    with Image.open(path) as image:
        expected = np.moveaxis(np.array(image), -1, 0)
    np.testing.assert_array_equal(read_image(path).pixels, expected)


@pytest.mark.fault(8)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_kept(tmp_path: Path, suffix: str) -> None:
    stored = GRAY.astype(np.uint16) * 200
    pixels = read_image(save(tmp_path / f"a{suffix}", stored)).pixels
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels[0], stored)
    assert read_mask(tmp_path / f"a{suffix}").warnings == ()


@pytest.mark.fault(8)
def test_16_bit_colour_png_warns_that_half_its_depth_is_lost(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = png_16_bit_rgb(tmp_path / "a.png")
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(RGB, -1, 0))
    assert codes(scan.warnings) == [FaultCode.UNSUPPORTED_PIXELS]
    assert codes(faults_of(path, read_mask)) == [FaultCode.UNSUPPORTED_PIXELS]


@pytest.mark.fault(8)
@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_1_bit_is_0_255_as_image_and_0_1_as_mask(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", GRAY > 100)
    np.testing.assert_array_equal(read_image(path).pixels[0], np.where(GRAY > 100, 255, 0))
    mask = read_mask(path).pixels
    np.testing.assert_array_equal(mask[0], GRAY > 100)
    assert mask.dtype == np.uint8


@pytest.mark.fault(6)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_palette_gives_colours_as_image_and_indices_as_mask(tmp_path: Path, suffix: str) -> None:
    indices = (np.arange(20, dtype=np.uint8) % 3).reshape(4, 5)
    colours = np.array([[10, 20, 30], [200, 100, 0], [0, 0, 255]], np.uint8)
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}").pixels, np.moveaxis(colours[indices], -1, 0))
    np.testing.assert_array_equal(read_mask(tmp_path / f"a{suffix}").pixels, indices[None])


def test_transparent_palette_is_an_image_of_three_channels(tmp_path: Path) -> None:
    image = Image.fromarray(GRAY % 2)
    image.putpalette(bytes([1, 2, 3, 4, 5, 6]))
    image.save(tmp_path / "a.png", transparency=0)
    scan = read_image(tmp_path / "a.png")
    assert scan.pixels.shape == (3, 4, 5)
    assert codes(scan.warnings) == [FaultCode.TRANSPARENCY_DROPPED]


@pytest.mark.fault(8)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("transparency", "expected"), [(255, []), (7, [FaultCode.TRANSPARENCY_DROPPED])])
@pytest.mark.parametrize("colours", [RGB, GRAY[..., None]])
def test_transparency_is_dropped(tmp_path: Path, suffix: str, transparency: int, expected: Any, colours: Any) -> None:
    alpha = np.full((4, 5, 1), 255, np.uint8)
    alpha[0, 0] = transparency
    scan = read_image(save(tmp_path / f"a{suffix}", np.concatenate([colours, alpha], axis=-1)))
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(colours, -1, 0))
    assert codes(scan.warnings) == expected


def test_fourth_sample_of_no_stated_meaning_is_transparency(tmp_path: Path) -> None:
    stored = np.dstack([RGB, GRAY])
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", extrasamples=["unspecified"])
    scan = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(RGB, -1, 0))
    assert codes(scan.warnings) == [FaultCode.TRANSPARENCY_DROPPED]


@pytest.mark.fault(8)
@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_cmyk_stops(tmp_path: Path, suffix: str, faults_of: FaultsOf) -> None:
    faults = faults_of(save(tmp_path / f"a{suffix}", RGB, "CMYK"))
    assert codes(faults) == [FaultCode.UNSUPPORTED_PIXELS]


@pytest.mark.fault(9)
@pytest.mark.parametrize("tag", range(2, 9))
def test_exif_rotation_is_applied_with_a_warning(tmp_path: Path, tag: int) -> None:
    exif = Image.Exif()
    exif[274] = tag
    path = save(tmp_path / "a.png", RGB, exif=exif)
    with Image.open(path) as image:
        expected = np.moveaxis(np.array(ImageOps.exif_transpose(image)), -1, 0)
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, expected)
    assert codes(scan.warnings) == [FaultCode.ROTATED_BY_TAG]
    tifffile.imwrite(tmp_path / "a.tif", RGB, photometric="rgb", extratags=[(274, "H", 1, tag, True)])
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, expected)


def test_upright_exif_is_silent_and_broken_exif_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 1
    assert read_image(save(tmp_path / "a.png", RGB, exif=exif)).warnings == ()
    broken = save(tmp_path / "b.png", RGB, exif=b"Exif\0\0nonsense")
    np.testing.assert_array_equal(read_image(broken).pixels, np.moveaxis(RGB, -1, 0))


def test_equal_channels_stay_three_as_image_and_become_one_as_mask(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", GRAY, "RGB")
    assert read_image(path).pixels.shape == (3, 4, 5)
    np.testing.assert_array_equal(read_mask(path).pixels, GRAY[None])


@pytest.mark.fault(7)
def test_colour_mask_keeps_its_colours(tmp_path: Path) -> None:
    mask = read_mask(save(tmp_path / "a.png", RGB)).pixels
    np.testing.assert_array_equal(mask, np.moveaxis(RGB, -1, 0))


@pytest.mark.fault(8)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_float_tiff_is_an_image_and_whole_floats_are_a_mask(tmp_path: Path, dtype: Any) -> None:
    stored = (GRAY % 3).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored)
    image = read_image(tmp_path / "a.tif").pixels
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[0], stored)
    mask = read_mask(tmp_path / "a.tif").pixels
    assert mask.dtype.kind == "i"
    np.testing.assert_array_equal(mask[0], GRAY % 3)


@pytest.mark.fault(26)
def test_mask_of_fractions_stops_with_the_count(tmp_path: Path, faults_of: FaultsOf) -> None:
    stored = np.zeros((4, 5), np.float32)
    stored[0, :3] = 0.9
    tifffile.imwrite(tmp_path / "a.tif", stored)
    faults = faults_of(tmp_path / "a.tif", read_mask)
    assert codes(faults) == [FaultCode.MASK_NOT_INTEGER]
    assert faults[0].found.startswith("3 of 20 voxels")


def test_mask_of_two_channels_or_of_16_bit_colours_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    tifffile.imwrite(tmp_path / "b.tif", RGB.astype(np.uint16), photometric="rgb")
    assert codes(faults_of(tmp_path / "b.tif", read_mask)) == [FaultCode.CHANNEL_MISMATCH]
    tifffile.imwrite(tmp_path / "a.tif", np.stack([GRAY, GRAY]), planarconfig="separate", photometric="minisblack")
    assert codes(faults_of(tmp_path / "a.tif", read_mask)) == [FaultCode.CHANNEL_MISMATCH]


@pytest.mark.fault(21)
def test_not_finite_tiff(tmp_path: Path, faults_of: FaultsOf) -> None:
    stored = GRAY.astype(np.float32) - 3
    stored[0, 0], stored[1, 1] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", stored)
    faults = faults_of(tmp_path / "a.tif")
    assert codes(faults) == [FaultCode.NOT_FINITE]
    assert faults[0].found.startswith("2 of 20 voxels")
    scan = read_image(tmp_path / "a.tif", ReadOptions(nan_to="min"))
    assert scan.pixels[0, 0, 0] == scan.pixels[0, 1, 1] == 9
    assert codes(scan.warnings) == [FaultCode.NOT_FINITE]
    assert scan.warnings[0].stops is False


@pytest.mark.fault(21, 56)
def test_not_finite_values_become_the_smallest_of_their_own_channel(tmp_path: Path, faults_of: FaultsOf) -> None:
    stored = np.stack([GRAY - 1000.0, GRAY + 7.0]).astype(np.float32)
    stored[:, 0, 0] = np.nan
    image = nibabel.Nifti1Image(np.moveaxis(stored, 0, -1)[:, :, None], np.eye(4))
    nibabel.save(image, tmp_path / "a.nii")
    options = ReadOptions(nan_to="min", channels_last_axis=True)
    assert read_image(tmp_path / "a.nii", options).pixels[:, 0, 0, 0].tolist() == np.nanmin(stored, (1, 2)).tolist()
    stored[1] = np.nan
    image = nibabel.Nifti1Image(np.moveaxis(stored, 0, -1)[:, :, None], np.eye(4))
    nibabel.save(image, tmp_path / "a.nii")
    assert codes(faults_of(tmp_path / "a.nii", options=options)) == [FaultCode.NOT_FINITE]


def test_all_nan_stops_even_when_nan_becomes_the_minimum(tmp_path: Path, faults_of: FaultsOf) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 5), np.nan, np.float32))
    assert codes(faults_of(tmp_path / "a.tif", options=ReadOptions(nan_to="min"))) == [FaultCode.NOT_FINITE]


def test_float64_beyond_float32_is_not_finite(tmp_path: Path, faults_of: FaultsOf) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.where(GRAY == 0, 1e300, GRAY))
    assert codes(faults_of(tmp_path / "a.tif")) == [FaultCode.NOT_FINITE]


@pytest.mark.fault(8)
def test_pages_stop_unless_they_are_asked_for_as_a_volume(tmp_path: Path, faults_of: FaultsOf) -> None:
    stack = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", stack, photometric="minisblack")
    faults = faults_of(tmp_path / "a.tif")
    assert codes(faults) == [FaultCode.MULTI_PAGE]
    assert "3 pages" in faults[0].found
    scan = read_image(tmp_path / "a.tif", ReadOptions(pages="volume"))
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(stack, 0, -1)[None])
    assert scan.spacing == (1.0, 1.0, 1.0)
    assert scan.affine is not None
    np.testing.assert_array_equal(scan.affine, np.eye(4))
    assert scan.modality == ""


@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_named_channel_axis_becomes_channels(tmp_path: Path, kind: str) -> None:
    stored = np.stack([GRAY, GRAY + 1, GRAY + 2, GRAY + 3])
    options: dict[str, Any] = {kind: True}
    path = tmp_path / "a.ome.tif" if kind == "ome" else tmp_path / "a.tif"
    tifffile.imwrite(path, stored, metadata={"axes": "CYX"}, photometric="minisblack", **options)
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, stored)
    assert scan.modality == ""


def test_channels_and_pages_together_are_a_volume_of_channels(tmp_path: Path) -> None:
    stored = np.arange(120, dtype=np.uint8).reshape(3, 2, 4, 5)
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"axes": "ZCYX"})
    pixels = read_image(tmp_path / "a.tif", ReadOptions(pages="volume")).pixels
    np.testing.assert_array_equal(pixels, stored.transpose(1, 2, 3, 0))


@pytest.mark.parametrize("pages", ["stop", "volume"])
def test_time_axis_and_pages_of_different_size_always_stop(tmp_path: Path, pages: Any, faults_of: FaultsOf) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4, 5), np.uint8), imagej=True, metadata={"axes": "TYX"})
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        writer.write(GRAY)
        writer.write(GRAY[:2])
    for name in ("a.tif", "b.tif"):
        assert codes(faults_of(tmp_path / name, options=ReadOptions(pages=pages))) == [FaultCode.MULTI_PAGE]


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", None])
def test_compressed_tiff(tmp_path: Path, compression: str | None) -> None:
    flat = np.full((16, 16), 77, np.uint8)
    path = save(tmp_path / "a.tif", flat, compression=compression)
    np.testing.assert_array_equal(read_image(path).pixels[0], flat)


def test_compressed_pages_are_a_volume_too(tmp_path: Path) -> None:
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY // 2)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    pixels = read_image(tmp_path / "a.tif", ReadOptions(pages="volume")).pixels
    np.testing.assert_array_equal(pixels[0], np.stack([GRAY, GRAY // 2], axis=-1))


def test_compressed_channels_are_no_pages(tmp_path: Path) -> None:
    pages = [Image.fromarray(GRAY), Image.fromarray(GRAY // 2)]
    note = "ImageJ=1.54\nimages=2\nchannels=2\n"
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw", description=note)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, np.stack([GRAY, GRAY // 2]))


@pytest.mark.fault(6)
def test_compressed_palette_keeps_its_indices(tmp_path: Path) -> None:
    image = Image.fromarray(GRAY % 3)
    image.putpalette(bytes([10, 20, 30, 200, 100, 0, 0, 0, 255]))
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    np.testing.assert_array_equal(read_mask(tmp_path / "a.tif").pixels[0], GRAY % 3)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels[0] == 200, GRAY % 3 == 1)


@pytest.mark.parametrize("compression", ["jpeg", "tiff_lzw", None])
def test_luminance_and_chrominance_become_rgb(tmp_path: Path, compression: str | None) -> None:
    flat = np.full((16, 16, 3), (200, 40, 90), np.uint8)
    path = save(tmp_path / "a.tif", flat, "YCbCr", compression=compression)
    assert np.abs(read_image(path).pixels[:, 8, 8].astype(int) - flat[0, 0]).max() < 8


def test_compression_without_a_decoder_is_named(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.tif", GRAY, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags["Compression"].valueoffset
    data[place : place + 2] = struct.pack("<H", 34712)  # JPEG 2000
    path.write_bytes(data)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNSUPPORTED_COMPRESSION]
    assert "JPEG" in faults[0].found


@pytest.mark.fault(13)
@pytest.mark.parametrize("compression", ["tiff_lzw", None])
def test_dark_is_large_is_inverted(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(GRAY).save(path, compression=compression)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        data[tiff.pages[0].tags["PhotometricInterpretation"].valueoffset] = 0
    path.write_bytes(data)
    np.testing.assert_array_equal(read_image(path).pixels[0], 255 - GRAY)


@pytest.mark.fault(13)
def test_inversion_is_a_warning_and_reaches_1_bit_pictures(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 8), bool), photometric="miniswhite")
    scan = read_image(tmp_path / "a.tif")
    assert np.all(scan.pixels == 255)
    assert codes(scan.warnings) == [FaultCode.INVERTED_BY_TAG]
    assert np.all(read_mask(tmp_path / "a.tif").pixels == 1)


def test_complex_tiff_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(np.complex64))
    assert codes(faults_of(tmp_path / "a.tif")) == [FaultCode.UNSUPPORTED_PIXELS]


def test_animated_png_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    frames = [Image.fromarray(GRAY), Image.fromarray(RGB[..., 1])]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    assert codes(faults_of(tmp_path / "a.png")) == [FaultCode.MULTI_PAGE]


@pytest.mark.fault(14)
@pytest.mark.parametrize("most", [15, 5])
def test_a_very_large_picture_is_read_and_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    path = save(tmp_path / "a.png", RGB)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    assert codes(read_image(path).warnings) == [FaultCode.TOO_LARGE]


def test_a_decompression_bomb_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.png", RGB)
    monkeypatch.setattr(source, "_UNSUSPICIOUS_BYTES", 10)
    monkeypatch.setattr(source, "_MOST_PACKED", 0)
    assert codes(faults_of(path)) == [FaultCode.TOO_LARGE]


@pytest.mark.fault(14)
def test_tiff_header_that_promises_too_much_is_refused(tmp_path: Path, faults_of: FaultsOf) -> None:
    save(tmp_path / "a.tif", GRAY)
    data = bytearray((tmp_path / "a.tif").read_bytes())
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        for tag in ("ImageWidth", "ImageLength"):
            entry = tiff.pages[0].tags[tag]
            data[entry.offset + 2 : entry.offset + 12] = struct.pack("<HII", 4, 1, 200_000)
    (tmp_path / "a.tif").write_bytes(data)
    faults = faults_of(tmp_path / "a.tif")
    assert codes(faults) == [FaultCode.TOO_LARGE]
    assert "40000000000 bytes" in faults[0].found


@pytest.mark.fault(1)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_truncated_picture_stops(tmp_path: Path, suffix: str, share: float, faults_of: FaultsOf) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    whole = save(tmp_path / f"whole{suffix}", noise).read_bytes()
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    assert codes(faults_of(path)) == [FaultCode.UNREADABLE]


@pytest.mark.fault(1)
def test_truncated_uncompressed_and_compressed_tiff_stop(tmp_path: Path, faults_of: FaultsOf) -> None:
    for compression in (None, "zlib"):
        tifffile.imwrite(tmp_path / "a.tif", np.eye(50, dtype=np.uint16), compression=compression)
        whole = (tmp_path / "a.tif").read_bytes()
        (tmp_path / "a.tif").write_bytes(whole[:-20])
        assert codes(faults_of(tmp_path / "a.tif")) == [FaultCode.UNREADABLE]


def test_truncated_tiff_is_told_from_one_without_a_decoder(tmp_path: Path, faults_of: FaultsOf) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)
    path = save(tmp_path / "a.tif", noise, compression="tiff_lzw")
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        place = tiff.pages[0].tags["StripByteCounts"].valueoffset
    data[place : place + 4] = struct.pack("<I", len(data))
    path.write_bytes(data)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNREADABLE]
    assert "ends early" in faults[0].found


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_damaged_pictures_only_ever_raise_data_errors(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(1)
    whole = np.frombuffer(save(tmp_path / f"whole{suffix}", RGB).read_bytes(), np.uint8)
    path = tmp_path / f"a{suffix}"
    for _ in range(60):
        damaged = whole.copy()
        damaged[rng.integers(0, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        for read in (read_image, read_mask):
            with contextlib.suppress(DataError):
                read(path)


@pytest.mark.fault(2)
@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("a.png", b"", FaultCode.EMPTY_FILE),
        ("a.png", b"not a picture\n", FaultCode.UNKNOWN_FORMAT),
        ("a.nii.gz", b"\x1f\x8b\x08\x00garbage", FaultCode.UNKNOWN_FORMAT),
        ("a.txt", b"BM but not a bitmap", FaultCode.UNKNOWN_FORMAT),
    ],
)
def test_what_is_no_picture_stops(
    tmp_path: Path, name: str, content: bytes, code: FaultCode, faults_of: FaultsOf
) -> None:
    (tmp_path / name).write_bytes(content)
    assert codes(faults_of(tmp_path / name)) == [code]
    assert not is_scan_file(tmp_path / name)


@pytest.mark.fault(19)
def test_missing_unreadable_and_looping_paths_stop(tmp_path: Path, faults_of: FaultsOf) -> None:
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    for name in ("absent.png", "loop.png", "nul\0.png", "n" * 300):
        assert codes(faults_of(tmp_path / name)) == [FaultCode.UNREADABLE]
        assert not is_scan_file(tmp_path / name)
    assert "ENOENT" in faults_of(tmp_path / "absent.png")[0].found


@pytest.mark.fault(19)
def test_refused_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.png", GRAY)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNREADABLE]
    assert "EACCES" in faults[0].found


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes in the file system")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path, faults_of: FaultsOf) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")
    assert codes(faults_of(tmp_path / "pipe.png")) == [FaultCode.UNREADABLE]
    assert not is_scan_file(tmp_path / "pipe.png")


@pytest.mark.fault(2)
@pytest.mark.parametrize("name", ["a.jpg", "a.nii.gz", "a.dcm", "a", "a.png.7"])
def test_wrong_suffix_is_read_by_content_with_a_warning(tmp_path: Path, name: str) -> None:
    save(tmp_path / "right.png", GRAY).rename(tmp_path / name)
    scan = read_image(tmp_path / name)
    np.testing.assert_array_equal(scan.pixels[0], GRAY)
    assert codes(scan.warnings) == [FaultCode.WRONG_SUFFIX]
    assert is_scan_file(tmp_path / name)


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    "name", ["A.PNG", "ä 🩻.png", "-a.png", "CON.png", "a\nb.png", ".png", "n" * 251 + ".png", "a.b.png"]
)
def test_any_legal_name_is_read(tmp_path: Path, name: str) -> None:
    save(tmp_path / "right.png", GRAY).rename(tmp_path / name)
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels[0], GRAY)


@pytest.mark.fault(18)
def test_control_characters_in_names_are_escaped_in_faults(tmp_path: Path, faults_of: FaultsOf) -> None:
    path, shown = tmp_path / "a\n\x1b[31m.jpg", f"{tmp_path}/a\\n\\x1b[31m.jpg"
    path.write_bytes(b"")
    assert faults_of(path)[0].file == shown
    Image.fromarray(GRAY).save(path, format="PNG")
    assert read_image(path).warnings[0].file == shown


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a"),
        ("a.b.nii.gz", "a.b"),
        ("A.NII.GZ", "A"),
        ("a.ome.tiff", "a"),
        ("case.1", "case.1"),
        ("1.2.840.113", "1.2.840.113"),
        ("a.gz", "a.gz"),
        (".png", ".png"),
        ("a", "a"),
    ],
)
def test_stem(name: str, expected: str) -> None:
    assert stem(Path("folder") / name) == expected


def test_suffixes_are_lower_case_with_the_compound_one() -> None:
    assert {".png", ".nii.gz", ".dcm", ".mha"} <= SUFFIXES.keys()
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in SUFFIXES)


@pytest.mark.parametrize("stored", [np.asfortranarray(RGB), np.frombuffer(bytes(6), np.uint8).reshape(2, 3)])
def test_pixels_are_writable_and_in_c_order(stored: Any) -> None:
    pixels = native(stored)
    assert pixels.flags.c_contiguous
    assert pixels.flags.writeable
    np.testing.assert_array_equal(pixels, stored)


def test_importing_the_readers_imports_no_decoder() -> None:
    code = "import sys, genseg.read; print([m for m in sys.argv[1:] if m in sys.modules])"
    decoders = ["PIL", "tifffile", "nibabel", "pydicom", "SimpleITK", "torch", "monai", "scipy"]
    result = subprocess.run([sys.executable, "-c", code, *decoders], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_reading_leaves_the_warning_filters_as_they_were(tmp_path: Path, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.png", GRAY)
    before = list(warnings.filters)
    read_image(path)
    (tmp_path / "b.png").write_bytes(path.read_bytes()[:40])
    faults_of(tmp_path / "b.png")
    assert warnings.filters == before


def test_readings_that_overlap_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    first, second = decoding("a", Format.PNG), decoding("b", Format.PNG)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert warnings.filters != before
    second.__exit__(None, None, None)
    assert warnings.filters == before


@pytest.mark.fault(28)
def test_a_bug_of_the_decoder_is_not_shown_with_its_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", GRAY)

    def fail(*_: Any, **__: Any) -> None:
        raise IndexError("Doe^Jane")

    monkeypatch.setitem(Image.OPEN, "PNG", (fail, None))
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_too_little_memory_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults_of: FaultsOf) -> None:
    path = save(tmp_path / "a.png", GRAY)

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setitem(Image.OPEN, "PNG", (fail, None))
    assert codes(faults_of(path)) == [FaultCode.TOO_LARGE]


def test_real_pictures_are_read_without_warnings(real_data: Path) -> None:
    for name in ("breast_us_busi", "foot_ulcer_fuseg", "lung_heart_jsrt_multiclass"):
        images = sorted((real_data / name / "images").iterdir())[:5]
        masks = sorted((real_data / name / "masks").iterdir())[:5]
        for image_path, mask_path in zip(images, masks, strict=True):
            image, mask = read_image(image_path), read_mask(mask_path)
            assert image.warnings == mask.warnings == ()
            assert image.spatial == mask.spatial
            assert len(mask.pixels) == 1


def test_source_is_hashed_once_decoded_from_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", GRAY)
    reads: list[Path] = []
    original = Path.read_bytes

    def counted(self: Path) -> bytes:
        reads.append(self)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", counted)
    assert read_image(path).sha256 == hashlib.sha256(BytesIO(original(path)).getvalue()).hexdigest()
    assert reads == [path]
