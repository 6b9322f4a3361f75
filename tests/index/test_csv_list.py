"""CSV lists: columns by many names; what tells a patient or a split is never passed over in silence."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import pytest

from genseg.errors import DataError, Fault, FaultCode
from genseg.index import Index, index_dataset


def touch(root: Path, *names: str) -> Path:
    """Files with nothing in them: an index looks at names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def faults_of(path: Path) -> tuple[Fault, ...]:
    with pytest.raises(DataError) as caught:
        index_dataset(path)
    return caught.value.faults


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_csv_list(tmp_path: Path, separator: str, start: str) -> None:
    touch(tmp_path, "scans/1.png", "scans/2.png", "m/1.png", "m/2.png")
    rows = [
        ["Image", "MASK", "Patient", "note", "split"],
        ["scans/2.png", "m/2.png", "p7", "x", "Test"],
        ["scans\\1.png", "m/1.png", "", "", "training"],
        [],
    ]
    text = start + "".join(separator.join(row) + "\r\n" for row in rows)
    (tmp_path / "list.csv").write_bytes(text.encode())
    for path in (tmp_path, tmp_path / "list.csv"):
        index = index_dataset(path)
        assert index.root == tmp_path
        assert index.declared_order
        assert index.table() == [
            ("2", "scans/2.png", "m/2.png", "p7", "test"),
            ("1", "scans/1.png", "m/1.png", "", "train"),
        ]


def test_csv_names_cases_by_folder_where_needed(tmp_path: Path) -> None:
    touch(tmp_path, "p1/scan.nii", "p1/mask.nii", "p2/scan.nii", "p2/mask.nii", "p3/other.nii", "p3/mask.nii")
    rows = "".join(f"{p}/{image}.nii,{p}/mask.nii\n" for p, image in (("p1", "scan"), ("p2", "scan"), ("p3", "other")))
    (tmp_path / "list.csv").write_text("image,mask\n" + rows)
    assert [entry.name for entry in index_dataset(tmp_path).entries] == ["p1_scan", "p2_scan", "other"]


def test_csv_may_name_files_elsewhere_by_absolute_path_alone(tmp_path: Path) -> None:
    far = touch(tmp_path / "far", "a.png", "a_mask.png")
    near = tmp_path / "near"
    near.mkdir()
    (near / "list.csv").write_text(f"image,mask\n{far / 'a.png'},{far / 'a_mask.png'}\n")
    assert index_dataset(near).entries[0].images == (far / "a.png",)
    (near / "list.csv").write_text("image,mask\n../far/a.png,../far/a_mask.png\n")
    assert codes(faults_of(near)) == [FaultCode.OUTSIDE_FOLDER] * 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,segmentation\n1,3 4 5\n", "the header 'id' 'segmentation'"),
        ("image,mask,Mask\na.png,a_mask.png,b_mask.png\n", "several columns for the mask: 'mask', 'Mask'"),
        ("image,mask,seg\na.png,a_mask.png,b_mask.png\n", "several columns for the mask: 'mask', 'seg'"),
        ("a.png,a_mask.png\nb.png,b_mask.png\n", "the first line lists files"),
        ("", "the header nothing"),
        ("image,mask\na.png\n", "line 2 has 1 cells"),
        ("image,mask\ngone.png,a_mask.png\n", "line 2 lists 'gone.png'"),
        ("image,mask\n,a_mask.png\n", "line 2 has no image"),
        ("image,mask,split\na.png,a_mask.png,3\n", "line 2 has the split '3'"),
        ("image,mask,split\na.png,a_mask.png,train\nb.png,b_mask.png,\n", "line 3 has no split"),
        ("image,mask\na.png,a_mask.png\na.png,a_mask.png\n", "two cases of one name"),
        ("image,mask\na.png,\nb.png,b_mask.png\n", "an image without mask"),
        ('image,mask\n"a.png,a_mask.png\n' + "x" * 200_000, "cannot be read"),
        ("image,mask\n\u00e9.png,a_mask.png\n", "cannot be read"),
    ],
)
def test_broken_csv_lists_stop(tmp_path: Path, text: str, expected: str) -> None:
    touch(tmp_path, "a.png", "a_mask.png", "b.png", "b_mask.png")
    (tmp_path / "list.csv").write_bytes(text.encode("latin-1"))
    assert expected in "\n".join(map(str, faults_of(tmp_path / "list.csv")))


