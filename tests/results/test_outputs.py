"""Where results go, and what their pictures show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.errors import RunError
from genseg.read.case import Case
from genseg.results import outputs
from genseg.results.outputs import output_folder, palette, side_by_side, write_overlay


def test_a_folder_for_results_is_made(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "a" / "b", [tmp_path / "images" / "x.png"]).is_dir()


@pytest.mark.fault(37)
@pytest.mark.parametrize("out", ["scans", "scans/sub/..", "link", "."])
def test_nothing_is_written_among_the_images(tmp_path: Path, out: str) -> None:
    (tmp_path / "scans" / "overlays").mkdir(parents=True)
    (tmp_path / "scans" / "sub").mkdir()
    (tmp_path / "link").symlink_to("scans")
    images = [tmp_path, tmp_path / "scans" / "x.png"]
    with pytest.raises(RunError, match="among the images"):
        output_folder(tmp_path / out, images)


def test_overlays_do_not_come_among_the_images_either(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="among the images"):
        output_folder(tmp_path / "out", [tmp_path / "out" / "overlays" / "x.png"])
    assert not (tmp_path / "out").exists()


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(RunError, match="choose another folder by -o"):
        output_folder(tmp_path / "out")


@pytest.mark.fault(37)
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(outputs, "TemporaryFile", refuse)
    with pytest.raises(RunError, match="Read-only file system"):
        output_folder(tmp_path)


def test_each_class_has_a_colour_of_its_own_and_the_background_is_black() -> None:
    colours = palette(7)
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 7


def _volume() -> tuple[Case, np.ndarray]:
    """A volume whose truth is in slice 1 and whose prediction is, larger, in slice 3."""
    image = np.zeros((1, 8, 8, 5), np.int16)
    image[..., 3] = 100
    truth, prediction = np.zeros((2, 8, 8, 5), np.uint8)
    truth[2:4, 2:4, 1] = 1
    prediction[2:6, 2:6, 3] = 1
    return Case("case", image, truth, (1.0, 1.0, 1.0), np.eye(4), "", "mr", ""), prediction


def test_image_truth_and_prediction_are_shown_side_by_side_in_one_slice() -> None:
    case, prediction = _volume()
    shown, truth, predicted = np.split(side_by_side(case, prediction), 3, axis=1)
    assert np.array_equal(shown, truth)
    assert not np.array_equal(shown, predicted)


def test_an_overlay_bears_the_name_of_its_case(tmp_path: Path) -> None:
    case, prediction = _volume()
    write_overlay(case, prediction, tmp_path)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["case.png"]
    with Image.open(tmp_path / "overlays" / "case.png") as picture:
        assert picture.mode == "RGB"
