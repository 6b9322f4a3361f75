"""Faults of pictures and their masks, as a person meets them at the command line."""

from __future__ import annotations

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from refusals import assert_refused

Run = Callable[..., tuple[int, str, str]]
FIRST, SECOND = "phantom_001", "phantom_002"


@pytest.fixture
def data(rgb_phantoms: Path, tmp_path: Path) -> Path:
    """Pictures and masks to be changed, without the file that describes them."""
    folder = shutil.copytree(rgb_phantoms, tmp_path / "data")
    (folder / "dataset.json").unlink()
    return folder


def _masks(data: Path) -> dict[Path, np.ndarray]:
    return {path: np.asarray(Image.open(path)).copy() for path in (data / "masks").iterdir()}


def _findings(run: Run, data: Path, out: Path, *options: object) -> tuple[str, dict[str, Any]]:
    """What the check prints, and what it writes down."""
    code, printed, error = run("check", data, "-o", out, *options)
    assert code == 0, error
    return printed, json.loads((out / "check.json").read_text())


def _warnings(findings: dict[str, Any]) -> list[tuple[str, str]]:
    return [(warning["code"], Path(warning["file"]).stem) for warning in findings["warnings"]]


@pytest.mark.fault(1)
def test_every_truncated_picture_of_any_format_is_listed_at_once(run: Run, data: Path, tmp_path: Path) -> None:
    names = []
    for number, suffix in enumerate((".png", ".tif", ".jpg", ".bmp")):
        path = data / "images" / f"phantom_00{number}{suffix}"
        with Image.open(path.with_suffix(".png")) as image:
            image.save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
        path.with_suffix("" if suffix == ".png" else ".png").unlink(missing_ok=True)
        names.append(path.name)
    assert_refused(run, data, tmp_path / "out", "4 problem(s)", "unreadable", "Copy or export the file again.", *names)


@pytest.mark.fault(2)
def test_a_png_called_jpg_is_read_and_warned_of(run: Run, data: Path, tmp_path: Path) -> None:
    path = data / "images" / f"{FIRST}.png"
    path.rename(path.with_suffix(".jpg"))
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("wrong-suffix", FIRST)]
    assert "a PNG file whose name ends in '.jpg'" in printed


@pytest.mark.fault(4)
@pytest.mark.parametrize("values", [(0, 255), (0, 1, 3), (0, 128, 255)])
def test_the_map_of_labels_is_shown_and_kept(run: Run, data: Path, tmp_path: Path, values: tuple[int, ...]) -> None:
    for path, mask in _masks(data).items():
        changed = mask * np.uint8(values[1])
        if len(values) == 3:
            changed[:3, :3] = values[2]
        Image.fromarray(changed).save(path)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert findings["labels"]["values"] == {str(value): index for index, value in enumerate(values)}
    shown = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines()]
    assert [row[:2] for row in shown if len(row) == 3] == [
        [str(value), str(index)] for index, value in enumerate(values)
    ]


@pytest.mark.fault(6)
def test_palette_masks_are_mapped_by_index_whatever_their_colours(run: Run, data: Path, tmp_path: Path) -> None:
    for number, (path, mask) in enumerate(_masks(data).items()):
        picture = Image.fromarray(mask)
        picture.putpalette([200, number, 90, 10, 20, 30 + number])
        picture.save(path)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert findings["labels"]["values"] == {"0": 0, "1": 1}
    assert "foreground" in printed


@pytest.mark.fault(7)
def test_each_colour_of_a_mask_is_shown_as_a_class(run: Run, data: Path, tmp_path: Path) -> None:
    for path, mask in _masks(data).items():
        colours = np.zeros((*mask.shape, 3), np.uint8)
        colours[mask == 1] = (255, 0, 0)
        colours[:3, :3] = (0, 0, 255)
        Image.fromarray(colours).save(path)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert findings["labels"]["colours"] == {"#000000": 0, "#0000ff": 1, "#ff0000": 2}
    assert all(f"colour {colour}" in printed for colour in ("#0000ff", "#ff0000"))


@pytest.mark.fault(9)
def test_an_image_turned_by_exif_is_compared_with_its_mask_as_shown(run: Run, data: Path, tmp_path: Path) -> None:
    path, exif = data / "images" / f"{FIRST}.png", Image.Exif()
    exif[274] = 6
    upright = Image.open(path).resize((32, 24))
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    mask = data / "masks" / f"{FIRST}.png"
    Image.open(mask).resize((24, 32), Image.Resampling.NEAREST).save(mask)
    assert_refused(run, data, tmp_path / "out", "size-mismatch", FIRST, "32 x 24", "24 x 32", "EXIF", "axes swapped")
    Image.open(mask).resize((32, 24), Image.Resampling.NEAREST).save(mask)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("rotated-by-tag", FIRST)]
    assert "check that image and mask still lie on each other" in printed


