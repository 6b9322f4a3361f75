from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from genseg.config import Plan
from genseg.errors import DataError, Fault, FaultCode
from genseg.prepare.preprocess import prepare, restore
from genseg.read import ReadOptions, is_scan_file, read_image, read_mask
from genseg.read.case import Case
from genseg.write.masks import write_mask

FaultsOf = Callable[..., tuple[Fault, ...]]
Write = Callable[..., Path]

GRAY = np.arange(20, dtype=np.uint16).reshape(4, 5) * 100
SLICES = np.arange(6 * 20, dtype=np.int16).reshape(6, 4, 5) - 30


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


def edit(path: Path, **tags: Any) -> None:
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def test_single_file_is_a_picture_with_its_spacing(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels, GRAY[None])
    assert scan.pixels.dtype == np.uint16
    assert (scan.spacing, scan.affine, scan.modality, scan.warnings) == ((0.75, 0.5), None, "ct", ())
    assert scan.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert is_scan_file(path)


@pytest.mark.parametrize(
    ("stored", "modality"), [("CT", "ct"), ("MR", "mr"), ("PT", "pet"), ("US", "gray"), (None, "gray")]
)
def test_modality(tmp_path: Path, write_dicom: Write, stored: str | None, modality: str) -> None:
    assert read_image(write_dicom(tmp_path / "a.dcm", GRAY, Modality=stored)).modality == modality


def test_spacing_falls_back_to_the_detector_and_then_to_1(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY, PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.1])
    assert read_image(path).spacing == (0.2, 0.1)
    assert read_image(write_dicom(tmp_path / "b.dcm", GRAY, PixelSpacing=None)).spacing == (1.0, 1.0)


@pytest.mark.fault(25)
def test_impossible_spacing_of_a_picture_stops(tmp_path: Path, write_dicom: Write, faults_of: FaultsOf) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY, PixelSpacing=[0, 0.5])
    assert codes(faults_of(path)) == [FaultCode.BAD_SPACING]


@pytest.mark.fault(26)
def test_rescale_gives_float32_in_units_of_the_modality(tmp_path: Path, write_dicom: Write) -> None:
    pixels = read_image(write_dicom(tmp_path / "a.dcm", GRAY, RescaleSlope=2, RescaleIntercept=-1024)).pixels
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels[0], GRAY * 2.0 - 1024)


def test_rescale_of_one_and_zero_keeps_integers(tmp_path: Path, write_dicom: Write) -> None:
    pixels = read_image(write_dicom(tmp_path / "a.dcm", GRAY, RescaleSlope=1, RescaleIntercept=0)).pixels
    assert pixels.dtype == np.uint16


@pytest.mark.fault(13)
@pytest.mark.parametrize(("dtype", "total"), [(np.uint16, 4095), (np.int16, -1)])
def test_monochrome1_is_inverted_with_a_warning(tmp_path: Path, write_dicom: Write, dtype: Any, total: int) -> None:
    stored = GRAY.astype(dtype)
    path = write_dicom(tmp_path / "a.dcm", stored, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    scan = read_image(path)
    np.testing.assert_array_equal(scan.pixels[0].astype(int), total - stored.astype(int))
    assert scan.pixels.dtype == dtype
    assert codes(scan.warnings) == [FaultCode.INVERTED_BY_TAG]


def test_colour_picture(tmp_path: Path, write_dicom: Write) -> None:
    rgb = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    scan = read_image(write_dicom(tmp_path / "a.dcm", rgb, Modality="US"))
    np.testing.assert_array_equal(scan.pixels, np.moveaxis(rgb, -1, 0))
    assert scan.modality == "rgb"


def test_luminance_and_chrominance_become_rgb(tmp_path: Path, write_dicom: Write) -> None:
    gray = np.stack([np.full((4, 5), value, np.uint8) for value in (90, 128, 128)], axis=-1)
    scan = read_image(write_dicom(tmp_path / "a.dcm", gray, PhotometricInterpretation="YBR_FULL", Modality="US"))
    assert np.all(scan.pixels == 90)


def test_palette_is_colours_as_image_and_indices_as_mask(tmp_path: Path, write_dicom: Write) -> None:
    indices = (np.arange(20, dtype=np.uint8) % 3).reshape(4, 5)
    table = np.array([[0, 10, 20], [30, 40, 50], [60, 70, 80]], np.uint16)
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR", "Modality": "US"}
    for name, colours in zip(("Red", "Green", "Blue"), table, strict=True):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [3, 0, 16]
        tags[f"{name}PaletteColorLookupTableData"] = (colours << 8).astype("<u2").tobytes()
    path = write_dicom(tmp_path / "a.dcm", indices, **tags)
    np.testing.assert_array_equal(read_image(path).pixels, table[:, indices])
    np.testing.assert_array_equal(read_mask(path).pixels, indices[None])


@pytest.mark.fault(27)
def test_compressed_pixels_are_decoded(tmp_path: Path, write_dicom: Write) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    dataset = pydicom.dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_image(path).pixels[0], GRAY)


