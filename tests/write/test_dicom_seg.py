"""DICOM Segmentations: read back by highdicom, they lie on the images that they were made for."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, SecondaryCaptureImageStorage

from benchmarks.robustness.dicom_files import PATIENT
from genseg.errors import DataError, FaultCode, MissingExtraError
from genseg.read import ReadOptions, read_image
from genseg.write.dicom_seg import SERIES_NUMBER, write_dicom_seg
from genseg.write.masks import write_mask

hd_seg: Any = pytest.importorskip("highdicom.seg")

Write = Callable[..., Path]

CLASSES = ("background", "organ", "vessel")
STUDY = {"StudyInstanceUID": "1.2.4", "FrameOfReferenceUID": "1.2.5", "PatientID": "P-7", "SeriesNumber": 3}
AXES = {
    "axial": [1, 0, 0, 0, 1, 0],
    "prone": [-1, 0, 0, 0, -1, 0],
    "sagittal": [0, 1, 0, 0, 0, -1],
    "coronal": [1, 0, 0, 0, 0, -1],
    "oblique": [0.8, 0.6, 0, 0, 0, -1],
}
LABELS = np.random.default_rng(5).integers(0, 3, (6, 4, 5), np.uint8)
"""The label of each pixel of six files; the files' pixels are these labels, so that each tells what belongs on it."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def write_labels(write_dicom: Write) -> Write:
    """A series of labels, its names shuffled: `write_labels(folder, labels, orientation, step, **tags)`."""

    def write(
        folder: Path, labels: Any = LABELS, orientation: Any = AXES["axial"], step: float = 2.5, **tags: Any
    ) -> Path:
        folder.mkdir()
        normal = np.cross(orientation[:3], orientation[3:])
        names = np.random.default_rng(1).permutation(len(labels))
        for index, pixels in enumerate(labels):
            place = [10.0, 20.0, 30.0] + normal * step * index
            usual = {**STUDY, "ImagePositionPatient": list(place), "ImageOrientationPatient": orientation}
            write_dicom(folder / f"IM{names[index]}.dcm", pixels, **{**usual, **tags})
        return folder

    return write


def labels_of(like: Path) -> NDArray[np.uint8]:
    """The mask that an image of labels stands for."""
    return read_image(like).pixels[0].astype(np.uint8)


