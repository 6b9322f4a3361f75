"""A model on arrays, files and folders."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

import genseg
from genseg.errors import DataError, FaultCode, RunError
from genseg.examine.cases import LoadOptions
from genseg.models.model import Model
from genseg.predict.prediction import IN_GREY
from genseg.read import ReadOptions

MakeModel = Callable[..., Model]
Write = Callable[..., Path]

TABLES = ("manifest.jsonl", "measurements.csv", "predictions.csv")


def _pixels(path: Path) -> np.ndarray:
    return np.moveaxis(np.array(Image.open(path)), -1, 0)


def test_a_path_and_its_pixels_give_the_same_mask(make_model: MakeModel, write_picture: Write, tmp_path: Path) -> None:
    model, path = make_model(), write_picture(tmp_path / "a.png")
    mask = model.predict(_pixels(path))
    assert (mask.shape, mask.dtype) == ((24, 20), np.uint8)
    assert set(np.unique(mask)) <= {0, 1, 2}
    assert len(np.unique(mask)) > 1
    assert np.array_equal(model.predict(path), mask)
    assert np.array_equal(model.predict(str(path)), mask)


def test_a_volume_and_its_voxels_give_the_same_mask(make_model: MakeModel, volume_phantoms: Path) -> None:
    model, path = make_model(rank=3, channels=1), volume_phantoms / "images" / "phantom_000.nii.gz"
    volume = nibabel.load(path)
    spacing = volume.header.get_zooms()
    mask = model.predict(path)
    assert mask.shape == volume.shape
    assert np.array_equal(model.predict(np.asanyarray(volume.dataobj), spacing), mask)


def test_a_grey_picture_is_taken_by_a_model_for_rgb(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    model, path = make_model(), write_picture(tmp_path / "a.png", mode="L")
    grey = np.array(Image.open(path))
    assert np.array_equal(model.predict(path), model.predict(np.stack([grey] * 3)))
    assert np.array_equal(model.predict(path), model.predict(grey))


@pytest.mark.fault(43)
def test_an_rgb_picture_is_taken_in_grey_by_a_model_for_grey_and_that_is_said(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    model, path = make_model(channels=1), write_picture(tmp_path / "a.png")
    picture = np.array(Image.open(path))
    grey = np.array(Image.open(path).convert("L"))
    assert IN_GREY in model.examine(path).notes
    assert np.array_equal(model.predict(path), model.predict(np.moveaxis(picture, -1, 0)))
    assert IN_GREY not in model.examine(np.stack([grey] * 3)).notes


@pytest.mark.fault(43)
def test_a_16_bit_picture_is_refused_by_a_model_for_8_bits(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="expected 0 to 255"):
        make_model(channels=1).predict(write_picture(tmp_path / "a.png", mode="16-bit"))


def test_one_of_several_images_is_not_taken_by_chance(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / name)
    with pytest.raises(DataError, match="2 images; expected one image"):
        make_model().predict(tmp_path)


def test_images_are_read_as_those_of_the_training_were(make_model: MakeModel, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(DataError) as refused:
        make_model(rank=3, channels=1).predict(tmp_path / "a.nii.gz")
    assert refused.value.faults[0].code is FaultCode.NOT_FINITE
    tolerant = make_model(LoadOptions(ReadOptions(nan_to="min")), rank=3, channels=1)
    assert tolerant.predict(tmp_path / "a.nii.gz").shape == (12, 12, 12)


def test_masks_of_pictures_are_indices_in_the_size_of_the_picture(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    model = make_model()
    for name, size in (("a.png", (24, 20)), ("b.jpg", (9, 40))):
        write_picture(tmp_path / "scans" / name, size)
    told: list[tuple[str, int, int]] = []
    written = model.predict_folder(tmp_path / "scans", tmp_path / "out", progress=lambda *news: told.append(news))
    assert [case.mask.relative_to(tmp_path / "out").as_posix() for case in written] == ["a.png", "b.png"]
    assert told == [("Predicting", 1, 2), ("Predicting", 2, 2)]
    for case, source in zip(written, ("a.png", "b.jpg"), strict=True):
        assert np.array_equal(np.array(Image.open(case.mask)), model.predict(tmp_path / "scans" / source))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.png", "b.png", *TABLES]


def test_masks_of_volumes_lie_where_the_volume_lies(make_model: MakeModel, tmp_path: Path) -> None:
    turned = np.array([[0, 0, -1.2, 7], [1.5, 0, 0, -3], [0, -2, 0, 40], [0, 0, 0, 1]], np.float64)
    volume = nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 900, (10, 14, 12), np.int16), turned)
    volume.set_sform(turned, 2)
    volume.set_qform(turned, 1)
    nibabel.save(volume, tmp_path / "scan.nii.gz")
    model = make_model(rank=3, channels=1)
    (written,) = model.predict_folder(tmp_path / "scan.nii.gz", tmp_path / "out", extras=["overlays", "confidence"])
    mask, source = nibabel.load(written.mask), nibabel.load(tmp_path / "scan.nii.gz")
    assert written.mask.name == "scan.nii.gz"
    for key in ("dim", "pixdim", "sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "xyzt_units"):
        assert np.array_equal(mask.header[key], source.header[key]), key
    assert np.array_equal(np.asanyarray(mask.dataobj), model.predict(tmp_path / "scan.nii.gz"))
    assert (tmp_path / "out" / "overlays" / "scan.png").is_file()
    confidence = nibabel.load(tmp_path / "out" / "confidence" / "scan.nii.gz")
    assert np.array_equal(confidence.affine, source.affine)
    assert np.array_equal(np.asanyarray(confidence.dataobj), model.examine(tmp_path / "scan.nii.gz").confidence)


def test_channel_files_are_one_case_and_give_one_mask(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    for name in ("x_0000.png", "x_0001.png", "y_0000.png", "y_0001.png"):
        write_picture(tmp_path / "scans" / name, mode="L")
    model = make_model(channel_files=True, channels=2)
    written = model.predict_folder(tmp_path / "scans", tmp_path / "out")
    assert [case.mask.name for case in written] == ["x.png", "y.png"]


def test_bad_images_stop_no_other_and_are_all_named(
    make_model: MakeModel, write_picture: Write, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    for name in ("a.png", "b.png", "c.png", "d.png"):
        write_picture(scans / name)
    (scans / "a.png").write_bytes(b"")
    (scans / "c.png").write_bytes((scans / "c.png").read_bytes()[:-30])
    with pytest.raises(DataError) as refused:
        make_model().predict_folder(scans, tmp_path / "out")
    assert [Path(fault.file).name for fault in refused.value.faults] == ["a.png", "c.png"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["b.png", "d.png", *TABLES]


@pytest.mark.fault(37)
@pytest.mark.parametrize("images", ["scans", "scans/images", "scans/images/a.png"])
@pytest.mark.parametrize("out", ["scans/images", "scans/images/../images"])
def test_no_mask_is_written_over_an_image(
    make_model: MakeModel, write_picture: Write, tmp_path: Path, images: str, out: str
) -> None:
    image = write_picture(tmp_path / "scans" / "images" / "a.png")
    before = image.read_bytes()
    with pytest.raises(RunError, match="among the images"):
        make_model().predict_folder(tmp_path / images, tmp_path / out)
    assert image.read_bytes() == before
    assert list(image.parent.iterdir()) == [image]


@pytest.mark.parametrize("other", ["a.jpg", "A.png"])
def test_images_of_one_name_are_refused_before_anything_is_written(
    make_model: MakeModel, write_picture: Write, tmp_path: Path, other: str
) -> None:
    for name in ("a.png", other, "b.png"):
        write_picture(tmp_path / "scans" / name)
    if len(list((tmp_path / "scans").iterdir())) < 3:
        pytest.skip("this file system does not tell the two names apart")
    with pytest.raises(DataError) as refused:
        make_model().predict_folder(tmp_path / "scans", tmp_path / "out")
    (fault,) = refused.value.faults
    assert fault.code is FaultCode.DUPLICATE_NAME
    assert {"a.png", other} <= {Path(word).name for word in f"{fault.file} {fault.found}".split()}
    assert not (tmp_path / "out").exists()


def test_models_are_told_apart_by_the_hash_of_their_weights(rgb_run: Path) -> None:
    weights = (rgb_run / "model" / "segmenter.safetensors").read_bytes()
    assert genseg.load(rgb_run).sha256 == hashlib.sha256(weights).hexdigest()


def test_a_folder_without_image_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image"):
        make_model().predict_folder(tmp_path, tmp_path / "out")


def _dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    return 2 * np.sum((truth == 1) & (prediction == 1)) / (np.sum(truth == 1) + np.sum(prediction == 1))


@pytest.mark.parametrize(
    ("split", "expected"), [("test", (7, 8, 9)), ("validation", (5, 6)), ("all", tuple(range(10)))]
)
def test_scores_are_those_of_a_calculation_by_hand(
    rgb_run: Path, rgb_phantoms: Path, split: str, expected: tuple[int, ...]
) -> None:
    model = genseg.load(rgb_run)
    summary = model.evaluate(rgb_phantoms, split=split)
    assert [case.name for case in summary.cases] == [f"phantom_{number:03d}" for number in expected]
    for case in summary.cases:
        truth = np.array(Image.open(rgb_phantoms / "masks" / f"{case.name}.png"))
        prediction = model.predict(rgb_phantoms / "images" / f"{case.name}.png")
        assert case.dice == (pytest.approx(_dice(truth, prediction)),)
    assert summary.overall.dice.mean == pytest.approx(np.mean([case.mean_dice for case in summary.cases]))


def test_an_evaluation_writes_its_report_only_where_it_is_told_to(
    rgb_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    model = genseg.load(rgb_run)
    model.evaluate(rgb_phantoms, tmp_path / "new" / "report")
    names = ["report.html", "scores.csv", "scores.json"]
    assert sorted(path.name for path in (tmp_path / "new" / "report").iterdir()) == names
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="not usable for results"):
        model.evaluate(rgb_phantoms, tmp_path / "file")


def test_every_case_that_does_not_suit_the_model_is_named(make_model: MakeModel, rgb_phantoms: Path) -> None:
    model = make_model(channels=2, class_names=("background", "lesion"))
    with pytest.raises(DataError) as refused:
        model.evaluate(rgb_phantoms)
    assert [fault.file for fault in refused.value.faults] == ["phantom_007", "phantom_008", "phantom_009"]


def test_scores_do_not_depend_on_how_masks_are_stored(rgb_run: Path, rgb_phantoms: Path) -> None:
    model = genseg.load(rgb_run)
    other = replace(model, labels=type(model.labels)(model.labels.names, {0: 0, 255: 1}))
    assert other.evaluate(rgb_phantoms).cases == model.evaluate(rgb_phantoms).cases
