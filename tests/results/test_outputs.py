"""Where results go, and what their pictures show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.errors import RunError
from genseg.read.case import Case
from genseg.results import outputs
from genseg.results.outputs import output_folder, write_overlay


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
    with pytest.raises(RunError, match="choose another folder with -o"):
        output_folder(tmp_path / "out")


@pytest.mark.fault(37)
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(outputs, "TemporaryFile", refuse)
    with pytest.raises(RunError, match="Read-only file system"):
        output_folder(tmp_path)


def test_an_overlay_bears_the_name_of_its_case(tmp_path: Path) -> None:
    image = np.zeros((1, 8, 8), np.uint8)
    case = Case("case", image, None, (1.0, 1.0), None, "", "gray", "")
    write_overlay(case, np.zeros((8, 8), np.uint8), tmp_path)
    assert [path.name for path in tmp_path.rglob("*.png")] == ["case.png"]
    with Image.open(tmp_path / "overlays" / "case.png") as picture:
        assert picture.mode == "RGB"
