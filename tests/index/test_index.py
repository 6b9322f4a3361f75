"""Every lay-out is found and paired; everything that does not pair is said, all at once."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from genseg.errors import DataError, Fault, FaultCode, merge_faults
from genseg.index import Index, find_images, index_dataset, index_images
from genseg.index.findings import Findings

DICOM = b"\0" * 128 + b"DICM"


def touch(root: Path, *names: str, content: bytes = b"") -> Path:
    """Files with nothing in them: an index looks at names alone."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def describe(root: Path, **content: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(content), encoding="utf-8")
    return root


def pairs(index: Index) -> dict[str, str]:
    return {row[1]: row[2] for row in index.table()}


def faults_of(path: Path, **options: bool) -> tuple[Fault, ...]:
    with pytest.raises(DataError) as caught:
        index_dataset(path, **options)
    return caught.value.faults


def codes(faults: Iterable[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


# Folders of images and masks


@pytest.mark.parametrize("masks", ["masks", "labels", "annotations", "Segmentations", "gt", "ground_truth", "mask"])
def test_folders_of_images_and_masks(tmp_path: Path, masks: str) -> None:
    touch(tmp_path, "images/b.png", "images/a.jpg", f"{masks}/a.png", f"{masks}/b.png", "README.md")
    index = index_dataset(tmp_path)
    assert pairs(index) == {"images/a.jpg": f"{masks}/a.png", "images/b.png": f"{masks}/b.png"}
    assert [entry.name for entry in index.entries] == ["a", "b"]
    assert {entry.split for entry in index.entries} == {None}
    assert not index.declared_order


@pytest.mark.fault(18)
@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("x.png", "x.png"),
        ("x.png", "x_mask.png"),
        ("x.png", "x-mask.png"),
        ("x.png", "x_Mask.tif"),
        ("x.jpg", "x_seg.png"),
        ("ISIC_0001.jpg", "ISIC_0001_segmentation.png"),
        ("x.png", "x_label.png"),
        ("x.png", "x_gt.png"),
        ("x.png", "mask_x.png"),
        ("x.tif", "x_manual1.tif"),
        ("21_training.tif", "21_manual1.tif"),
        ("img_7.png", "mask_7.png"),
        ("7_image.nii.gz", "7_label.nii.gz"),
        ("benign (1).png", "benign (1)_mask.png"),
        ("a.b.nii.gz", "a.b.nii"),
        ("Case1.png", "case1.png"),
        ("\u00e9.png", "e\u0301.png"),
        ("-x.png", "-x.png"),
        ("CON.png", "CON_mask.png"),
        ("a\nb.png", "a\nb_mask.png"),
        ("\U0001f600 x.png", "\U0001f600 x.png"),
        (f"{'n' * 251}.png", f"{'n' * 251}.tif"),
    ],
)
def test_habits_of_naming_masks(tmp_path: Path, image: str, mask: str) -> None:
    touch(tmp_path, f"images/{image}", f"masks/{mask}")
    (entry,) = index_dataset(tmp_path).entries
    assert (entry.images, entry.mask) == ((tmp_path / "images" / image,), tmp_path / "masks" / mask)
    assert entry.patient == entry.name


def test_equal_names_win_over_stripped_ones(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/a_mask.png", "masks/a.png", "masks/a_mask.png")
    assert pairs(index_dataset(tmp_path)) == {
        "images/a.png": "masks/a.png",
        "images/a_mask.png": "masks/a_mask.png",
    }


def test_a_mask_that_fits_two_images_is_not_guessed(tmp_path: Path) -> None:
    touch(tmp_path, "images/img_1.png", "images/1_image.png", "masks/1_mask.png")
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_UNKNOWN]
    touch(tmp_path, "images/2.png", "masks/2.png")
    assert sorted(codes(faults_of(tmp_path))) == [
        FaultCode.IMAGE_WITHOUT_MASK,
        FaultCode.IMAGE_WITHOUT_MASK,
        FaultCode.MASK_WITHOUT_IMAGE,
    ]


def test_mirrored_sub_folders_pair_within_each(tmp_path: Path) -> None:
    touch(tmp_path, "images/benign/a.png", "images/malignant/b.png", "masks/benign/a.png", "masks/malignant/b.png")
    assert pairs(index_dataset(tmp_path))["images/malignant/b.png"] == "masks/malignant/b.png"
    touch(tmp_path, "images/benign/c.png", "masks/malignant/c.png")
    assert len(faults_of(tmp_path)) == 2


