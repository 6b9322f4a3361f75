"""What of a data set trains, what judges, and by which plan."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from genseg.base.progress import silent
from genseg.compute.device import Machine
from genseg.config import Settings
from genseg.errors import DataError, SettingsError
from genseg.examine.check import Examination
from genseg.examine.split import Split
from genseg.training.gather import choose_split, examine_for_training, gather

NAMES = [f"phantom_{number:03d}" for number in range(10)]
TRAIN, VALIDATION, TEST = NAMES[:5], NAMES[5:7], NAMES[7:]


def _examine(data: Path, **settings: Any) -> Examination:
    return examine_for_training(data, Settings(**settings), silent)


def _split(data: Path, **settings: Any) -> Split:
    return choose_split(_examine(data, **settings), Settings(**settings))


@pytest.fixture
def unsplit(rgb_phantoms: Path, tmp_path: Path) -> Path:
    """The ten pictures without the file that splits them."""
    data = shutil.copytree(rgb_phantoms, tmp_path / "unsplit")
    (data / "dataset.json").unlink()
    return data


def test_a_declared_split_is_used(rgb_phantoms: Path) -> None:
    split = _split(rgb_phantoms)
    assert (list(split.train), list(split.validation), list(split.test)) == (TRAIN, VALIDATION, TEST)


@pytest.mark.parametrize("labels", [4, 6, 7])
def test_validation_cases_come_out_of_the_first_labels(rgb_phantoms: Path, labels: int) -> None:
    split = _split(rgb_phantoms, labels=labels)
    assert sorted((*split.train, *split.validation)) == NAMES[:labels]
    assert len(split.validation) >= 1
    assert list(split.test) == TEST


def test_each_case_is_held_out_in_one_fold_and_trains_in_the_others(rgb_phantoms: Path) -> None:
    examination = _examine(rgb_phantoms)
    splits = [choose_split(examination, Settings(folds=3, fold=fold)) for fold in range(3)]
    assert sorted(name for split in splits for name in split.validation) == [*TRAIN, *VALIDATION]
    for split in splits:
        assert set(split.train).isdisjoint({*split.validation, *TEST})
        assert sorted((*split.train, *split.validation)) == [*TRAIN, *VALIDATION]


def test_a_fold_that_does_not_exist_is_refused(rgb_phantoms: Path) -> None:
    with pytest.raises(SettingsError, match="fold: 3 found, but there are 3 folds"):
        _split(rgb_phantoms, folds=3, fold=3)


def test_more_labels_than_there_are_is_refused(rgb_phantoms: Path) -> None:
    with pytest.raises(DataError, match="7 labelled cases"):
        _split(rgb_phantoms, labels=8)


@pytest.mark.fault(15)
def test_nearly_equal_images_are_held_out_together(unsplit: Path) -> None:
    for folder in ("images", "masks"):
        shutil.copy(unsplit / folder / "phantom_003.png", unsplit / folder / "twin.png")
    pixels = np.array(Image.open(unsplit / "images" / "twin.png"))
    pixels[0, 0] ^= 1
    Image.fromarray(pixels).save(unsplit / "images" / "twin.png")
    examination = _examine(unsplit, folds=5)
    splits = [choose_split(examination, Settings(folds=5, fold=fold)) for fold in range(5)]
    held_out = [split.validation for split in splits if "twin" in split.validation]
    assert len(held_out) == 1
    assert "phantom_003" in held_out[0]


def test_test_cases_are_not_opened(rgb_phantoms: Path, tmp_path: Path) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    (data / "images" / f"{TEST[0]}.png").write_bytes(b"")
    assert list(_examine(data).cases.names) == [*TRAIN, *VALIDATION]


@pytest.mark.fault(1, 2)
def test_every_broken_case_is_named(rgb_phantoms: Path, tmp_path: Path, machine: Machine) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    for name in TRAIN[1:3]:
        (data / "images" / f"{name}.png").write_bytes(b"")
    with pytest.raises(DataError) as refused:
        gather(data, Settings(), None, machine, silent)
    assert [Path(fault.file).stem for fault in refused.value.faults] == TRAIN[1:3]


def test_a_plan_that_is_given_is_kept_or_refused(rgb_phantoms: Path, machine: Machine) -> None:
    plan = gather(rgb_phantoms, Settings(updates=5), None, machine, silent).plan
    edited = plan.model_copy(update={"batch_size": 3})
    assert gather(rgb_phantoms, Settings(updates=5), edited, machine, silent).plan == edited
    with pytest.raises(SettingsError, match="updates"):
        gather(rgb_phantoms, Settings(updates=6), edited, machine, silent)


def test_a_plan_does_not_depend_on_the_order_of_voxels_in_the_files(
    volume_phantoms: Path, tmp_path: Path, machine: Machine
) -> None:
    turned = shutil.copytree(volume_phantoms, tmp_path / "turned")
    for path in turned.rglob("*.nii.gz"):
        stored = nibabel.load(path)
        pixels, affine = np.asanyarray(stored.dataobj)[:, :12], stored.affine
        nibabel.save(nibabel.Nifti1Image(pixels, affine), path)
    upright = gather(turned, Settings(), None, machine, silent).plan
    for path in turned.rglob("*.nii.gz"):
        stored = nibabel.load(path)
        pixels = np.asanyarray(stored.dataobj).transpose(2, 0, 1)[:, ::-1]
        affine = stored.affine[:, [2, 0, 1, 3]] @ np.diag([1, -1, 1, 1])
        affine[:3, 3] += stored.affine[:3, 0] * (pixels.shape[1] - 1)
        nibabel.save(nibabel.Nifti1Image(pixels, affine), path)
    assert gather(turned, Settings(), None, machine, silent).plan == upright
    assert upright.spacing == pytest.approx((1.0, 1.0, 1.2))
    assert upright.patch_size == (24, 16, 24)