@pytest.mark.fault(27)
def test_compression_without_a_decoder_is_named(
    tmp_path: Path, write_dicom: Write, faults_of: FaultsOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genseg.read import dicom

    monkeypatch.setattr(dicom, "get_decoder", lambda _: type("Decoder", (), {"is_available": False}))
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = JPEGLSLossless
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xf7"])
    dataset.save_as(path)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.UNSUPPORTED_COMPRESSION]
    assert "JPEG-LS" in faults[0].found
    assert "genseg[dicom-codecs]" in faults[0].cure


@pytest.mark.fault(27)
def test_film_without_positions_stops(tmp_path: Path, write_dicom: Write, faults_of: FaultsOf) -> None:
    path = write_dicom(tmp_path / "a.dcm", SLICES, NumberOfFrames=6)
    faults = faults_of(path)
    assert codes(faults) == [FaultCode.MULTI_PAGE]
    assert "6 frames" in faults[0].found


def enhanced(positions: Iterable[float], slope: float | None = None) -> dict[str, Any]:
    """The tags of frames that state where they lie."""

    def item(**tags: Any) -> Dataset:
        dataset = Dataset()
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        return dataset

    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.75, 0.5])],
    )
    if slope is not None:
        scale = item(RescaleSlope=slope, RescaleIntercept=0)
        shared.PixelValueTransformationSequence = [scale]
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[10, 20, z])]) for z in positions]
    return {
        "NumberOfFrames": len(frames),
        "SharedFunctionalGroupsSequence": [shared],
        "PerFrameFunctionalGroupsSequence": frames,
    }


@pytest.mark.fault(27)
def test_frames_with_positions_are_a_volume_in_their_order(tmp_path: Path, write_dicom: Write) -> None:
    tags = enhanced([40, 37.5, 35, 32.5, 30, 27.5], slope=2)
    scan = read_image(write_dicom(tmp_path / "a.dcm", SLICES, **tags))
    np.testing.assert_array_equal(scan.pixels[0], 2.0 * SLICES[::-1].transpose(2, 1, 0))
    assert scan.spacing == (0.5, 0.75, 2.5)
    np.testing.assert_array_equal(scan.affine, [[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2.5, 27.5], [0, 0, 0, 1]])


def test_frames_of_two_phases_stop(tmp_path: Path, write_dicom: Write, faults_of: FaultsOf) -> None:
    path = write_dicom(tmp_path / "a.dcm", SLICES, **enhanced([30, 32.5, 35, 30, 32.5, 35]))
    assert codes(faults_of(path)) == [FaultCode.SERIES_DUPLICATE]


@pytest.mark.parametrize("tags", [{"Rows": None}, {"SegmentSequence": [Dataset()]}])
def test_objects_that_are_no_image_stop(
    tmp_path: Path, write_dicom: Write, faults_of: FaultsOf, tags: dict[str, Any]
) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY, **tags)
    assert codes(faults_of(path)) == [FaultCode.UNSUPPORTED_PIXELS]


def test_unknown_colours_and_impossible_size_are_named_together(
    tmp_path: Path, write_dicom: Write, faults_of: FaultsOf
) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY, PhotometricInterpretation="CMYK", NumberOfFrames=2**31 - 1)
    edit(path, Rows=60000, Columns=60000)
    assert codes(faults_of(path)) == [FaultCode.UNSUPPORTED_PIXELS, FaultCode.TOO_LARGE]


def test_truncated_file_stops(tmp_path: Path, write_dicom: Write, faults_of: FaultsOf) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    path.write_bytes(path.read_bytes()[:-10])
    assert codes(faults_of(path)) == [FaultCode.UNREADABLE]