def assert_on_each_file(path: Path, folder: Path) -> Any:
    """What is said of each file by its identity is what that file's pixels say; returns the segmentation."""
    segmentation = hd_seg.segread(path)
    files = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    found = segmentation.get_pixels_by_source_instance(
        [file.SOPInstanceUID for file in files], combine_segments=True, assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(found, [file.pixel_array for file in files])
    return segmentation


def places(labels: Any, affine: Any) -> set[tuple[float, ...]]:
    """Where each labelled voxel lies, and its label."""
    voxels = np.argwhere(labels)
    world = voxels @ affine[:3, :3].T + affine[:3, 3]
    return {(*np.round(place, 3) + 0.0, int(labels[tuple(voxel)])) for place, voxel in zip(world, voxels, strict=True)}


@pytest.mark.parametrize("step", [2.5, -2.5])
@pytest.mark.parametrize("plane", AXES)
def test_each_file_gets_its_own_labels(tmp_path: Path, out: Path, write_labels: Write, plane: str, step: float) -> None:
    folder = write_labels(tmp_path / "case.1", LABELS, AXES[plane], step)
    path = write_dicom_seg(labels_of(folder), folder, out, CLASSES)
    assert path == out / "case.1.dcm"
    assert_on_each_file(path, folder)


@pytest.mark.fault(27)
def test_slices_that_lean_get_their_own_labels(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "s")
    for path in folder.iterdir():
        image = pydicom.dcmread(path)
        image.ImagePositionPatient[1] += 0.2 * (image.ImagePositionPatient[2] - 30)
        image.save_as(path)
    mask = read_image(folder, ReadOptions(tilt="straighten")).pixels[0].astype(np.uint8)
    assert_on_each_file(write_dicom_seg(mask, folder, out, CLASSES), folder)


@pytest.mark.parametrize("step", [2.5, -2.5])
@pytest.mark.parametrize("plane", AXES)
def test_labels_lie_in_the_patient_where_the_image_does(
    tmp_path: Path, out: Path, write_labels: Write, plane: str, step: float
) -> None:
    folder = write_labels(tmp_path / "a", LABELS, AXES[plane], step)
    image, mask = read_image(folder), labels_of(folder)
    volume = hd_seg.segread(write_dicom_seg(mask, folder, out, CLASSES)).get_volume(combine_segments=True)
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert places(volume.array, lps_to_ras @ volume.affine) == places(mask, image.affine)


def test_slices_without_foreground_are_left_out_and_read_back_empty(
    tmp_path: Path, out: Path, write_labels: Write
) -> None:
    labels = LABELS.copy()
    labels[[0, 2, 5]] = 0
    labels[3][labels[3] == 2] = 0
    folder = write_labels(tmp_path / "a", labels)
    segmentation = assert_on_each_file(write_dicom_seg(labels_of(folder), folder, out, CLASSES), folder)
    assert segmentation.NumberOfFrames == 5


def test_a_class_that_is_absent_has_its_segment_nevertheless(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a", 2 * (LABELS == 2).astype(np.uint8))
    segmentation = assert_on_each_file(write_dicom_seg(labels_of(folder), folder, out, CLASSES), folder)
    assert [segment.SegmentLabel for segment in segmentation.SegmentSequence] == ["organ", "vessel"]


@pytest.mark.parametrize("classes", [("background", "organ"), CLASSES])
def test_an_empty_mask_is_a_segmentation_of_nothing(
    tmp_path: Path, out: Path, write_labels: Write, classes: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_labels(tmp_path / "a", np.zeros_like(LABELS))
    segmentation = assert_on_each_file(write_dicom_seg(labels_of(folder), folder, out, classes), folder)
    assert len(segmentation.SegmentSequence) == len(classes) - 1
    assert caplog.records == []


def test_an_archive_files_it_with_its_images(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a", AccessionNumber="A-1", PatientBirthDate="19500102", PatientSex="F")
    image = pydicom.dcmread(folder / "IM0.dcm")
    segmentation = hd_seg.segread(write_dicom_seg(labels_of(folder), folder, out, CLASSES))
    same = (
        *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"),
        *("StudyInstanceUID", "FrameOfReferenceUID"),
    )
    for keyword in same:
        assert segmentation[keyword].value == image[keyword].value, keyword
    assert segmentation.SeriesInstanceUID != image.SeriesInstanceUID
    assert segmentation.SeriesNumber == SERIES_NUMBER + 3
    referred = segmentation.ReferencedSeriesSequence[0]
    assert referred.SeriesInstanceUID == image.SeriesInstanceUID
    instances = {item.ReferencedSOPInstanceUID for item in referred.ReferencedInstanceSequence}
    assert instances == {pydicom.dcmread(file).SOPInstanceUID for file in folder.iterdir()}


def test_it_says_what_made_it(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a")
    segmentation = hd_seg.segread(write_dicom_seg(labels_of(folder), folder, out, CLASSES))
    assert (segmentation.Modality, segmentation.SegmentationType) == ("SEG", "BINARY")
    for keyword in ("SeriesDescription", "ContentLabel", "ContentDescription", "SoftwareVersions", "Manufacturer"):
        assert segmentation[keyword].value, keyword
    assert "ContentCreatorName" in segmentation
    segment = segmentation.SegmentSequence[1]
    assert (segment.SegmentAlgorithmType, segment.SegmentAlgorithmName) == ("AUTOMATIC", "genseg")
    assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Tissue"


def test_each_writing_is_an_object_of_its_own(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a")
    first, second = (
        pydicom.dcmread(write_dicom_seg(labels_of(folder), folder, out, CLASSES, name)) for name in ("x", "y")
    )
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert first.SeriesInstanceUID != second.SeriesInstanceUID


@pytest.mark.parametrize(
    ("name", "label"),
    [("Größe Δ 肝", "Größe Δ 肝"), ("a\\b\nc", "a/b/nc"), ("x" * 80, "x" * 64), (" ", "class 1"), ("\ud800", "/ud800")],
)
def test_any_class_name_becomes_a_label(tmp_path: Path, out: Path, write_labels: Write, name: str, label: str) -> None:
    folder = write_labels(tmp_path / "a", LABELS % 2)
    path = write_dicom_seg(labels_of(folder), folder, out, ("background", name))
    assert hd_seg.segread(path).SegmentSequence[0].SegmentLabel == label


@pytest.mark.parametrize(
    ("charset", "name"), [("ISO_IR 100", "Müller^Jörg"), ("ISO_IR 192", "王^小東"), ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ")]
)
def test_a_patient_s_name_survives_another_character_set(
    tmp_path: Path, out: Path, write_labels: Write, charset: str, name: str
) -> None:
    other = Dataset()
    other.PatientID = "Ü" if charset != "ISO_IR 13" else "ﾔ"
    tags = {"SpecificCharacterSet": charset, "PatientName": name, "OtherPatientIDsSequence": [other]}
    folder = write_labels(tmp_path / "a", **tags)
    segmentation = hd_seg.segread(write_dicom_seg(labels_of(folder), folder, out, ("background", "肝", "b")))
    assert str(segmentation.PatientName) == name
    assert segmentation.OtherPatientIDsSequence[0].PatientID == other.PatientID
    assert segmentation.SegmentSequence[0].SegmentLabel == "肝"


def test_values_against_the_standard_are_kept_and_not_shown(
    tmp_path: Path, out: Path, write_labels: Write, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    folder = write_labels(tmp_path / "a", PatientName="Doe Jane", PatientBirthDate="19500101", StudyDate="20200101")
    for file in folder.iterdir():
        stored = file.read_bytes()
        file.write_bytes(stored.replace(b"19500101", b"1950-1-1").replace(b"20200101", b"somewhen"))
    segmentation = pydicom.dcmread(write_dicom_seg(labels_of(folder), folder, out, CLASSES))
    stored = (segmentation.get_item(key).value for key in ("PatientName", "PatientBirthDate", "StudyDate"))
    assert list(stored) == [b"Doe Jane", b"1950-1-1", b"somewhen"]
    shown = capfd.readouterr()
    assert not any(word in caplog.text + shown.out + shown.err for word in ("Doe", "1950"))


def test_a_folder_of_other_things_and_copies_is_referred_to_by_its_slices(
    tmp_path: Path, out: Path, write_labels: Write, write_dicom: Write
) -> None:
    folder = write_labels(tmp_path / "a")
    path = write_dicom_seg(labels_of(folder), folder, out, CLASSES)
    (folder / "copy.dcm").write_bytes((folder / "IM3.dcm").read_bytes())
    (folder / "notes.txt").write_bytes(b"nothing")
    write_dicom(folder / "scout.dcm", LABELS[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    again = write_dicom_seg(labels_of(folder), folder, out, CLASSES, "again")
    first, second = pydicom.dcmread(path), pydicom.dcmread(again)
    assert first.PixelData == second.PixelData
    assert first.ReferencedSeriesSequence == second.ReferencedSeriesSequence


def test_slices_that_face_almost_the_same_way_are_one_segmentation(
    tmp_path: Path, out: Path, write_labels: Write
) -> None:
    folder = write_labels(tmp_path / "a")
    slanted = pydicom.dcmread(folder / "IM2.dcm")
    slanted.ImageOrientationPatient = [1, 0.0004, 0, -0.0004, 1, 0]
    slanted.save_as(folder / "IM2.dcm")
    assert_on_each_file(write_dicom_seg(labels_of(folder), folder, out, CLASSES), folder)


@pytest.mark.parametrize(("stated", "thickness"), [(5, 5), (None, 2.5), (0, 2.5)])
def test_distance_between_slices_is_that_of_their_positions(
    tmp_path: Path, out: Path, write_labels: Write, stated: float | None, thickness: float
) -> None:
    folder = write_labels(tmp_path / "a", SliceThickness=stated, SpacingBetweenSlices=9)
    segmentation = hd_seg.segread(write_dicom_seg(labels_of(folder), folder, out, CLASSES))
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, measures.SliceThickness) == (2.5, thickness)
    assert list(measures.PixelSpacing) == [0.75, 0.5]


@pytest.mark.parametrize("as_folder", [True, False])
def test_one_slice_is_a_segmentation_of_one_frame(
    tmp_path: Path, out: Path, write_labels: Write, as_folder: bool
) -> None:
    folder = write_labels(tmp_path / "a", LABELS[:1])
    like = folder if as_folder else folder / "IM0.dcm"
    segmentation = assert_on_each_file(write_dicom_seg(labels_of(like), like, out, CLASSES), folder)
    assert segmentation.NumberOfFrames == 2


@pytest.mark.parametrize("storage", ["1.2.840.10008.5.1.4.1.1.1.1", SecondaryCaptureImageStorage])
def test_a_picture_without_a_place_in_the_patient_is_referred_to_alone(
    tmp_path: Path, out: Path, write_dicom: Write, storage: str
) -> None:
    tags = {**STUDY, "FrameOfReferenceUID": None, "ImageOrientationPatient": None, "SOPClassUID": storage}
    folder = tmp_path / "a"
    folder.mkdir()
    like = write_dicom(folder / "a.dcm", LABELS[0], **{**tags, "Modality": "DX"})
    assert_on_each_file(write_dicom_seg(labels_of(like), like, out, CLASSES), folder)


def enhanced(per_frame: bool) -> dict[str, Any]:
    """The tags of six frames in an order that runs against their positions, every second one swapped."""

    def item(**tags: Any) -> Dataset:
        dataset = Dataset()
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        return dataset

    def lie() -> dict[str, Any]:
        return {
            "PlaneOrientationSequence": [item(ImageOrientationPatient=AXES["coronal"])],
            "PixelMeasuresSequence": [item(PixelSpacing=[0.75, 0.5])],
        }

    own = lie if per_frame else dict
    places = [50.0, 55.0, 40.0, 45.0, 30.0, 35.0]
    frames = [item(PlanePositionSequence=[item(ImagePositionPatient=[10, y, 20])], **own()) for y in places]
    return {
        "NumberOfFrames": 6,
        "SOPClassUID": EnhancedCTImageStorage,
        "PerFrameFunctionalGroupsSequence": frames,
        "SharedFunctionalGroupsSequence": None if per_frame else [item(**lie())],
        "ImageOrientationPatient": None,
        "PixelSpacing": None,
    }


@pytest.mark.parametrize("per_frame", [True, False])
def test_frames_of_one_file_get_their_own_labels(
    tmp_path: Path, out: Path, write_dicom: Write, per_frame: bool
) -> None:
    like = write_dicom(tmp_path / "a.dcm", LABELS, **STUDY, **enhanced(per_frame))
    image, mask = read_image(like), labels_of(like)
    segmentation = hd_seg.segread(write_dicom_seg(mask, like, out, CLASSES))
    found = segmentation.get_pixels_by_source_frame(
        pydicom.dcmread(like).SOPInstanceUID,
        range(1, 7),
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_array_equal(found, LABELS)
    volume = segmentation.get_volume(combine_segments=True)
    lps_to_ras = np.diag([-1.0, -1.0, 1.0, 1.0])
    assert places(volume.array, lps_to_ras @ volume.affine) == places(mask, image.affine)


def faults_of(like: Path, out: Path, mask: Any) -> list[FaultCode]:
    with pytest.raises(DataError) as caught:
        write_dicom_seg(mask, like, out, CLASSES)
    assert not list(out.iterdir())
    assert PATIENT not in str(caught.value)
    return [fault.code for fault in caught.value.faults]


def test_other_formats_are_refused(tmp_path: Path, out: Path, write_dicom: Write) -> None:
    from PIL import Image

    Image.fromarray(LABELS[0]).save(tmp_path / "a.png")
    assert faults_of(tmp_path / "a.png", out, LABELS[0]) == [FaultCode.UNKNOWN_FORMAT]
    (tmp_path / "empty").mkdir()
    assert faults_of(tmp_path / "empty", out, LABELS[0]) == [FaultCode.UNKNOWN_FORMAT]
    report = write_dicom(tmp_path / "report.dcm", LABELS[0], **STUDY, Rows=None)
    assert faults_of(report, out, LABELS[0]) == [FaultCode.UNSUPPORTED_PIXELS]


def test_a_film_is_refused(tmp_path: Path, out: Path, write_dicom: Write) -> None:
    film = write_dicom(tmp_path / "a.dcm", LABELS, **STUDY, NumberOfFrames=6)
    assert faults_of(film, out, LABELS) == [FaultCode.MULTI_PAGE]


def test_an_image_of_a_kind_that_highdicom_does_not_know_is_refused(
    tmp_path: Path, out: Path, write_labels: Write
) -> None:
    folder = write_labels(tmp_path / "a", SOPClassUID="1.2.3.4")
    assert faults_of(folder, out, labels_of(folder)) == [FaultCode.UNSUPPORTED_PIXELS]


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"StudyInstanceUID": None}, FaultCode.UNREADABLE),
        ({"SOPInstanceUID": ""}, FaultCode.UNREADABLE),
        ({"FrameOfReferenceUID": None}, FaultCode.BAD_AFFINE),
    ],
)
def test_images_that_cannot_be_referred_to_are_refused(
    tmp_path: Path, out: Path, write_labels: Write, tags: dict[str, Any], code: FaultCode
) -> None:
    folder = write_labels(tmp_path / "a", **tags)
    assert faults_of(folder, out, labels_of(folder)) == [code]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "FrameOfReferenceUID"])
def test_images_of_two_studies_or_two_spaces_are_refused(
    tmp_path: Path, out: Path, write_labels: Write, keyword: str
) -> None:
    folder = write_labels(tmp_path / "a")
    other = pydicom.dcmread(folder / "IM2.dcm")
    setattr(other, keyword, "1.2.9")
    other.save_as(folder / "IM2.dcm")
    assert faults_of(folder, out, labels_of(folder)) == [FaultCode.SERIES_MIXED]


def test_a_placed_picture_without_spacing_is_refused(tmp_path: Path, out: Path, write_dicom: Write) -> None:
    like = write_dicom(tmp_path / "a.dcm", LABELS[0], **STUDY, ImagePositionPatient=[1, 2, 3], PixelSpacing=None)
    assert faults_of(like, out, LABELS[0]) == [FaultCode.BAD_SPACING]


def test_mask_that_does_not_fit_is_refused(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a")
    mask = labels_of(folder)
    for wrong in (mask[..., 1:], mask.swapaxes(0, 1), mask[..., 0]):
        with pytest.raises(ValueError, match="shape"):
            write_dicom_seg(wrong, folder, out, CLASSES)
    with pytest.raises(ValueError, match="the value 2 for 2 classes"):
        write_dicom_seg(mask, folder, out, CLASSES[:2])
    assert not list(out.iterdir())


def test_it_needs_highdicom(tmp_path: Path, out: Path, write_labels: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_labels(tmp_path / "a")
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(MissingExtraError, match=r"genseg\[dicom-seg\]"):
        write_dicom_seg(labels_of(folder), folder, out, CLASSES)


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, out: Path, write_labels: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    folder = write_labels(tmp_path / "a")
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_dicom_seg(labels_of(folder), folder, out, CLASSES)
    assert not list(out.iterdir())


def test_it_lies_on_the_mask_that_is_written_as_nifti(tmp_path: Path, out: Path, write_labels: Write) -> None:
    simpleitk: Any = pytest.importorskip("SimpleITK")
    folder = write_labels(tmp_path / "a", LABELS, AXES["oblique"], -2.5)
    mask = labels_of(folder)
    nifti = simpleitk.ReadImage(str(write_mask(mask, folder, out)))
    volume = hd_seg.segread(write_dicom_seg(mask, folder, out, CLASSES)).get_volume(combine_segments=True)
    for voxel in np.argwhere(volume.array)[::7]:
        place = volume.affine[:3, :3] @ voxel + volume.affine[:3, 3]
        assert nifti[nifti.TransformPhysicalPointToIndex(place.tolist())] == volume.array[tuple(voxel)]


def test_source_images_stay_as_they_are(tmp_path: Path, out: Path, write_labels: Write) -> None:
    folder = write_labels(tmp_path / "a", SOPClassUID=CTImageStorage)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write_dicom_seg(labels_of(folder), folder, out, CLASSES)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
