"""Phantoms: same seed, same files; every class in every case; not solved by a threshold; a whole data set or none."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from genseg.errors import SettingsError
from genseg.synthetic.phantoms import VOLUME_SPACING_MM, PhantomKind, make_phantom, write_phantoms

KINDS: tuple[PhantomKind, ...] = ("rgb", "gray", "volume")
CLASSES = {"rgb": 2, "gray": 3, "volume": 3}
SHAPES = {"rgb": (24, 24, 3), "gray": (24, 24), "volume": (24, 24, 24)}
DTYPES = {"rgb": np.uint8, "gray": np.uint8, "volume": np.int16}


@pytest.mark.parametrize("kind", KINDS)
def test_phantom_has_documented_shape_and_type(kind: PhantomKind) -> None:
    image, mask = make_phantom(kind, 0, size=24)
    assert (image.shape, image.dtype) == (SHAPES[kind], DTYPES[kind])
    assert mask.dtype == np.uint8
    assert mask.shape == image.shape[: mask.ndim]


@pytest.mark.parametrize("size", [24, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_every_case_holds_every_class_and_mostly_background(kind: PhantomKind, size: int) -> None:
    for index in range(12):
        counts = np.bincount(make_phantom(kind, index, size=size)[1].ravel())
        assert len(counts) == CLASSES[kind]
        assert counts.min() > 0
        assert counts[0] > 0.4 * counts.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_same_seed_same_phantom_and_others_differ(kind: PhantomKind) -> None:
    image, mask = make_phantom(kind, 3, seed=5, size=24)
    again, mask_again = make_phantom(kind, 3, seed=5, size=24)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(mask, mask_again)
    for index, seed in ((4, 5), (3, 6)):
        other, other_mask = make_phantom(kind, index, seed=seed, size=24)
        assert not np.array_equal(image, other)
        assert not np.array_equal(mask, other_mask)


@pytest.mark.parametrize("kind", KINDS)
def test_no_threshold_solves_the_phantoms(kind: PhantomKind) -> None:
    pairs = [make_phantom(kind, index, size=40) for index in range(8)]
    scores = [_best_threshold_dice(_as_gray(image, mask), mask > 0) for image, mask in pairs]
    assert np.mean(scores) < 0.9


def _as_gray(image: NDArray[np.generic], mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    gray = image.astype(float)
    return gray.mean(-1) if gray.ndim > mask.ndim else gray


def _best_threshold_dice(image: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    """The best Dice that one threshold could reach if it knew the truth, dark or bright side."""
    found = [image < cut for cut in np.quantile(image, np.linspace(0.02, 0.98, 49))]
    found += [~below for below in found]
    return max(float(2 * (below & truth).sum() / (below.sum() + truth.sum())) for below in found)


@pytest.mark.parametrize("kind", KINDS)
def test_written_data_set_names_its_classes_splits_and_itself_a_phantom(kind: PhantomKind, tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "set", kind, cases=10, size=16)
    description = json.loads((folder / "dataset.json").read_text())
    assert "phantom" in description["name"]
    assert len(description["class_names"]) == CLASSES[kind]
    assert {split: len(names) for split, names in description["splits"].items()} == {"train": 5, "val": 2, "test": 3}
    masks, suffix = ("labels", ".nii.gz") if kind == "volume" else ("masks", ".png")
    names = sorted(f"{name}{suffix}" for split in description["splits"].values() for name in split)
    for place in ("images", masks):
        assert sorted(path.name for path in (folder / place).iterdir()) == names


def test_written_picture_and_mask_are_the_drawn_ones(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "set", "rgb", cases=3, seed=2, size=20)
    image, mask = make_phantom("rgb", 1, seed=2, size=20)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / "phantom_001.png")), image)
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "masks" / "phantom_001.png")), mask)


def test_written_volume_has_its_spacing(tmp_path: Path) -> None:
    folder = write_phantoms(tmp_path / "set", "volume", cases=3, size=16)
    volume = nibabel.load(folder / "images" / "phantom_002.nii.gz")
    assert volume.header.get_zooms() == pytest.approx(VOLUME_SPACING_MM)
    np.testing.assert_array_equal(np.asarray(volume.dataobj), make_phantom("volume", 2, size=16)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_two_writings_are_equal_to_the_byte(kind: PhantomKind, tmp_path: Path) -> None:
    first, second = (write_phantoms(tmp_path / name, kind, cases=3, size=16) for name in ("a", "b"))
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert len(files) == 7
    for file in files:
        assert (first / file).read_bytes() == (second / file).read_bytes()


@pytest.mark.parametrize(
    ("kind", "cases", "size", "message"),
    [("rgb", 2, None, "cases: 2"), ("rgb", 3, 8, "size: 8"), ("mono", 3, None, "unknown kind of phantom 'mono'")],
)
def test_impossible_requests_are_refused_and_nothing_is_written(
    kind: PhantomKind, cases: int, size: int | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        write_phantoms(tmp_path / "set", kind, cases=cases, size=size)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="already holds something"):
        write_phantoms(tmp_path, "rgb", cases=3)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    assert write_phantoms(tmp_path / "set", "gray", cases=3, size=16) == tmp_path / "set"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written"):
        write_phantoms(tmp_path / "file" / "set", "gray", cases=3, size=16)


@pytest.mark.fault(97)
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = Image.Image.save

    def save_only_first(picture: Image.Image, path: Path) -> None:
        if path.name != "phantom_000.png":
            raise OSError(28, "No space left on device")
        save(picture, path)

    monkeypatch.setattr(Image.Image, "save", save_only_first)
    with pytest.raises(OSError, match="No space left on device"):
        write_phantoms(tmp_path / "set", "rgb", cases=3, size=16)
    assert list(tmp_path.iterdir()) == []
