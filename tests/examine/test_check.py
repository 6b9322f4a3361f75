"""The examination of a data set: all faults at once, figures, contact sheet and repaired masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from genseg.drawing.overlays import CLASS_COLOURS
from genseg.errors import DataError, Fault, FaultCode, SettingsError
from genseg.examine.cases import DEFAULT_OPTIONS, LoadOptions
from genseg.examine.check import SHEET_CASES, contact_sheet, examine, sheet_places, write_repaired_masks
from genseg.index import Index, index_dataset
from genseg.read.case import CaseFiles

Pictures = Mapping[str, tuple[np.ndarray, np.ndarray]]


def _image(seed: int, channels: int = 1, size: int = 32) -> np.ndarray:
    """A picture that is like no other: smooth blobs at places of its own, with some noise."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 255, (16, 16, 3), dtype=np.uint8)).resize((size, size))
    pixels = np.asarray(coarse).astype(int) + random.integers(-5, 5, (size, size, 3))
    picture = pixels.clip(0, 255).astype(np.uint8)
    return picture if channels == 3 else picture[..., 0]


def _mask(*values: int, size: int = 32) -> np.ndarray:
    """A mask with a square of 16 pixels for each value."""
    mask = np.zeros((size, size), np.uint8)
    for place, value in enumerate(values):
        mask[4:8, 4 + 6 * place : 8 + 6 * place] = value
    return mask


def _write(folder: Path, pairs: Pictures, suffix: str = ".png") -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for name, (image, mask) in pairs.items():
        Image.fromarray(image).save(folder / "images" / f"{name}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{name}{suffix}")
    return folder


def _good(count: int = 3, value: int = 255) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {f"case{n}": (_image(n), _mask(value)) for n in range(count)}


def _with_splits(index: Index, splits: Sequence[str]) -> Index:
    entries = tuple(replace(files, split=split) for files, split in zip(index.entries, splits, strict=True))
    return replace(index, entries=entries)


def _stops(index: Index, options: LoadOptions = DEFAULT_OPTIONS) -> list[Fault]:
    with pytest.raises(DataError) as caught:
        examine(index, options)
    assert all(fault.stops for fault in caught.value.faults)
    return list(caught.value.faults)


def _codes(faults: Sequence[Fault]) -> list[FaultCode]:
    return [fault.code for fault in faults]


def test_good_set_gives_cases_in_order_with_classes(tmp_path: Path) -> None:
    examination = examine(index_dataset(_write(tmp_path / "set", _good())))
    assert examination.faults == ()
    assert examination.cases.names == ("case0", "case1", "case2")
    assert [np.unique(case.mask).tolist() for case in examination.cases] == [[0, 1]] * 3
    assert len(examination.labels.names) == 2
    assert len(set(examination.groups.values())) == 3


