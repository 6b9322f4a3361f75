"""Which cases are of one patient, where no list says so: by habits of naming, folders and DICOM headers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from genseg.errors import FaultCode
from genseg.index import Index, index_dataset

pytestmark = pytest.mark.fault(58)


def pairs_of(root: Path, *names: str) -> Index:
    """The index of images of these names (folders may be among them), with masks of the same names."""
    for part in ("images", "masks"):
        for name in names:
            path = root / part / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    return index_dataset(root)


def groups(index: Index) -> list[list[str]]:
    """The names of the cases of each patient with several."""
    found: dict[str, list[str]] = {}
    for entry in index.entries:
        found.setdefault(entry.patient, []).append(entry.name)
    return [names for names in found.values() if len(names) > 1]


def sources(index: Index) -> set[str]:
    return {entry.patient_source for entry in index.entries}


OF_PATIENTS = [
    ("p01_slice03", "p01_slice04", "p02_slice03", "p03_slice01"),
    ("patient003_frame01", "patient003_frame12", "patient004_frame01", "patient005_frame01"),
    ("case12-s004", "case12-s005", "case13-s004", "case14-s001"),
    ("case12_day3_slice_4", "case12_day7_slice_1", "case20_day3_slice_4", "case21_day3_slice_4"),
    ("genius_0001_00", "genius_0001_03", "genius_0002_00", "genius_0003_00"),
    ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00006-000", "BraTS-GLI-00008-000"),
    ("TCGA_AB_0001_20010101_1", "TCGA_AB_0001_20020202_7", "TCGA_AB_0002_20010101_1", "TCGA_AC_0001_20010101_1"),
    ("TCGA-A7-A13E-01Z-00-DX1", "TCGA-A7-A13E-01Z-00-DX2", "TCGA-A7-A13F-01Z-00-DX1", "TCGA-AB-A13E-01Z-00-DX1"),
    ("P1_L", "P1_R", "P2_L", "P3_R"),
    ("P12-OD-3", "P12-OS-1", "P13-OD-3", "P14-OD-1"),
    ("Image_01L", "Image_01R", "Image_02L", "Image_03R"),
    ("bus_0001-l", "bus_0001-r", "bus_0002-l", "bus_0003-s"),
    ("seq1_frame_003", "seq1_frame_104", "seq2_frame_003", "seq3_frame_003"),
    ("patient_12_slice_003", "patient_12_slice_004", "patient_13_slice_003", "patient_21_slice_003"),
    ("frame1_patient3", "frame2_patient3", "frame1_patient4", "frame1_patient5"),
    (
        "Mass-Training_P_00001_LEFT_CC",
        "Mass-Training_P_00001_RIGHT_MLO",
        "Mass-Training_P_00004_LEFT_CC",
        "x_P_00005_L",
    ),
    ("sub-CON01_ses-1_T1w", "sub-CON01_ses-2_T1w", "sub-CON02_ses-1_T1w", "sub-PAT01_ses-1_T1w"),
    ("OAS1_0001_MR1", "OAS1_0001_MR2", "OAS1_0002_MR1", "OAS1_0003_MR1"),
    ("A0S9V9_00", "A0S9V9_09", "A1D0Q7_00", "A1D9Z7_00"),
    ("131368cc17e44240_28100", "131368cc17e44240_28101", "2fc3db471f9d44ae_10", "5e59c7fdb16c4228_7"),
    ("17_pre", "17_post", "18_pre", "19_pre"),
    ("12345_20200101", "12345_20210304", "12346_20200101", "12347_20200101"),
    ("slide7_x0_y512", "slide7_x512_y0", "slide8_x0_y0", "slide9_x0_y0"),
    ("P01 (1)", "P01 (2)", "P02 (1)", "P03 (1)"),
]


@pytest.mark.parametrize("names", OF_PATIENTS, ids=lambda names: names[0])
def test_images_of_one_patient_are_known_by_their_names(tmp_path: Path, names: Sequence[str]) -> None:
    index = pairs_of(tmp_path, *names)
    assert [sorted(group) for group in groups(index)] == [sorted(names[:2])]
    assert sources(index) == {"file names"}
    assert index.patients == "4 cases of 3 patients (from file names)"


def numbered(form: str, *numbers: int) -> list[str]:
    return [form.format(number) for number in numbers or range(1, 101)]


EACH_ITS_OWN = [
    numbered("img_{:03d}"),
    numbered("ISIC_{:07d}"),
    numbered("ISIC2018_{:07d}", 1, 2, 3) + numbered("ISIC2017_{:07d}", 1, 2, 4) + numbered("ISIC2016_{:07d}", 1, 2, 3),
    numbered("case_{:04d}", *range(100)),
    numbered("IM{:04d}"),
    numbered("im{:04d}"),
    [*numbered("benign ({})"), *numbered("malignant ({})"), *numbered("normal ({})")],
    [
        "cju0qkwl35piu0993l0dewei2",
        "cju0qoxqj9q6s0835b43399p4",
        "cju0qx73cjw570799j4n5cjze",
        "cju0roawvklrq0799vmjorwfv",
    ],
    numbered("{}"),
    numbered("{}_training", *range(21, 41)) + numbered("{:02d}_test", *range(1, 21)),
    numbered("MCUCXR_{:04d}_0", 1, 2, 3) + numbered("MCUCXR_{:04d}_1", 4, 5, 6),
    numbered("volume-{}"),
    numbered("BraTS20_Training_{:03d}"),
    numbered("hippocampus_{:03d}", 1, 3, 4, 6, 7, 8, 11, 14),
    [f"{number:02d}_{kind}" for number in range(1, 16) for kind in ("dr", "g", "h")],
    numbered("IMD{:03d}"),
    numbered("tr_{:04d}") + numbered("va_{:04d}"),
    numbered("JPCLN{:03d}") + numbered("JPCNN{:03d}"),
    numbered("Patient_{:02d}"),
    numbered("frame_{:03d}"),
    numbered("slice-{}"),
    [f"grade{grade}_{number}" for grade in range(4) for number in range(9)],
    [f"site{site}_{number:03d}" for site in range(4) for number in range(9)],
    [f"{year}_{number:03d}" for year in range(2018, 2022) for number in range(9)],
    [f"T{kind}_{number}" for kind in (1, 2) for number in range(9)],
    [f"IMG_202103{day:02d}_1200{second:02d}" for day in (5, 6, 7) for second in range(5)],
    [f"002_S_{number:04d}" for number in (295, 413, 559, 685)],
    [f"{site}_S_{number}" for site in ("002", "003", "005") for number in (10, 20, 30)],
]


@pytest.mark.parametrize("names", EACH_ITS_OWN, ids=lambda names: names[0])
def test_names_that_only_count_make_no_patients(tmp_path: Path, names: Sequence[str]) -> None:
    index = pairs_of(tmp_path, *names)
    assert groups(index) == []
    assert sources(index) == {""}
    assert index.warnings == ()
    assert index.patients == f"{len(names)} cases; patients not known, so each image stands alone"
    assert {row[3] for row in index.table()} == {""}


def test_numbers_in_blocks_are_patients_with_time_points(tmp_path: Path) -> None:
    index = pairs_of(tmp_path, *numbered("x_{:04d}", 800, 801, 802, 900, 901, 1000, 1001))
    assert [entry.patient for entry in index.entries] == ["x_08"] * 3 + ["x_09"] * 2 + ["x_10"] * 2


@pytest.mark.parametrize(
    ("folders", "patients"),
    [
        (("p01", "p02", "p03"), ["p01", "p02", "p03"]),
        (("TCGA_AB_0001_20010101", "TCGA_AB_0002_20010101", "TCGA_AB_0003_20010101"), None),
        (("17", "18", "20"), ["17", "18", "20"]),
        (("train/p01", "train/p02", "val/p03"), ["p01", "p02", "p03"]),
        (("video01/video01_00080", "video02/video02_00160", "video03/video03_01"), ["video01", "video02", "video03"]),
        (("scans2/a1", "scans2/a2", "scans2/a3"), ["a1", "a2", "a3"]),
    ],
)
def test_folders_of_patients_keep_their_images_together(
    tmp_path: Path, folders: Sequence[str], patients: list[str] | None
) -> None:
    names = [f"{folder}/{Path(folder).name}_{place}_{n}" for place, folder in enumerate(folders) for n in "ab"]
    index = pairs_of(tmp_path, *names)
    assert sorted({entry.patient for entry in index.entries}) == (patients or [folder[:12] for folder in folders])
    assert index.patients == "6 cases of 3 patients (from folders)"


@pytest.mark.parametrize(
    "folders",
    [
        ("benign", "malignant", "normal"),
        ("grade1", "grade2", "grade3"),
        ("2019", "2020", "2021"),
        ("10x", "20x", "40x"),
    ],
)
def test_folders_of_kinds_are_no_patients(tmp_path: Path, folders: Sequence[str]) -> None:
    index = pairs_of(
        tmp_path, *(f"{folder}/{kind}{n}" for kind, folder in zip("abc", folders, strict=True) for n in "xy")
    )
    assert sources(index) == {""}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["p1_0", "p1_1", "p1_2"], "3 cases 1 patients (p1)"),
        (["p1_0", "p1_1", "p2_0", "p2_1"], "4 cases 2 patients (p1, p2)"),
        ([*(f"p1_{n}" for n in range(20)), "p2_0", "p3_0"], "give 20 of 22 cases to one patient (p1)"),
    ],
)
def test_doubtful_groups_are_not_used_but_said(tmp_path: Path, names: list[str], found: str) -> None:
    index = pairs_of(tmp_path, *names)
    assert sources(index) == {""}
    (warning,) = index.warnings
    assert (warning.code, warning.stops) == (FaultCode.PATIENTS_UNKNOWN, False)
    assert found in warning.found
    assert "column patient" in warning.cure


def test_letter_case_does_not_part_a_patient(tmp_path: Path) -> None:
    index = pairs_of(tmp_path, "P1_slice1", "p1_slice2", "P2_slice1", "P3_slice1")
    assert len({entry.patient for entry in index.entries}) == 3


# DICOM

SECRET = "Mustermann-4711"


def dicom_pairs(root: Path, headers: Sequence[dict[str, str]]) -> Index:
    """Single DICOM images with these headers, and masks."""
    for number, header in enumerate(headers):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = header.pop("syntax", ExplicitVRLittleEndian)
        meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2"
        image = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        for tag, value in header.items():
            setattr(image, tag, value)
        for part in ("images", "masks"):
            (root / part).mkdir(parents=True, exist_ok=True)
        image.save_as(root / "images" / f"IM{number:03d}.dcm", enforce_file_format=True)
        (root / "masks" / f"IM{number:03d}.png").touch()
    return index_dataset(root)


def test_dicom_headers_tell_patients_and_are_never_shown(tmp_path: Path) -> None:
    index = dicom_pairs(tmp_path, [{"PatientID": f"{SECRET}-{patient}"} for patient in "aabcc"])
    assert [entry.patient for entry in index.entries] == ["IM000", "IM000", "IM002", "IM003", "IM003"]
    assert index.patients == "5 cases of 3 patients (from DICOM headers)"
    assert SECRET not in repr(index) + json.dumps(index.table())


def test_dicom_studies_and_frames_of_reference_keep_images_together_too(tmp_path: Path) -> None:
    headers = [
        {"PatientID": "a", "StudyInstanceUID": "1.1", "FrameOfReferenceUID": "1.9"},
        {"PatientID": "", "StudyInstanceUID": "1.1", "FrameOfReferenceUID": "1.8"},
        {"PatientID": "b", "StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.8"},
        {"PatientID": "c", "StudyInstanceUID": "1.3", "FrameOfReferenceUID": "1.7"},
    ]
    assert [entry.patient for entry in dicom_pairs(tmp_path, headers).entries] == ["IM000"] * 3 + ["IM003"]


@pytest.mark.parametrize("patient", ["", "Anonymous", "A", "0"])
def test_headers_that_are_the_same_in_all_images_tell_nothing(tmp_path: Path, patient: str) -> None:
    index = dicom_pairs(tmp_path, [{"PatientID": patient, "StudyInstanceUID": f"1.{n}"} for n in range(4)])
    assert sources(index) == {""}


def test_studies_alone_are_said_to_be_studies(tmp_path: Path) -> None:
    index = dicom_pairs(tmp_path, [{"StudyInstanceUID": f"1.{n}"} for n in (1, 1, 2, 3)])
    assert index.patients == "4 cases of 3 patients (from DICOM studies)"


def test_a_header_that_would_have_to_be_inflated_is_not_read(tmp_path: Path) -> None:
    headers = [{"PatientID": patient, "syntax": DeflatedExplicitVRLittleEndian} for patient in "aab"]
    assert sources(dicom_pairs(tmp_path, headers)) == {""}


# Splits that the data set fixes


def declared(root: Path, train: Sequence[str], val: Sequence[str], test: Sequence[str]) -> Index:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps({"splits": {"train": train, "val": val, "test": test}}))
    return pairs_of(root, *train, *val, *test)


def test_guessed_patients_across_a_declared_split_warn(tmp_path: Path) -> None:
    index = declared(tmp_path, ["p1_s1", "p2_s1"], ["p1_s2", "p3_s1"], ["p2_s2", "p4_s1"])
    test, val = index.warnings
    assert {test.code, val.code} == {FaultCode.SPLIT_LEAK}
    assert not test.stops
    assert "1 patients in test and another part (p2: test, train), as file names say" in test.found
    assert "1 patients in train and val (p1: train, val)" in val.found