def test_series_is_ordered_by_position_in_ras(tmp_path: Path, write_series: Write) -> None:
    scan = read_image(write_series(tmp_path / "s", SLICES))
    np.testing.assert_array_equal(scan.pixels, SLICES.transpose(2, 1, 0)[None])
    assert scan.pixels.flags.c_contiguous
    assert scan.spacing == (0.5, 0.75, 2.5)
    np.testing.assert_array_equal(scan.affine, [[-0.5, 0, 0, -10], [0, -0.75, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])
    assert (scan.modality, scan.warnings) == ("ct", ())


def test_series_hash_follows_the_slice_order(tmp_path: Path, write_series: Write) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    hashes = [hashlib.sha256((folder / f"{99 - index}.dcm").read_bytes()).hexdigest() for index in range(6)]
    assert read_image(folder).sha256 == hashlib.sha256("".join(hashes).encode()).hexdigest()


def test_series_affine_agrees_with_itk(tmp_path: Path, write_series: Write) -> None:
    simpleitk: Any = pytest.importorskip("SimpleITK")
    folder = write_series(tmp_path / "s", SLICES)
    names = [str(folder / f"{99 - index}.dcm") for index in range(6)]
    simpleitk.WriteImage(simpleitk.ReadImage(names), str(tmp_path / "s.nrrd"))
    itk, scan = read_image(tmp_path / "s.nrrd"), read_image(folder)
    np.testing.assert_allclose(itk.affine, scan.affine, atol=1e-6)
    np.testing.assert_array_equal(itk.pixels, scan.pixels)


def test_oblique_series(tmp_path: Path, write_dicom: Write) -> None:
    row, column = np.array([0.8, 0.6, 0]), np.array([0, 0, -1.0])
    (tmp_path / "s").mkdir()
    for index, pixels in enumerate(SLICES):
        place = [1.0, 2.0, 3.0] + np.cross(row, column) * 2.5 * index
        tags = {"ImagePositionPatient": list(place), "ImageOrientationPatient": [*row, *column]}
        write_dicom(tmp_path / "s" / f"{index}", pixels, **tags)
    scan = read_image(tmp_path / "s")
    assert scan.affine is not None
    ras = np.diag([-1, -1, 1]) @ np.column_stack([row * 0.5, column * 0.75, np.cross(row, column) * 2.5])
    np.testing.assert_allclose(scan.affine[:3, :3], ras, atol=1e-6)
    np.testing.assert_array_equal(scan.pixels[0], SLICES.transpose(2, 1, 0))


def test_rescale_is_that_of_each_slice(tmp_path: Path, write_series: Write) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    edit(folder / "99.dcm", RescaleSlope=10, RescaleIntercept=1)
    pixels = read_image(folder).pixels[0]
    np.testing.assert_array_equal(pixels[..., 0], 10 * SLICES[0].T + 1)
    np.testing.assert_array_equal(pixels[..., 1], SLICES[1].T)


def test_inverted_series_warns_once(tmp_path: Path, write_series: Write) -> None:
    scan = read_image(write_series(tmp_path / "s", SLICES, PhotometricInterpretation="MONOCHROME1"))
    assert codes(scan.warnings) == [FaultCode.INVERTED_BY_TAG]


def test_series_of_one_file_is_a_picture(tmp_path: Path, write_series: Write) -> None:
    scan = read_image(write_series(tmp_path / "s", SLICES[:1]))
    np.testing.assert_array_equal(scan.pixels, SLICES[:1])
    assert scan.affine is None


@pytest.mark.fault(27)
@pytest.mark.parametrize("missing", [1, 3])
def test_missing_slice_stops(tmp_path: Path, write_series: Write, faults_of: FaultsOf, missing: int) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    (folder / f"{99 - missing}.dcm").unlink()
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.SERIES_INCOMPLETE]
    assert "5.000 mm" in faults[0].found
    assert "2.500 mm" in faults[0].expected


@pytest.mark.parametrize("place", [32.51, 32.56])
def test_rounded_positions_are_even(tmp_path: Path, write_series: Write, place: float) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    edit(folder / "98.dcm", ImagePositionPatient=[10, 20, place])
    assert read_image(folder).warnings == ()