def listed(root: Path, header: str, *ends: str, encoding: str = "utf-8") -> Path:
    """A list of as many cases as `ends`, each row of it image, mask and one of them."""
    rows = [f"{n}.png,{n}_mask.png{end}" for n, end in enumerate(ends)]
    touch(root, *(f"{n}{mark}.png" for n in range(len(ends)) for mark in ("", "_mask")))
    (root / "list.csv").write_bytes("\n".join([header, *rows]).encode(encoding))
    return root / "list.csv"


def patients(index: Index) -> list[str]:
    return [entry.patient for entry in index.entries]


@pytest.mark.fault(59)
@pytest.mark.parametrize("image", ["image", "Image Path", "image_file", "img", "scan", "FileName", "file", "filepath"])
@pytest.mark.parametrize(
    "mask", ["mask", "mask_path", "Label", "seg", "Segmentation", "annotation", "gt", "Ground-Truth"]
)
def test_columns_of_images_and_masks_have_many_names(tmp_path: Path, image: str, mask: str) -> None:
    index = index_dataset(listed(tmp_path, f"{image},{mask}", "", ""))
    assert [row[1:3] for row in index.table()] == [("0.png", "0_mask.png"), ("1.png", "1_mask.png")]


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    "head",
    ["patient", "Patient ID", "PatientID", "patient_id", "subject", "subject_id", "pid", "participant", "case group"],
)
def test_columns_of_patients_have_many_names(tmp_path: Path, head: str) -> None:
    index = index_dataset(listed(tmp_path, f"image,mask,{head}", ",p0", ",P0", ",p1"))
    assert patients(index) == ["p0", "p0", "p1"]
    assert index.patients == "3 cases of 2 patients (from the CSV list)"
    assert index.warnings == ()


@pytest.mark.fault(59)
@pytest.mark.parametrize("head", ["split", "Subset", "partition", "set", "phase", "Usage", "fold", "data set"])
@pytest.mark.parametrize(
    "words", [("train", "val", "test"), ("Training", "valid", "Test set"), ("training set", "dev", "hold-out")]
)
def test_columns_of_splits_have_many_names(tmp_path: Path, head: str, words: tuple[str, ...]) -> None:
    index = index_dataset(listed(tmp_path, f"image,mask,{head}", *(f",{word}" for word in words)))
    assert [entry.split for entry in index.entries] == ["train", "val", "test"]


@pytest.mark.fault(59)
def test_columns_that_are_not_read_are_named(tmp_path: Path) -> None:
    index = index_dataset(
        listed(tmp_path, "image,mask,Age,,phase,label", ",47,x,arterial,benign", ",51,y,venous,benign")
    )
    (warning,) = index.warnings
    assert (warning.code, warning.stops) == (FaultCode.NOT_READ, False)
    assert "'Age', 4 (no name), 'phase', 'label'" in warning.found


@pytest.mark.fault(59)
@pytest.mark.parametrize(
    ("head", "values", "kind"),
    [
        ("who trains", ("train", "train", "test"), "split"),
        ("is_test", ("0", "0", "1"), "split"),
        ("case_id", ("a", "a", "b"), "patient"),
        ("StudyID", ("7", "8", "7"), "patient"),
        ("exam no", ("7", "8", "7"), "patient"),
    ],
)
def test_a_column_that_looks_like_a_patient_or_a_split_stops(
    tmp_path: Path, head: str, values: tuple[str, ...], kind: str
) -> None:
    path = listed(tmp_path, f"image,mask,{head}", *(f",{value}" for value in values))
    (fault,) = faults_of(path)
    assert fault.code is FaultCode.LAYOUT_BROKEN
    assert f"the column {head!r} has 2 values for 3 rows" in fault.found
    assert fault.cure.startswith(f"Rename it {kind}")