def test_patients_are_not_guessed_from_names(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/p1_{number}.png" for folder in ("images", "masks") for number in range(3)))
    assert [entry.patient for entry in index_dataset(tmp_path).entries] == ["p1_0", "p1_1", "p1_2"]


@pytest.mark.fault(17)
def test_images_and_masks_without_partner_are_all_reported(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "images/c.png", "masks/a.png", "masks/d.png", "masks/e.png")
    faults = faults_of(tmp_path)
    assert [(fault.code, Path(fault.file).name) for fault in faults] == [
        (FaultCode.IMAGE_WITHOUT_MASK, "b.png"),
        (FaultCode.IMAGE_WITHOUT_MASK, "c.png"),
        (FaultCode.MASK_WITHOUT_IMAGE, "d.png"),
        (FaultCode.MASK_WITHOUT_IMAGE, "e.png"),
    ]


@pytest.mark.fault(17)
def test_unlabelled_images_are_listed_when_allowed(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "images/b.png", "masks/a.png")
    index = index_dataset(tmp_path, unlabelled="leave-out")
    assert [entry.name for entry in index.entries] == ["a"]
    assert index.without_mask == (tmp_path / "images/b.png",)
    assert [case.name for case in index.usable] == ["b"]
    touch(tmp_path, "masks/z.png")
    assert codes(faults_of(tmp_path, unlabelled="leave-out")) == [FaultCode.MASK_WITHOUT_IMAGE]


@pytest.mark.fault(16)
@pytest.mark.parametrize(
    "names",
    [
        ("images/a.png", "images/a.tif", "masks/a.png"),
        ("images/a.png", "images/A.png", "masks/a.png"),
        ("images/a.b.nii.gz", "images/a.b.nii", "masks/a.b.nii.gz"),
        ("images/a.png", "masks/a.png", "masks/a_mask.png"),
        ("images/1/a.png", "images/2/a.png", "images/2_a.png", "masks/1/a.png", "masks/2/a.png", "masks/2_a.png"),
        ("benign (4).png", "benign (4)_mask.png", "benign (4)_mask_1.png"),
    ],
)
def test_names_that_collide_stop_with_both_paths(tmp_path: Path, names: tuple[str, ...]) -> None:
    (fault,) = faults_of(touch(tmp_path, *names))
    assert fault.code is FaultCode.DUPLICATE_NAME
    first, second = fault.file.split(" and ")
    colliding = {Path(os.path.normpath(path)) for path in (first, Path(first).parent / second)}
    assert len(colliding & {tmp_path / name for name in names}) == 2


@pytest.mark.fault(18)
def test_names_are_escaped_in_messages(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "masks/evil\n\x1b[31m.png", os.fsdecode(b"masks/\xff.png"))
    text = str(DataError(faults_of(tmp_path)))
    assert "evil\\n\\x1b[31m.png" in text
    assert "\\udcff.png" in text
    assert "\x1b" not in text
    text.encode()


@pytest.mark.fault(20)
def test_hidden_and_foreign_files_are_counted(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", ".DS_Store", "images/._a.png", "images/Thumbs.db")
    touch(tmp_path, "masks/desktop.ini", "masks/notes.txt", "__MACOSX/images/a.png", "images/.cache/a.png")
    index = index_dataset(tmp_path)
    assert len(index.entries) == 1
    assert index.ignored == 7


def test_box_labels_as_text_beside_masks_are_no_second_choice(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "labels/a.txt")
    assert pairs(index_dataset(tmp_path)) == {"images/a.png": "masks/a.png"}
    touch(tmp_path, "labels/a.png")
    (fault,) = faults_of(tmp_path)
    assert "labels/ (for 1 of 1 images) and masks/ (for 1 of 1 images)" in fault.found


def test_classes_of_a_description_without_splits(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    describe(tmp_path, class_names=["background", "lesion"], modality="dermoscopy")
    index = index_dataset(tmp_path)
    assert (index.class_names, index.label_values, index.modality) == (("background", "lesion"), None, "dermoscopy")


# Splits by folder


@pytest.mark.parametrize("form", ["{split}/images/{name}", "images/{split}/{name}", "{split}/{name}"])
def test_folders_of_splits(tmp_path: Path, form: str) -> None:
    for split, name in (("test", "a"), ("training", "c"), ("train", "b"), ("valid", "d")):
        image = form.format(split=split, name=f"{name}.png")
        mask = image.replace("images", "masks") if "images" in image else image.replace(".png", "_mask.png")
        touch(tmp_path, image, mask)
    index = index_dataset(tmp_path)
    assert [(e.name, e.split) for e in index.entries] == [("b", "train"), ("c", "train"), ("d", "val"), ("a", "test")]


def test_splits_that_leave_cases_out_stop(tmp_path: Path) -> None:
    touch(tmp_path, "images/train/a.png", "masks/train/a.png", "images/b.png", "masks/b.png")
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_BROKEN]


def test_images_beside_folders_of_splits_stop(tmp_path: Path) -> None:
    touch(tmp_path, "test/images/a.png", "test/masks/a.png", "images/b.png", "masks/b.png")
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_BROKEN]


def test_a_split_without_masks_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/a.png", "train/masks/a.png", "test/images/b.png")
    assert codes(faults_of(tmp_path)) == [FaultCode.IMAGE_WITHOUT_MASK]
    index = index_dataset(tmp_path, unlabelled="use")
    assert index.without_mask == (tmp_path / "test/images/b.png",)
    assert index.usable == ()


def test_one_name_in_two_splits_stops(tmp_path: Path) -> None:
    touch(tmp_path, "train/images/a.png", "train/masks/a.png", "test/images/a.png", "test/masks/a.png")
    assert codes(faults_of(tmp_path)) == [FaultCode.DUPLICATE_NAME]


# Fixed splits of a dataset.json


def test_fixed_splits_keep_the_order_of_their_lists(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{name}.png" for folder in ("images", "masks") for name in "abcde"))
    describe(
        tmp_path,
        class_names=["background", "lesion"],
        splits={"test": ["e"], "val": ["a"], "train": ["d", "b"]},
    )
    index = index_dataset(tmp_path)
    assert [(entry.name, entry.split) for entry in index.entries] == [
        ("d", "train"),
        ("b", "train"),
        ("a", "val"),
        ("e", "test"),
    ]
    assert index.declared_order
    assert index.class_names == ("background", "lesion")
    assert [(w.code, w.stops) for w in index.warnings] == [(FaultCode.LAYOUT_BROKEN, False)]
    assert index.warnings[0].found == "1 cases that no split lists: c"


def test_names_of_splits_without_files_are_all_reported(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png", "images/half.png")
    describe(tmp_path, splits={"train": ["a", "gone", "../../etc/passwd", "half"], "val": ["a"]})
    faults = faults_of(tmp_path)
    text = "\n".join(map(str, faults))
    for part in ("'gone'", "passwd", "'a' is listed more than once", "half.png: an image without mask"):
        assert part in text
    assert len(faults) == 4


def test_a_listed_name_that_two_sub_folders_have_stops(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/{part}/a.png" for folder in ("images", "masks") for part in "12"))
    describe(tmp_path, splits={"train": ["a"]})
    assert codes(faults_of(tmp_path)) == [FaultCode.DUPLICATE_NAME]


@pytest.mark.parametrize("splits", [{"train": "a"}, {"train": [1]}, ["a"], {"train": ["a"], "extra": []}])
def test_splits_that_are_no_lists_of_names_stop(tmp_path: Path, splits: object) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    describe(tmp_path, splits=splits)
    assert set(codes(faults_of(tmp_path))) == {FaultCode.LAYOUT_BROKEN}


def test_splits_without_folders_stop(tmp_path: Path) -> None:
    describe(tmp_path, splits={"train": ["a"]})
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_BROKEN]


# nnU-Net


def nnunet(root: Path, channels: int = 2, cases: str = "ab", test: str = "t") -> Path:
    for part, names in (("Tr", cases), ("Ts", test)):
        for name in names:
            touch(root, f"labels{part}/{name}.nii.gz")
            touch(root, *(f"images{part}/{name}_{channel:04d}.nii.gz" for channel in range(channels)))
    names = {str(channel): f"T{channel}" for channel in range(channels)}
    labels = {"background": 0, "edema": 1, "core": 2}
    return describe(root, channel_names=names, labels=labels, file_ending=".nii.gz", numTraining=len(cases))


def test_nnunet(tmp_path: Path) -> None:
    index = index_dataset(nnunet(tmp_path))
    assert [(entry.name, entry.split) for entry in index.entries] == [("a", "train"), ("b", "train"), ("t", "test")]
    assert index.entries[0].images == tuple(tmp_path / f"imagesTr/a_{channel:04d}.nii.gz" for channel in range(2))
    assert index.entries[2].mask == tmp_path / "labelsTs/t.nii.gz"
    assert index.channel_names == ("T0", "T1")
    assert index.class_names == ("background", "edema", "core")
    assert index.label_values == {"background": 0, "edema": 1, "core": 2}
    assert not index.channels_last_axis


def test_nnunet_test_images_without_labels_are_to_be_labelled(tmp_path: Path) -> None:
    nnunet(tmp_path, channels=1, test="")
    touch(tmp_path, "imagesTs/t_0000.nii.gz")
    index = index_dataset(tmp_path)
    assert index.without_mask == (tmp_path / "imagesTs/t_0000.nii.gz",)
    assert index.usable == ()
    assert [entry.split for entry in index.entries] == [None, None]


def test_nnunet_pictures_hold_their_colours_in_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/a_0000.png", "labelsTr/a.png")
    describe(
        tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, labels={"background": 0, "x": 1}, file_ending=".png"
    )
    assert index_dataset(tmp_path).entries[0].images == (tmp_path / "imagesTr/a_0000.png",)


def test_nnunet_faults_come_together(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "imagesTr/a_0001.nii.gz").unlink()
    touch(tmp_path, "imagesTr/b_0002.nii.gz", "imagesTr/plain.nii.gz", "labelsTr/orphan.nii.gz")
    touch(tmp_path, "imagesTr/bare_0000.nii.gz", "imagesTr/bare_0001.nii.gz")
    assert sorted(codes(faults_of(tmp_path))) == [
        FaultCode.CHANNEL_MISMATCH,
        FaultCode.CHANNEL_MISMATCH,
        FaultCode.IMAGE_WITHOUT_MASK,
        FaultCode.LAYOUT_BROKEN,
        FaultCode.MASK_WITHOUT_IMAGE,
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"file_ending": ".nii"},
        {"channel_names": {}},
        {"labels": {"background": 0, "whole": [1, 2]}},
        {"labels": {"background": 0, "a": 1, "b": 1}},
        {"labels": {"background": 0, "a": "one"}},
        {"labels": {"background": 0, "a": True}},
        {"labels": ["background"]},
    ],
)
def test_nnunet_descriptions_that_cannot_be_followed_stop(tmp_path: Path, change: dict[str, object]) -> None:
    nnunet(tmp_path)
    content = json.loads((tmp_path / "dataset.json").read_text())
    describe(tmp_path, **(content | change))
    assert FaultCode.LAYOUT_BROKEN in codes(faults_of(tmp_path))


def test_nnunet_without_description_stops(tmp_path: Path) -> None:
    nnunet(tmp_path)
    (tmp_path / "dataset.json").unlink()
    assert FaultCode.LAYOUT_BROKEN in codes(faults_of(tmp_path))


def nnunet_with_list(root: Path, version: int, listed: str = "ab") -> Path:
    """Two channels a case, and a `dataset.json` of the first or second version with a list of cases."""
    nnunet(root, test="")
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in listed]
    names = {"0": "T1", "1": "T2"}
    first = {"modality": names, "labels": {"0": "background", "1": "lesion"}, "test": []}
    second = {"channel_names": names, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    return describe(root, training=training, numTraining=2, **(first if version == 1 else second))


@pytest.mark.fault(79)
@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_is_read_from_its_folders_whatever_list_is_left_over(tmp_path: Path, version: int) -> None:
    index = index_dataset(nnunet_with_list(tmp_path, version))
    assert index.layout == "nnU-Net"
    assert index.entries[0].images == (tmp_path / "imagesTr/a_0000.nii.gz", tmp_path / "imagesTr/a_0001.nii.gz")
    assert (index.channel_names, index.class_names) == (("T1", "T2"), ("background", "lesion"))
    assert index.warnings == ()


@pytest.mark.fault(79)
def test_a_list_that_is_not_that_of_the_folders_is_named(tmp_path: Path) -> None:
    index = index_dataset(nnunet_with_list(tmp_path, 1, "bcd"))
    assert [entry.name for entry in index.entries] == ["a", "b"]
    (warning,) = index.warnings
    assert warning.found == "training: 2 cases in the list alone (c, d), 1 cases in the folders alone (a)"


@pytest.mark.fault(79)
def test_a_decathlon_whose_names_end_in_four_digits_stays_one(tmp_path: Path) -> None:
    touch(tmp_path, "imagesTr/la_0003.nii.gz", "labelsTr/la_0003.nii.gz")
    training = [{"image": "./imagesTr/la_0003.nii.gz", "label": "./labelsTr/la_0003.nii.gz"}]
    describe(tmp_path, modality={"0": "MRI"}, labels={"0": "background", "1": "x"}, training=training)
    assert index_dataset(tmp_path).layout == "Medical Segmentation Decathlon"


@pytest.mark.fault(66)
def test_nnunet_channels_begin_at_0000(tmp_path: Path) -> None:
    nnunet(tmp_path, channels=3, cases="ab", test="")
    describe(tmp_path, channel_names={"0": "T1", "1": "T2"}, labels={"background": 0, "x": 1}, file_ending=".nii.gz")
    for case in "ab":
        (tmp_path / f"imagesTr/{case}_0000.nii.gz").unlink()
    missing = [fault for fault in faults_of(tmp_path) if "missing" in fault.found]
    assert [Path(fault.file).name for fault in missing] == ["a_0000.nii.gz", "b_0000.nii.gz"]
    assert missing[0].expected == "2 channels, 0000 to 0001"
    (merged,) = merge_faults(missing)
    assert merged.file.startswith("2 files")


def test_labels_without_background_get_one(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    describe(tmp_path, labels={"vessel": 2, "lesion": 1})
    assert index_dataset(tmp_path).class_names == ("background", "lesion", "vessel")


def test_the_background_is_the_first_class_whatever_its_value(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    describe(tmp_path, labels={"vessel": 0, "Background": 1})
    assert index_dataset(tmp_path).class_names == ("Background", "vessel")


# Medical Segmentation Decathlon


def decathlon(root: Path, modality: dict[str, str], **content: object) -> Path:
    touch(root, "imagesTr/b.nii.gz", "labelsTr/b.nii.gz", "imagesTr/a.nii.gz", "labelsTr/a.nii.gz", "imagesTs/t.nii.gz")
    training = [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in "ba"]
    usual = {"training": training, "test": ["./imagesTs/t.nii.gz"], "labels": {"0": "background", "1": "liver"}}
    return describe(root, modality=modality, **(usual | content))


def test_decathlon(tmp_path: Path) -> None:
    index = index_dataset(decathlon(tmp_path, {"0": "CT"}))
    assert [entry.name for entry in index.entries] == ["b", "a"]
    assert index.entries[0].mask == tmp_path / "labelsTr/b.nii.gz"
    assert (index.class_names, index.modality) == (("background", "liver"), "CT")
    assert index.label_values == {"background": 0, "liver": 1}
    assert index.without_mask == (tmp_path / "imagesTs/t.nii.gz",)
    assert not index.channels_last_axis


def test_decathlon_with_several_modalities_has_channels_on_the_last_axis(tmp_path: Path) -> None:
    index = index_dataset(decathlon(tmp_path, {"0": "FLAIR", "1": "T1w"}))
    assert index.channels_last_axis
    assert index.channel_names == ("FLAIR", "T1w")


def test_decathlon_faults_come_together(tmp_path: Path) -> None:
    outside = touch(tmp_path, "secret.nii.gz") / "secret.nii.gz"
    training = [
        {"image": "imagesTr/gone.nii.gz", "label": "labelsTr/a.nii.gz"},
        {"image": "../secret.nii.gz", "label": "labelsTr/a.nii.gz"},
        {"image": str(outside), "label": "labelsTr/a.nii.gz"},
        {"image": "bad\0name.nii.gz", "label": "labelsTr/a.nii.gz"},
        {"label": "labelsTr/a.nii.gz"},
        "imagesTr/a.nii.gz",
    ]
    decathlon(tmp_path / "data", {"0": "CT"}, training=training)
    assert sorted(codes(faults_of(tmp_path / "data"))) == [FaultCode.LAYOUT_BROKEN] * 3 + [FaultCode.OUTSIDE_FOLDER] * 2


def test_decathlon_images_without_label_are_unlabelled(tmp_path: Path) -> None:
    decathlon(tmp_path, {"0": "CT"}, training=[{"image": "imagesTr/a.nii.gz"}])
    assert FaultCode.IMAGE_WITHOUT_MASK in codes(faults_of(tmp_path))


# Several folders of masks


def both(root: Path, *folders: str, count: int = 3, ending: str = "png") -> Path:
    return touch(root, *(f"{folder}/{n}.{ending}" for folder in folders for n in range(count)))


@pytest.mark.fault(62)
@pytest.mark.parametrize(
    "folders",
    [
        ("mask", "manual1"),
        ("1st_manual", "mask"),
        ("1st_manual", "2nd_manual"),
        ("masks", "expert2"),
        ("labels", "annotator_1"),
        ("mask", "mask_manual"),
        ("Ground Truth", "segmentation"),
    ],
)
@pytest.mark.parametrize("part", ["", "training/"])
def test_two_folders_that_could_hold_the_masks_stop(tmp_path: Path, folders: tuple[str, str], part: str) -> None:
    both(tmp_path, f"{part}images", *(part + folder for folder in folders))
    (fault,) = faults_of(tmp_path)
    assert fault.code is FaultCode.LAYOUT_BROKEN
    assert all(f"{folder}/ (for 3 of 3 images)" in fault.found for folder in folders)
    assert ("mask/ may be the field of view" in fault.found) == ("mask" in folders)
    assert "CSV list" in fault.cure


@pytest.mark.fault(62)
def test_masks_in_a_format_that_is_not_read_are_still_a_choice(tmp_path: Path) -> None:
    both(tmp_path, "images")
    both(tmp_path, "1st_manual", "mask", ending="gif")
    (fault,) = faults_of(tmp_path)
    assert "1st_manual/ (for 3 of 3 images) and mask/ (for 3 of 3 images)" in fault.found
    shutil.rmtree(tmp_path / "mask")
    assert [fault.found for fault in faults_of(tmp_path)] == ["a mask in a format that is not read (.gif)"] * 3


@pytest.mark.fault(62)
def test_folders_that_are_not_read_are_named(tmp_path: Path) -> None:
    both(tmp_path, "images", "labels", "labels_multiorgan", "overlays/all", "raw")
    touch(tmp_path, "notes/a.txt")
    index = index_dataset(tmp_path)
    assert set(pairs(index).values()) == {f"labels/{n}.png" for n in range(3)}
    (warning,) = index.warnings
    assert (warning.code, warning.stops) == (FaultCode.NOT_READ, False)
    assert "labels_multiorgan/ (3), overlays/ (3), raw/ (3)" in warning.found


@pytest.mark.fault(62)
def test_folders_beside_those_of_nnunet_and_the_decathlon_are_named_too(tmp_path: Path) -> None:
    for root in (nnunet(tmp_path / "1"), decathlon(tmp_path / "2", {"0": "CT"})):
        touch(root, "labelsTr_reader2/a.nii.gz")
        assert ["labelsTr_reader2/ (1)" in warning.found for warning in index_dataset(root).warnings] == [True]


@pytest.mark.fault(102)
def test_where_nothing_pairs_one_fault_shows_what_was_seen(tmp_path: Path) -> None:
    both(tmp_path, "Task1_Input", count=10)
    touch(tmp_path, *(f"Task1_Truth/{n}x_segmentation.png" for n in range(10)), "list.json")
    (fault,) = faults_of(tmp_path)
    assert fault.code is FaultCode.LAYOUT_UNKNOWN
    assert fault.found == (
        "no image that a mask belongs to; seen: Task1_Input/ (10 scans: 0.png, 1.png ...), "
        "Task1_Truth/ (10 scans: 0x_segmentation.png, 1x_segmentation.png ...); 1 .json files"
    )


@pytest.mark.fault(66)
@pytest.mark.parametrize(
    ("images", "mask"),
    [
        (("images/{}_t1.nii.gz", "images/{}_t2.nii.gz"), "labels/{}.nii.gz"),
        (("{0}/{0}_flair.nii.gz", "{0}/{0}_t1ce.nii.gz"), "{0}/{0}_seg.nii.gz"),
    ],
)
def test_channel_files_outside_nnunet_s_lay_out_are_recognised(
    tmp_path: Path, images: tuple[str, ...], mask: str
) -> None:
    for case in ("Case_001", "Case_002"):
        touch(tmp_path, *(image.format(case) for image in images), mask.format(case))
    (fault,) = faults_of(tmp_path)
    assert fault.code is FaultCode.LAYOUT_UNKNOWN
    assert "looks like channel files" in fault.found
    assert "outside nnU-Net's layout" in fault.found


# Side by side


def test_images_and_masks_side_by_side(tmp_path: Path) -> None:
    touch(tmp_path, "benign/benign (1).png", "benign/benign (1)_mask.png", "normal/n.png", "normal/n_mask.png")
    assert pairs(index_dataset(tmp_path)) == {
        "benign/benign (1).png": "benign/benign (1)_mask.png",
        "normal/n.png": "normal/n_mask.png",
    }


# DICOM


def test_dicom_series_are_cases(tmp_path: Path) -> None:
    touch(tmp_path, "images/s1/1.dcm", "images/s1/2.dcm", "images/.hidden", "masks/s1.nii.gz", "masks/s2.nii.gz")
    touch(tmp_path, "images/s2/IM0001", "images/s2/IM0002", content=DICOM)
    assert pairs(index_dataset(tmp_path)) == {"images/s1": "masks/s1.nii.gz", "images/s2": "masks/s2.nii.gz"}


def test_single_dicom_files_are_cases(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.dcm", "images/b.dcm", "masks/a.png", "masks/b.png")
    assert pairs(index_dataset(tmp_path)) == {"images/a.dcm": "masks/a.png", "images/b.dcm": "masks/b.png"}


# Links and what the system refuses


@pytest.mark.fault(19)
def test_links_out_of_the_folder_stop(tmp_path: Path) -> None:
    far = touch(tmp_path / "far", "x.png", "deep/y.png")
    root = touch(tmp_path / "data", "images/a.png", "masks/a.png")
    (root / "images/x.png").symlink_to(far / "x.png")
    (root / "images/deep").symlink_to(far / "deep")
    (root / "masks/gone.png").symlink_to(root / "nowhere.png")
    assert [(fault.code, Path(fault.file).name) for fault in faults_of(root)] == [
        (FaultCode.OUTSIDE_FOLDER, "deep"),
        (FaultCode.OUTSIDE_FOLDER, "x.png"),
        (FaultCode.UNREADABLE, "gone.png"),
    ]


@pytest.mark.fault(19)
@pytest.mark.parametrize("name", ["images", "imagesTr", "dataset.json", "list.csv"])
def test_parts_of_a_lay_out_may_not_be_links_out_of_it(tmp_path: Path, name: str) -> None:
    root = tmp_path / "data"
    if name == "images":
        touch(root, "images/a.png", "masks/a.png")
    elif name == "list.csv":
        touch(root, "a.png", "a_mask.png", "list.csv")
    else:
        nnunet(root)
    (root / name).rename(tmp_path / name)
    (root / name).symlink_to(tmp_path / name)
    assert FaultCode.OUTSIDE_FOLDER in codes(faults_of(root))


@pytest.mark.fault(19)
def test_loops_of_links_are_entered_once(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "images/again").symlink_to(tmp_path / "images")
    assert len(index_dataset(tmp_path).entries) == 1
    (tmp_path / "images/self.png").symlink_to(tmp_path / "images/self.png")
    (fault,) = faults_of(tmp_path)
    assert "ELOOP" in fault.found


def test_a_link_to_the_whole_data_set_is_fine(tmp_path: Path) -> None:
    touch(tmp_path / "data", "images/a.png", "masks/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert index_dataset(tmp_path / "link").entries[0].images == (tmp_path / "link/images/a.png",)


@pytest.mark.fault(19)
def test_a_lost_drive_is_a_fault_with_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")

    def lost(path: Path) -> None:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "iterdir", lost)
    for index in (index_dataset, index_images):
        with pytest.raises(DataError, match="EIO") as caught:
            index(tmp_path)
        assert set(codes(caught.value.faults)) == {FaultCode.UNREADABLE}


# What is no data set


def test_what_is_no_data_set_is_told_what_was_looked_for(tmp_path: Path) -> None:
    touch(tmp_path, "odd/things/a.png", "file.png")
    (tmp_path / "empty").mkdir()
    cases = {"file.png": "a file", "empty": "an empty folder", "odd": "none of the known"}
    for name, found in cases.items():
        (fault,) = faults_of(tmp_path / name)
        assert fault.code is FaultCode.LAYOUT_UNKNOWN
        assert found in fault.found
        assert all(word in fault.expected for word in ("masks/", "nnU-Net", "Decathlon", "CSV", "x_mask.png"))


@pytest.mark.fault(88)
@pytest.mark.parametrize("name", ["gone", "gone.csv", "gone/deeper"])
def test_a_path_that_does_not_exist_is_named_and_its_cure_is_no_lay_out(tmp_path: Path, name: str) -> None:
    (fault,) = faults_of(tmp_path / name)
    assert (fault.file, fault.found, fault.cure) == (
        str(tmp_path / name),
        "no such file or folder",
        "Check the path.",
    )


def test_a_data_set_without_any_mask_stops(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png")
    (tmp_path / "masks").mkdir()
    for options in ({}, {"unlabelled": "leave-out"}):
        (fault,) = faults_of(tmp_path, **options)
        assert (fault.code, fault.found) == (
            FaultCode.TOO_FEW_CASES,
            "no image that a mask belongs to; seen: images/ (1 scans: a.png)",
        )


@pytest.mark.parametrize("text", ["{", "[1]", '"x"', "\udcff", "[" * 100_000])
def test_broken_descriptions_stop(tmp_path: Path, text: str) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "dataset.json").write_bytes(text.encode(errors="surrogateescape"))
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_BROKEN]


@pytest.mark.parametrize("names", ["lesion", [], ["background"], ["a", "a"], ["a", 1]])
def test_class_names_that_are_no_list_of_names_stop(tmp_path: Path, names: object) -> None:
    touch(tmp_path, "images/a.png", "masks/a.png")
    describe(tmp_path, class_names=names)
    assert codes(faults_of(tmp_path)) == [FaultCode.LAYOUT_BROKEN]


@pytest.mark.fault(38)
def test_index_does_not_depend_on_the_order_of_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{folder}/{name}.png" for folder in ("images", "masks") for name in ("a", "A1", "b", "10", "9")))
    splits = touch(tmp_path / "splits", *(f"{s}/{f}/a.png" for s in ("train", "training") for f in ("images", "masks")))
    listed, found = Path.iterdir, []
    for descending in (False, True):
        monkeypatch.setattr(Path, "iterdir", lambda path, order=descending: sorted(listed(path), reverse=order))
        found.append((index_dataset(tmp_path), faults_of(splits)))
    assert found[0] == found[1]


# Images to predict on


def test_images_of_a_file_and_of_folders(tmp_path: Path) -> None:
    touch(tmp_path, "flat/b.png", "flat/a.png", "flat/a_mask.png", "flat/notes.txt", "flat/masks/b.png")
    touch(tmp_path, "set/images/x.nii.gz", "set/masks/x.nii.gz", "set/images/s1/1.dcm")
    assert [case.name for case in index_images(tmp_path / "flat")] == ["a", "b"]
    assert [case.images[0].name for case in index_images(tmp_path / "set")] == ["s1", "x.nii.gz"]
    (single,) = index_images(tmp_path / "flat/a.png")
    assert (single.name, single.mask, single.images) == ("a", None, (tmp_path / "flat/a.png",))


def test_channel_files_are_joined_on_request_alone(tmp_path: Path) -> None:
    touch(tmp_path, "x_0001.nii.gz", "x_0000.nii.gz", "y_0000.nii.gz", "y_0001.nii.gz")
    joined = index_images(tmp_path, channel_files=True)
    assert [(case.name, [path.name for path in case.images]) for case in joined] == [
        ("x", ["x_0000.nii.gz", "x_0001.nii.gz"]),
        ("y", ["y_0000.nii.gz", "y_0001.nii.gz"]),
    ]
    assert len(index_images(tmp_path)) == 4
    touch(tmp_path, "z.nii.gz")
    with pytest.raises(DataError, match="no channel number"):
        index_images(tmp_path, channel_files=True)


@pytest.mark.fault(66)
@pytest.mark.parametrize(("present", "missing"), [((1, 2), "y_0000.nii.gz"), ((0, 2), "y_0001.nii.gz")])
def test_channels_to_predict_on_are_numbered_from_0000_without_a_gap(
    tmp_path: Path, present: tuple[int, ...], missing: str
) -> None:
    touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", *(f"y_{channel:04d}.nii.gz" for channel in present))
    with pytest.raises(DataError) as caught:
        index_images(tmp_path, channel_files=True)
    (fault,) = caught.value.faults
    assert (fault.code, Path(fault.file).name) == (FaultCode.CHANNEL_MISMATCH, missing)
    findings = Findings()
    assert [case.name for case in find_images(tmp_path, findings, channel_files=True)] == ["x"]


@pytest.mark.parametrize(("series", "expected"), [("1 1 1", 1), ("1 1 2", 1), ("1 2 3", 3)])
def test_a_folder_of_dicom_files_is_one_series_or_single_pictures(tmp_path: Path, series: str, expected: int) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    for number, uid in enumerate(series.split()):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2"
        header = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        header.SeriesInstanceUID = f"1.2.{uid}"
        header.save_as(tmp_path / f"{number}.dcm")
    cases = index_images(tmp_path)
    assert len(cases) == expected
    assert (cases[0].images == (tmp_path,)) == (expected == 1)


def test_dicom_files_that_cannot_be_read_are_left_to_the_reader(tmp_path: Path) -> None:
    touch(tmp_path, "a.dcm", "b.dcm")
    assert [case.name for case in index_images(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    ("names", "path", "code"),
    [
        ((), ".", FaultCode.LAYOUT_UNKNOWN),
        (("a.txt",), ".", FaultCode.LAYOUT_UNKNOWN),
        ((), "gone", FaultCode.LAYOUT_UNKNOWN),
        (("1/a.png", "2/a.png", "2_a.png"), ".", FaultCode.DUPLICATE_NAME),
    ],
)
def test_nothing_to_predict_on_stops(tmp_path: Path, names: tuple[str, ...], path: str, code: FaultCode) -> None:
    touch(tmp_path, *names)
    with pytest.raises(DataError) as caught:
        index_images(tmp_path / path)
    assert codes(caught.value.faults) == [code]


# Real data


def test_real_data_sets_are_paired_in_the_order_of_their_lists(real_data: Path) -> None:
    folders = [
        path for path in sorted(real_data.iterdir()) if (path / "dataset.json").is_file() and (path / "masks").is_dir()
    ]
    assert folders
    for folder in folders:
        content = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        index = index_dataset(folder)
        for split in ("train", "val", "test"):
            assert [entry.name for entry in index.entries if entry.split == split] == content["splits"][split]
        assert index.class_names == tuple(content["class_names"])
        # One set has a second folder of masks, of other organs, which is named.
        assert {fault.code for fault in index.warnings} <= {FaultCode.NOT_READ}


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ({"name": "Scans", "licence": "CC0"}, ("Scans", "CC0")),
        ({"license": "CC BY 4.0"}, ("", "CC BY 4.0")),
        ({"name": ["x"], "licence": 3}, ("", "")),
    ],
)
def test_title_and_licence_are_taken_as_written(
    rgb_phantoms: Path, tmp_path: Path, declared: dict[str, object], expected: tuple[str, str]
) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    described = json.loads((data / "dataset.json").read_text())
    kept = {key: value for key, value in described.items() if key not in ("name", "licence")}
    (data / "dataset.json").write_text(json.dumps(kept | declared))
    index = index_dataset(data)
    assert (index.title, index.licence) == expected


def test_images_of_one_name_in_folders_of_patients_are_called_by_their_folders(tmp_path: Path) -> None:
    names = [f"p0{patient}/frame{number}" for patient in range(3) for number in range(2)]
    touch(tmp_path, *(f"{part}/{name}.png" for part in ("images", "masks") for name in names))
    touch(tmp_path, "images/p00/only.png", "masks/p00/only.png", "images/p07/frame0.png")
    index = index_dataset(tmp_path, unlabelled="use")
    called = {case.name: (case.images[0], case.mask) for case in index.entries}
    assert called.pop("only")[0] == tmp_path / "images/p00/only.png"
    assert called == {
        name.replace("/", "_"): (tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png") for name in names
    }
    assert {case.patient for case in index.entries} == {"p00", "p01", "p02"}
    assert [case.name for case in index.usable] == ["p07_frame0"]


def test_channel_files_in_plain_folders_are_cases_of_several_channels(tmp_path: Path) -> None:
    images = [f"images/p{case}_000{channel}.nii.gz" for case in range(3) for channel in range(2)]
    touch(tmp_path, *images, "labels/p0.nii.gz", "labels/p1_mask.nii.gz")
    index = index_dataset(tmp_path, unlabelled="use")
    assert index.layout == "folders of channel files and masks"
    assert [(case.name, [path.name for path in case.images]) for case in index.entries] == [
        (f"p{case}", [f"p{case}_000{channel}.nii.gz" for channel in range(2)]) for case in range(2)
    ]
    assert [case.mask for case in index.entries] == [
        tmp_path / "labels/p0.nii.gz",
        tmp_path / "labels/p1_mask.nii.gz",
    ]
    assert [(case.name, len(case.images)) for case in index.usable] == [("p2", 2)]
    (tmp_path / images[1]).unlink()
    (fault,) = faults_of(tmp_path, unlabelled="use")
    assert (fault.code, Path(fault.file).name) == (FaultCode.CHANNEL_MISMATCH, "p0_0001.nii.gz")


@pytest.mark.fault(66)
def test_channels_are_numbered_from_0(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{part}.nii.gz" for case in "ab" for part in (f"images/{case}_0001", f"labels/{case}")))
    faults = faults_of(tmp_path)
    assert [(fault.code, Path(fault.file).name) for fault in faults] == [
        (FaultCode.CHANNEL_MISMATCH, f"{case}_0000.nii.gz") for case in "ab"
    ]


def test_numbered_images_with_masks_of_their_own_are_no_channels(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{part}/a_000{number}.png" for part in ("images", "masks") for number in range(3)))
    assert [len(case.images) for case in index_dataset(tmp_path).entries] == [1, 1, 1]


@pytest.mark.parametrize("folder", ["", "images/"])
def test_images_to_predict_on_may_have_one_name_in_several_folders(tmp_path: Path, folder: str) -> None:
    touch(tmp_path, *(f"{folder}{name}.png" for name in ("p1/scan", "p2/scan", "p2/other")))
    assert [case.name for case in index_images(tmp_path)] == ["other", "p1_scan", "p2_scan"]