@pytest.mark.fault(10)
def test_grey_among_rgb_becomes_rgb_and_is_said_once(run: Run, data: Path, tmp_path: Path) -> None:
    for name in (FIRST, SECOND):
        path = data / "images" / f"{name}.png"
        Image.open(path).convert("L").save(path)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("mixed-channels", "data")]
    assert "2 grey and 8 RGB images" in printed
    assert "All are treated as RGB" in printed


@pytest.mark.fault(11)
def test_empty_masks_are_counted_and_a_class_of_one_case_stops_training(run: Run, data: Path, tmp_path: Path) -> None:
    masks = _masks(data)
    for path in sorted(masks)[:2]:
        Image.fromarray(masks[path] * np.uint8(0)).save(path)
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("empty-mask", "data")]
    assert "2 of 10 masks are empty (phantom_000, phantom_001)" in printed
    last = sorted(masks)[-1]
    masks[last][:3, :3] = 2
    Image.fromarray(masks[last]).save(last)
    code, _, message = run("train", data, "-o", tmp_path / "run")
    assert code == 2
    assert "class 'label 2' is in one patient only" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(13)
def test_images_without_contrast_are_warned_of(run: Run, data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (9, 9, 9)).save(data / "images" / f"{FIRST}.png")
    blown = Image.open(data / "images" / f"{SECOND}.png")
    blown.paste((255, 255, 255), (0, 0, 32, 20))
    blown.save(data / "images" / f"{SECOND}.png")
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("constant-image", FIRST), ("saturated-image", SECOND)]
    assert "every pixel is 9" in printed


def _header_of_png(side: int) -> bytes:
    """The beginning of a grey PNG of `side` x `side` pixels."""
    content = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(1000))
    chunks = (struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in (content, data))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.fault(14)
def test_a_single_pixel_and_a_giant_stop_together(run: Run, data: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        Image.open(data / folder / f"{FIRST}.png").resize((1, 1)).save(data / folder / f"{FIRST}.png")
    (data / "images" / f"{SECOND}.png").write_bytes(_header_of_png(20_000))
    parts = ("too-small", "an image of 1 x 1", "at least 8 x 8", "too-large", FIRST, SECOND, "2 problem(s)")
    assert_refused(run, data, tmp_path / "out", *parts)


@pytest.mark.fault(15)
def test_one_image_twice_warns_and_with_another_mask_stops(run: Run, data: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        shutil.copy(data / folder / f"{FIRST}.png", data / folder / "twin.png")
    printed, findings = _findings(run, data, tmp_path / "out")
    assert _warnings(findings) == [("duplicate-image", "twin")]
    shutil.rmtree(tmp_path / "out")
    assert f"the same image as {data / 'images' / FIRST}.png" in printed
    shutil.copy(data / "masks" / f"{SECOND}.png", data / "masks" / "twin.png")
    assert_refused(run, data, tmp_path / "out", "duplicate-image", "twin.png", FIRST, "with another mask")


NAMES = ("ä 🩻", "-rf", "CON", "line\nbreak", "a.b", "[red]", "*", "$(touch owned)", "x" * 251)


@pytest.mark.fault(18)
def test_strange_names_work_and_are_shown_on_one_line(run: Run, data: Path, tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        for folder in ("images", "masks"):
            (data / folder / f"phantom_00{number}.png").rename(data / folder / f"{name}.png")
    printed, findings = _findings(run, data, tmp_path / "out")
    assert {pair[0] for pair in findings["pairs"]} >= {name.replace("\n", "\\n") for name in NAMES}
    assert "line\\nbreak" in printed
    (data / "images" / "line\nbreak.png").write_bytes(b"")
    (data / "images" / "-rf.png").write_bytes(b"")
    shutil.rmtree(tmp_path / "out")
    assert_refused(run, data, tmp_path / "out", "line\\nbreak.png", "-rf.png", "2 files")
    assert not list(tmp_path.rglob("owned"))


@pytest.mark.fault(19)
@pytest.mark.skipif(os.name != "posix", reason="elsewhere links need a permission")
def test_links_that_loop_or_leave_stop_with_the_reason(run: Run, data: Path, tmp_path: Path) -> None:
    (data / "images" / "round").symlink_to(data / "images")
    code, printed, _ = run("check", data)
    assert (code, "10 cases are ready for training." in printed) == (0, True)
    (data / "images" / "self.png").symlink_to(data / "images" / "self.png")
    shutil.copy(data / "images" / f"{FIRST}.png", tmp_path / "far.png")
    (data / "images" / "far.png").symlink_to(tmp_path / "far.png")
    assert_refused(run, data, tmp_path / "out", "self.png", "ELOOP", "far.png", "outside-folder")


@pytest.mark.fault(20)
def test_hidden_files_are_passed_over_and_counted(run: Run, data: Path, tmp_path: Path) -> None:
    for name in ("images/._phantom_001.png", "images/Thumbs.db", ".DS_Store", "masks/notes.txt"):
        (data / name).write_bytes(b"x")
    printed, findings = _findings(run, data, tmp_path / "out")
    assert len(findings["pairs"]) == 10
    assert "4 hidden or unrelated file(s) ignored" in printed