@pytest.mark.fault(59)
@pytest.mark.parametrize("head", ["site_id", "rater id", "scanner_id", "class_id", "case_id"])
def test_other_identities_and_identities_of_single_rows_only_warn(tmp_path: Path, head: str) -> None:
    values = ("a", "b", "c") if head == "case_id" else ("a", "a", "b")
    index = index_dataset(listed(tmp_path, f"image,mask,{head}", *(f",{value}" for value in values)))
    assert codes(index.warnings) == [FaultCode.NOT_READ]


@pytest.mark.fault(28, 59)
def test_names_and_record_numbers_of_patients_are_never_shown(tmp_path: Path) -> None:
    index = index_dataset(listed(tmp_path, "image,mask,Patient Name", ",Mustermann", ",Mustermann", ",Muster"))
    assert patients(index) == ["0", "0", "2"]
    assert "Muster" not in repr(index) + json.dumps(index.table())


@pytest.mark.fault(59)
def test_rows_without_a_patient_are_counted(tmp_path: Path) -> None:
    index = index_dataset(listed(tmp_path, "image,mask,patient", ",p", ",", ","))
    assert patients(index) == ["p", "1", "2"]
    assert [warning.found for warning in index.warnings] == ["2 lines (3, 4) have no patient"]


@pytest.mark.fault(102)
def test_one_cause_in_many_rows_is_one_fault(tmp_path: Path) -> None:
    path = listed(tmp_path, "image,mask,split", *[",train"] * 3, *[",x"] * 7, *[","] * 2, *["", ",train,more"])
    text = path.read_text() + "".join(f"\ngone{n}.png,gone.png,train" for n in range(20))
    path.write_text(text)
    found = {fault.found for fault in faults_of(path)}
    assert len(found) == 4
    assert "7 lines (5, 6, 7, 8, 9 and 2 more) have the split 'x'" in found
    assert "2 lines (12, 13) have no split" in found
    assert "2 lines (14, 15) have 2 cells or another number" in found
    (gone,) = [one for one in found if "40 listed files that do not exist" in one]
    assert "line 16 lists 'gone0.png'" in gone
    assert "and 35 more" in gone


@pytest.mark.fault(59)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_lists_as_spreadsheets_write_them(tmp_path: Path, encoding: str) -> None:
    touch(tmp_path, "M\u00fcller.png", "M\u00fcller_mask.png")
    text = "image;mask;patient\r\nM\u00fcller.png;M\u00fcller_mask.png;p0\r\n\r\n;;\r\n"
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert patients(index_dataset(tmp_path / "list.csv")) == ["p0"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16-le"])
def test_letters_that_are_not_understood_are_said_to_be(tmp_path: Path, encoding: str) -> None:
    touch(tmp_path, "a.png", "a_mask.png")
    (tmp_path / "list.csv").write_bytes("image,mask\na.png,a_mask.png\n\u00fc.png,a_mask.png\n".encode(encoding))
    (fault,) = faults_of(tmp_path / "list.csv")
    assert "not in UTF-8" in fault.found
    assert "CSV UTF-8" in fault.cure


def test_accented_names_are_found_in_either_spelling(tmp_path: Path) -> None:
    touch(tmp_path, unicodedata.normalize("NFD", "M\u00fcller.png"), "m.png")
    (tmp_path / "list.csv").write_text("image,mask\nM\u00fcller.png,m.png\n", encoding="utf-8")
    assert len(index_dataset(tmp_path / "list.csv").entries) == 1


@pytest.mark.fault(59)
def test_a_patient_of_the_list_in_test_and_outside_stops(tmp_path: Path) -> None:
    path = listed(tmp_path, "image,mask,subject,subset", ",p,train", ",p,test", ",q,val")
    (fault,) = faults_of(path)
    assert fault.code is FaultCode.SPLIT_LEAK
    assert "1 patients in test and another part (p: test, train)" in fault.found


@pytest.mark.fault(59)
def test_a_list_beside_folders_that_are_read_is_not_passed_over_in_silence(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "list.csv").write_text("image,mask,patient,set\nimages/a.png,masks/a.png,p,test\n")
    (warning,) = index_dataset(tmp_path).warnings
    assert "image, mask and patient and split" in warning.found