@pytest.mark.fault(1, 2)
def test_every_unreadable_file_is_reported_at_once(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good(5) | {"black": (np.zeros((32, 32), np.uint8), _mask(255))})
    (folder / "images" / "case0.png").write_bytes(b"")
    whole = (folder / "images" / "case2.png").read_bytes()
    (folder / "images" / "case2.png").write_bytes(whole[: len(whole) // 2])
    Image.fromarray(_mask(255)[:30]).save(folder / "masks" / "case3.png")
    (folder / "masks" / "case4.png").write_text("no picture")
    faults = _stops(index_dataset(folder))
    assert [Path(fault.file).name for fault in faults] == ["case0.png", "case2.png", "case3.png", "case4.png"]


def test_only_the_named_cases_are_read(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good(4))
    (folder / "images" / "case3.png").write_bytes(b"")
    index = index_dataset(folder)
    examination = examine(index, names=["case2", "case0"])
    assert examination.cases.names == ("case0", "case2")
    assert examination.statistics.cases == 2
    with pytest.raises(DataError, match="case9"):
        examine(index, names=["case0", "case9"])


def test_progress_counts_every_case(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    examine(index_dataset(_write(tmp_path / "set", _good())), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_without_memory_for_pixels_the_result_is_the_same(tmp_path: Path) -> None:
    index = index_dataset(_write(tmp_path / "set", _good()))
    kept, read_again = examine(index), examine(index, budget=0)
    assert read_again.statistics == kept.statistics
    for one, other in zip(kept.cases, read_again.cases, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.fault(10)
def test_grey_and_rgb_mixed_become_rgb_with_one_warning(tmp_path: Path) -> None:
    pairs = _good() | {"colour": (_image(9, channels=3), _mask(255))}
    examination = examine(index_dataset(_write(tmp_path / "set", pairs)))
    assert _codes(examination.faults) == [FaultCode.MIXED_CHANNELS]
    assert "3 grey and 1 RGB" in examination.faults[0].found
    assert {case.image.shape[0] for case in examination.cases} == {3}
    assert (examination.statistics.channels, examination.statistics.modality) == (3, "rgb")
    assert all(channel.foreground is not None for channel in examination.statistics.by_channel)


def test_volumes_among_pictures_stop(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good())
    volume = np.arange(1000.0).reshape(10, 10, 10)
    nib.save(nib.Nifti1Image(volume, np.eye(4)), folder / "images" / "volume.nii.gz")
    nib.save(nib.Nifti1Image((volume > 500).astype(np.uint8), np.eye(4)), folder / "masks" / "volume.nii.gz")
    faults = _stops(index_dataset(folder))
    assert FaultCode.MIXED_DIMENSIONS in _codes(faults)
    assert [Path(f.file).name for f in faults if f.code is FaultCode.MIXED_DIMENSIONS] == ["volume.nii.gz"]


def _volumes(folder: Path, channels: Sequence[int], lowest: float = 0.0) -> Index:
    """An index of volumes of 8 x 10 x 12 voxels of 1 x 2 x 3 mm with these numbers of channel files."""
    folder.mkdir()
    random = np.random.default_rng(0)
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    entries = []
    for case, count in enumerate(channels):
        paths = tuple(folder / f"{case}_{channel}.nii.gz" for channel in range(count))
        for path in paths:
            values = random.uniform(lowest, lowest + 1000, (8, 10, 12)).astype(np.float32)
            nib.save(nib.Nifti1Image(values, affine), path)
        mask = np.zeros((8, 10, 12), np.uint8)
        mask[2:6, 2:6, 2:6] = 1
        nib.save(nib.Nifti1Image(mask, affine), folder / f"{case}.nii.gz")
        entries.append(CaseFiles(f"{case}", paths, folder / f"{case}.nii.gz", f"{case}"))
    return Index(folder, "by hand", tuple(entries), None, None, "", (), (), 0, ())


def test_another_number_of_channels_stops_naming_the_odd_case(tmp_path: Path) -> None:
    faults = _stops(_volumes(tmp_path / "set", [2, 2, 1]))
    assert _codes(faults) == [FaultCode.CHANNEL_MISMATCH]
    assert "2_0.nii.gz" in faults[0].file


@pytest.mark.fault(11)
def test_empty_masks_are_counted(tmp_path: Path) -> None:
    pairs = _good() | {"empty": (_image(9), _mask())}
    examination = examine(index_dataset(_write(tmp_path / "set", pairs)))
    assert _codes(examination.faults) == [FaultCode.EMPTY_MASK]
    assert "1 of 4" in examination.faults[0].found
    assert "empty" in examination.faults[0].found
    assert examination.statistics.empty_masks == 1


@pytest.mark.fault(11)
def test_masks_that_are_all_empty_stop(tmp_path: Path) -> None:
    pairs = {name: (image, _mask()) for name, (image, _) in _good().items()}
    assert FaultCode.NO_FOREGROUND in _codes(_stops(index_dataset(_write(tmp_path / "set", pairs))))


@pytest.mark.fault(11)
def test_class_that_is_never_drawn_stops_by_name(tmp_path: Path) -> None:
    index = index_dataset(_write(tmp_path / "set", _good(value=1)))
    faults = _stops(replace(index, class_names=("background", "lung", "heart")))
    assert _codes(faults) == [FaultCode.CLASS_MISSING]
    assert "'heart'" in faults[0].found


@pytest.mark.fault(12)
def test_class_in_test_cases_alone_stops_with_file_and_voxels(tmp_path: Path) -> None:
    pairs = _good(value=1) | {"case3": (_image(9), _mask(1, 2))}
    index = index_dataset(_write(tmp_path / "set", pairs))
    index = replace(index, class_names=("background", "lung", "heart"))
    faults = _stops(_with_splits(index, ["train", "train", "val", "test"]))
    assert _codes(faults) == [FaultCode.CLASS_MISSING]
    assert "'heart'" in faults[0].found
    assert "16 voxels" in faults[0].found
    assert "case3" in faults[0].file
    assert examine(_with_splits(index, ["train", "test", "test", "train"])).faults == ()
    assert examine(_with_splits(index, ["test"] * 4)).faults == ()


def test_set_of_test_cases_may_lack_a_class_with_a_warning(tmp_path: Path) -> None:
    index = index_dataset(_write(tmp_path / "set", _good(value=1)))
    index = replace(index, class_names=("background", "lung", "heart"))
    assert _codes(examine(_with_splits(index, ["test"] * 3)).faults) == [FaultCode.CLASS_MISSING]


@pytest.mark.fault(12)
def test_unexpected_label_stops_with_file_and_voxels(tmp_path: Path) -> None:
    pairs = _good(value=1) | {"case3": (_image(9), _mask(1, 5))}
    index = replace(index_dataset(_write(tmp_path / "set", pairs)), class_names=("background", "lung"))
    faults = _stops(index)
    assert _codes(faults) == [FaultCode.UNEXPECTED_LABEL]
    assert "case3" in faults[0].file
    assert "16" in faults[0].found


@pytest.mark.fault(15)
@pytest.mark.parametrize("budget", [None, 0])
def test_one_image_under_two_names(tmp_path: Path, budget: int | None) -> None:
    same = _good() | {"copy": (_image(0), _mask(255))}
    examination = examine(index_dataset(_write(tmp_path / "same", same)), budget=budget)
    assert _codes(examination.faults) == [FaultCode.DUPLICATE_IMAGE]
    assert examination.groups["copy"] == examination.groups["case0"] != examination.groups["case1"]
    other = _good() | {"copy": (_image(0), _mask(0, 255))}
    with pytest.raises(DataError, match="another mask") as caught:
        examine(index_dataset(_write(tmp_path / "other", other)), budget=budget)
    assert _codes(caught.value.faults) == [FaultCode.DUPLICATE_IMAGE]


def test_two_masks_for_one_test_image_warn_for_nothing_is_learned_from_it(tmp_path: Path) -> None:
    pairs = _good() | {"copy": (_image(0), _mask(0, 255))}
    index = index_dataset(_write(tmp_path / "set", pairs))
    faults = examine(_with_splits(index, ["test", "train", "train", "test"])).faults
    assert _codes(faults) == [FaultCode.DUPLICATE_IMAGE]
    assert "another mask" in faults[0].found
    with pytest.raises(DataError, match="another mask"):
        examine(_with_splits(index, ["test", "train", "train", "val"]))


@pytest.mark.fault(15)
def test_nearly_equal_images_are_grouped_and_reported_across_a_fixed_split(tmp_path: Path) -> None:
    pairs = _good(value=1) | {"case3": ((_image(0) * 0.9).astype(np.uint8), _mask(1))}
    index = index_dataset(_write(tmp_path / "set", pairs))
    examination = examine(index)
    assert examination.duplicates == (("case0", "case3"),)
    assert examination.groups["case3"] == examination.groups["case0"]
    assert len(examination.faults) == 1
    assert len(examine(_with_splits(index, ["train", "train", "train", "val"])).faults) == 1
    across = examine(_with_splits(index, ["train", "train", "train", "test"])).faults
    assert _codes(across) == [FaultCode.DUPLICATE_IMAGE] * 2
    assert "only one of them for testing (case0 and case3)" in across[1].found


def _lossy(folder: Path) -> Path:
    """A set whose masks were saved as JPEG, so that their edges have stray values."""
    large = np.zeros((64, 64), np.uint8)
    large[20:41, 13:50] = 255
    return _write(folder, {f"case{n}": (_image(n, size=64), np.roll(large, n, axis=0)) for n in range(3)}, ".jpg")


@pytest.mark.fault(5)
def test_lossy_masks_stop_all_at_once(tmp_path: Path) -> None:
    faults = _stops(index_dataset(_lossy(tmp_path / "set")))
    assert _codes(faults) == [FaultCode.MASK_STRAY_VALUES] * 3


@pytest.mark.fault(5)
def test_lossy_masks_are_repaired_when_asked_and_written_as_copies(tmp_path: Path) -> None:
    index = index_dataset(_lossy(tmp_path / "set"))
    before = {files.mask: files.mask.read_bytes() for files in index.entries if files.mask is not None}
    examination = examine(index, LoadOptions(mask_repair="nearest"))
    assert [np.unique(case.mask).tolist() for case in examination.cases] == [[0, 1]] * 3
    written = write_repaired_masks(examination, tmp_path / "repaired")
    assert [path.name for path in written] == ["case0.png", "case1.png", "case2.png"]
    assert {path: path.read_bytes() for path in before} == before
    assert np.count_nonzero(np.asarray(Image.open(written[0]))) == 21 * 37
    repaired = _write(tmp_path / "again", {})
    for files, mask in zip(index.entries, written, strict=True):
        (repaired / "images" / files.images[0].name).write_bytes(files.images[0].read_bytes())
        (repaired / "masks" / mask.name).write_bytes(mask.read_bytes())
    again = examine(index_dataset(repaired))
    for one, other in zip(examination.cases, again.cases, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


@pytest.mark.fault(5)
def test_copies_of_masks_keep_the_axes_of_their_files(tmp_path: Path) -> None:
    """Also where the mask is turned onto the image when it is read."""
    turned = np.diag([-1.0, 1.0, 1.0, 1.0])
    turned[0, 3] = 19.0
    stored = np.zeros((20, 16, 12), np.uint8)
    stored[2:9, 4:9, 3:9] = 100
    for name in ("a", "b", "c"):
        for part, voxels, affine in (("images", _image(ord(name), size=20), np.eye(4)), ("masks", stored, turned)):
            (tmp_path / part).mkdir(exist_ok=True)
            pixels = np.resize(voxels, stored.shape) if part == "images" else voxels
            nib.save(nib.Nifti1Image(pixels.astype(np.uint8), affine), tmp_path / part / f"{name}.nii.gz")
    examination = examine(index_dataset(tmp_path), LoadOptions(mask_repair="nearest"))
    expected = (stored > 0).astype(np.uint8)
    assert all(np.array_equal(case.mask, expected[::-1]) for case in examination.cases)
    for path in write_repaired_masks(examination, tmp_path / "repaired"):
        written = nib.load(path)
        assert np.array_equal(written.affine, turned)
        assert np.array_equal(np.asarray(written.dataobj) > 0, expected > 0)


def test_contact_sheet_shows_every_case_in_class_colours(tmp_path: Path) -> None:
    examination = examine(index_dataset(_write(tmp_path / "set", _good(5))))
    contact_sheet(examination, tmp_path / "sheet.png", columns=3, size=32)
    with Image.open(tmp_path / "sheet.png") as sheet:
        pixels = np.asarray(sheet).reshape(-1, 3)
    # The outline of a square of 4 x 4 pixels has 12; the legend's swatch adds 10 x 10.
    assert (pixels == CLASS_COLOURS[0]).all(axis=1).sum() == 5 * 12 + 100
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "sheet.png"]


@pytest.mark.parametrize("count", [0, 1, 2, SHEET_CASES, SHEET_CASES + 1, 1000])
def test_contact_sheet_samples_large_sets_evenly(count: int) -> None:
    places = sheet_places(count)
    assert len(places) == min(count, SHEET_CASES)
    assert set(np.diff(places)) <= {count // SHEET_CASES, count // SHEET_CASES + 1}
    assert places[:1] + places[-1:] == ([0, count - 1] if count else [])


@pytest.mark.fault(29)
def test_contact_sheet_that_cannot_be_finished_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examination = examine(index_dataset(_write(tmp_path / "set", _good(2))))
    (tmp_path / "sheet.png").write_text("old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        contact_sheet(examination, tmp_path / "sheet.png")
    assert (tmp_path / "sheet.png").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["set", "sheet.png"]


def test_contact_sheet_of_volumes(tmp_path: Path) -> None:
    contact_sheet(examine(_volumes(tmp_path / "set", [1, 1])), tmp_path / "sheet.png", size=40)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert (np.asarray(sheet).reshape(-1, 3) == CLASS_COLOURS[0]).all(axis=1).any()


def test_images_without_mask_are_cases_without_mask(tmp_path: Path) -> None:
    index = index_dataset(_write(tmp_path / "set", _good()))
    first, *rest = index.entries
    examination = examine(replace(index, entries=(replace(first, mask=None), *rest)))
    assert [case.mask is None for case in examination.cases] == [True, False, False]
    assert (examination.statistics.cases, examination.statistics.labelled) == (3, 2)
    assert [path.name for path in write_repaired_masks(examination, tmp_path / "masks")] == ["case1.png", "case2.png"]
    contact_sheet(examination, tmp_path / "sheet.png", size=32)


def test_no_labelled_case_stops(tmp_path: Path) -> None:
    index = index_dataset(_write(tmp_path / "set", _good()))
    assert _codes(_stops(replace(index, entries=()))) == [FaultCode.NO_FOREGROUND]


@pytest.mark.fault(24)
def test_declared_channels_of_4d_volumes_are_read_without_further_asking(tmp_path: Path) -> None:
    index = _volumes(tmp_path / "set", [1, 1])
    for files in index.entries:
        pixels = np.random.default_rng(0).uniform(0, 9, (8, 10, 12, 2))
        nib.save(nib.Nifti1Image(pixels, np.diag([1.0, 2.0, 3.0, 1.0])), files.images[0])
    assert FaultCode.UNDECLARED_CHANNELS in _codes(_stops(index))
    examination = examine(replace(index, channels_last_axis=True), budget=0)
    assert [case.image.shape for case in examination.cases] == [(2, 8, 10, 12)] * 2


def test_warnings_of_files_and_of_the_index_are_kept(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good())
    (folder / "images" / "case1.png").rename(folder / "images" / "case1.jpg")
    index = index_dataset(folder)
    warning = Fault(FaultCode.LAYOUT_BROKEN, "somewhere", "a", "b", "c", stops=False)
    codes = _codes(examine(replace(index, warnings=(warning,))).faults)
    assert codes == [FaultCode.LAYOUT_BROKEN, FaultCode.WRONG_SUFFIX]


def test_missing_class_is_not_judged_while_masks_are_unreadable(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good(value=1))
    (folder / "masks" / "case0.png").write_bytes(b"")
    index = replace(index_dataset(folder), class_names=("background", "lung", "heart"))
    assert _codes(_stops(index)) == [FaultCode.EMPTY_FILE]


@pytest.mark.parametrize("value", [1, 3, 255])
def test_repaired_masks_keep_the_stored_values(tmp_path: Path, value: int) -> None:
    pairs = {name: (image, _mask(value)) for name, (image, _) in _good().items()}
    examination = examine(index_dataset(_write(tmp_path / "set", pairs)))
    for path in write_repaired_masks(examination, tmp_path / "copies"):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), _mask(value))


def test_repaired_colour_masks_keep_their_look(tmp_path: Path) -> None:
    red_and_blue = np.zeros((32, 32, 3), np.uint8)
    red_and_blue[4:9, 4:9, 0] = red_and_blue[12:20, 12:20, 2] = 255
    pairs = {name: (image, red_and_blue) for name, (image, _) in _good().items()}
    examination = examine(index_dataset(_write(tmp_path / "set", pairs)))
    for path in write_repaired_masks(examination, tmp_path / "copies"):
        with Image.open(path) as picture:
            assert picture.mode == "P"
            np.testing.assert_array_equal(np.asarray(picture.convert("RGB")), red_and_blue)


def test_repaired_masks_of_one_name_in_several_folders_stay_apart(tmp_path: Path) -> None:
    entries = []
    for number in range(2):
        folder = tmp_path / "set" / f"patient{number}"
        folder.mkdir(parents=True)
        Image.fromarray(_image(number)).save(folder / "image.png")
        Image.fromarray(_mask(255)).save(folder / "mask.png")
        entries.append(CaseFiles(f"{number}", (folder / "image.png",), folder / "mask.png", f"{number}"))
    examination = examine(Index(tmp_path / "set", "by hand", tuple(entries), None, None, "", (), (), 0, ()))
    written = write_repaired_masks(examination, tmp_path / "copies")
    assert written == [tmp_path / "copies" / f"patient{number}" / "mask.png" for number in range(2)]


@pytest.mark.fault(5)
def test_repaired_masks_never_go_to_the_folder_of_the_originals(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", _good())
    examination = examine(index_dataset(folder))
    before = {path: path.read_bytes() for path in (folder / "masks").iterdir()}
    with pytest.raises(SettingsError, match="another folder"):
        write_repaired_masks(examination, folder / "images" / ".." / "masks")
    assert {path: path.read_bytes() for path in (folder / "masks").iterdir()} == before


@pytest.mark.parametrize(
    ("name", "rank", "classes"),
    [
        ("breast_us_busi", 2, 2),
        ("foot_ulcer_fuseg", 2, 2),
        ("lung_heart_jsrt_multiclass", 2, 4),
        ("hippocampus_msd", 3, 3),
    ],
)
def test_real_data_sets_are_usable(real_data: Path, name: str, rank: int, classes: int) -> None:
    index = index_dataset(real_data / name)
    examination = examine(index, names=[files.name for files in index.entries[:6]])
    figures = examination.statistics
    assert (figures.rank, len(examination.labels.names)) == (rank, classes)
    assert figures.modality == ("mr" if rank == 3 else "rgb" if name == "foot_ulcer_fuseg" else "gray")
    assert all(case.mask is not None and case.mask.shape == case.spatial for case in examination.cases)