@pytest.mark.fault(27)
def test_two_series_in_one_folder_stop(tmp_path: Path, write_series: Write, faults_of: FaultsOf) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    for index in (97, 98):
        edit(folder / f"{index}.dcm", SeriesInstanceUID="9.9.9")
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.SERIES_MIXED]
    assert "2 files like 97.dcm" in faults[0].found
    assert "4 files like 94.dcm" in faults[0].found
    assert "9.9.9" not in faults[0].found


@pytest.mark.fault(27)
@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0, 1]}, FaultCode.SERIES_ORIENTATION),
        ({"PixelSpacing": [0.75, 0.6]}, FaultCode.SERIES_MIXED),
        ({"ImagePositionPatient": [10, 20, 30]}, FaultCode.SERIES_DUPLICATE),
        ({"ImagePositionPatient": None}, FaultCode.BAD_AFFINE),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, FaultCode.BAD_AFFINE),
        ({"PixelSpacing": None}, FaultCode.BAD_SPACING),
        ({"PixelSpacing": [0, 0.5]}, FaultCode.BAD_SPACING),
        ({"NumberOfFrames": 3}, FaultCode.SERIES_MIXED),
    ],
)
def test_one_slice_that_does_not_fit_stops(
    tmp_path: Path, write_series: Write, faults_of: FaultsOf, tags: dict[str, Any], code: FaultCode
) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    edit(folder / "97.dcm", **tags)
    assert codes(faults_of(folder)) == [code]


@pytest.mark.fault(27)
def test_slices_of_two_sizes_stop(tmp_path: Path, write_series: Write, write_dicom: Write, faults_of: FaultsOf) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    write_dicom(folder / "1.dcm", SLICES[0, :3], ImagePositionPatient=[10, 20, 45])
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.SERIES_MIXED]
    assert "1 files like 1.dcm" in faults[0].found


@pytest.mark.fault(27)
def test_tilted_gantry_stops(tmp_path: Path, write_series: Write, faults_of: FaultsOf) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    for index in range(6):
        edit(folder / f"{99 - index}.dcm", ImagePositionPatient=[10, 20 + 0.5 * index, 30 + 2.5 * index])
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.SERIES_TILTED]
    assert "0.500 mm sideways" in faults[0].found


@pytest.mark.fault(27)
def test_tilted_gantry_is_straightened_where_that_is_asked_for(
    tmp_path: Path, write_series: Write, plan_of: Callable[..., Plan]
) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    straight = read_image(folder)
    for index in range(6):
        edit(folder / f"{99 - index}.dcm", ImagePositionPatient=[10, 20 + 0.5 * index, 30 + 2.5 * index])
    scan = read_image(folder, ReadOptions(tilt="straighten"))
    assert [(fault.code, fault.stops) for fault in scan.warnings] == [(FaultCode.SERIES_TILTED, False)]
    np.testing.assert_array_equal(scan.pixels, straight.pixels)
    assert scan.spacing == pytest.approx(straight.spacing)
    mask = (scan.pixels[0] % 3).astype(np.uint8)
    written = nibabel.load(write_mask(mask, folder, tmp_path))
    np.testing.assert_array_equal(written.affine, scan.affine)
    case = Case("a", scan.pixels, mask, scan.spacing, scan.affine, "", "", "")
    prepared = prepare(case, plan_of(3, spacing=scan.spacing, patch_size=(8, 8, 8)))
    assert prepared.geometry.tilt is not None
    assert prepared.mask is not None
    rows = tuple(slice(size) for size in prepared.geometry.worked)
    np.testing.assert_array_equal(restore(prepared.mask[rows], prepared.geometry), mask)


@pytest.mark.fault(27)
def test_copy_of_a_slice_is_left_out_with_a_warning(tmp_path: Path, write_series: Write) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    expected = read_image(folder)
    (folder / "copy.dcm").write_bytes((folder / "97.dcm").read_bytes())
    scan = read_image(folder)
    np.testing.assert_array_equal(scan.pixels, expected.pixels)
    assert codes(scan.warnings) == [FaultCode.SERIES_DUPLICATE]
    assert scan.warnings[0].stops is False


@pytest.mark.fault(27)
def test_one_identity_with_different_pixels_stops(tmp_path: Path, write_series: Write, faults_of: FaultsOf) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    identity = pydicom.dcmread(folder / "97.dcm").SOPInstanceUID
    edit(folder / "98.dcm", SOPInstanceUID=identity)
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.SERIES_DUPLICATE]
    assert "97.dcm" in faults[0].found
    assert "98.dcm" in faults[0].found


@pytest.mark.fault(27)
def test_localizer_is_left_out_with_a_warning(tmp_path: Path, write_series: Write, write_dicom: Write) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    tags = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "SeriesInstanceUID": "9.9.9"}
    write_dicom(folder / "scout.dcm", GRAY, **tags)
    scan = read_image(folder)
    np.testing.assert_array_equal(scan.pixels, SLICES.transpose(2, 1, 0)[None])
    assert codes(scan.warnings) == [FaultCode.SERIES_LOCALIZER]


def test_reports_notes_and_hidden_files_in_the_folder_do_no_harm(
    tmp_path: Path, write_series: Write, write_dicom: Write
) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    write_dicom(folder / "report.dcm", GRAY, Rows=None)
    for name in ("notes.txt", "._99.dcm", ".DS_Store", "DICOMDIR"):
        (folder / name).write_bytes(b"something else")
    (folder / "subfolder").mkdir()
    scan = read_image(folder)
    assert scan.spatial == (5, 4, 6)
    assert codes(scan.warnings) == [FaultCode.UNSUPPORTED_PIXELS]


def test_all_unreadable_slices_are_named_at_once(tmp_path: Path, write_series: Write, faults_of: FaultsOf) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    (folder / "97.dcm").write_bytes(b"")
    (folder / "98.dcm").write_bytes(b"not DICOM")
    (folder / "IM7").write_bytes(b"")
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.EMPTY_FILE, FaultCode.UNKNOWN_FORMAT, FaultCode.EMPTY_FILE]
    for path in (folder / "96.dcm", folder / "95.dcm"):
        path.write_bytes(path.read_bytes()[:-10])
    for name in ("97.dcm", "98.dcm", "IM7"):
        (folder / name).unlink()
    faults = faults_of(folder)
    assert codes(faults) == [FaultCode.UNREADABLE] * 2
    assert [Path(fault.file).name for fault in faults] == ["95.dcm", "96.dcm"]


def test_folder_without_dicom_stops(tmp_path: Path, faults_of: FaultsOf) -> None:
    (tmp_path / "notes.txt").write_bytes(b"nothing")
    assert codes(faults_of(tmp_path)) == [FaultCode.UNKNOWN_FORMAT]


@pytest.mark.fault(38)
def test_order_of_the_directory_listing_changes_nothing(
    tmp_path: Path, write_series: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_series(tmp_path / "s", SLICES)
    expected = read_image(folder)
    original = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda self: sorted(original(self), reverse=True))
    scan = read_image(folder)
    assert scan.sha256 == expected.sha256
    np.testing.assert_array_equal(scan.pixels, expected.pixels)


def test_series_can_be_a_mask(tmp_path: Path, write_series: Write) -> None:
    labels = (SLICES % 3).astype(np.uint8)
    mask = read_mask(write_series(tmp_path / "s", labels)).pixels
    np.testing.assert_array_equal(mask, labels.transpose(2, 1, 0)[None])


@pytest.mark.parametrize("name", ["IM0001", "1.2.840.113", "slice.IMA"])
def test_any_name_without_known_suffix_is_usual(tmp_path: Path, write_dicom: Write, name: str) -> None:
    assert read_image(write_dicom(tmp_path / name, GRAY)).warnings == ()


@pytest.mark.fault(28)
def test_damaged_files_name_no_patient(
    tmp_path: Path, write_dicom: Write, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    rng = np.random.default_rng(4)
    whole = np.frombuffer(write_dicom(tmp_path / "whole.dcm", GRAY).read_bytes(), np.uint8)
    path = tmp_path / "a.dcm"
    messages = []
    for _ in range(150):
        damaged = whole.copy()
        damaged[rng.integers(132, len(whole), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(damaged.tobytes())
        try:
            read_image(path)
        except DataError as error:
            messages.append(str(error))
    assert messages
    captured = capfd.readouterr()
    assert "Doe" not in "".join(messages) + caplog.text + captured.out + captured.err


def test_unchecked_values_print_nothing(tmp_path: Path, write_dicom: Write, recwarn: pytest.WarningsRecorder) -> None:
    path = write_dicom(tmp_path / "a.dcm", GRAY)
    path.write_bytes(path.read_bytes().replace(b"1.2.3", b"1.2.x"))
    with contextlib.suppress(DataError):
        read_image(path)
    assert not recwarn.list
