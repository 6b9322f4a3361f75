"""Faults that people's data really have, planted on small files: each stops `genseg train` with exit code 2, a message
that names the file, what was found and the cure, and no run folder; the check says the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from _pytest.mark.structures import ParameterSet
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
Plant = Callable[[Path], None]
FIRST, SECOND = "phantom_001", "phantom_002"


def _truncate(data: Path) -> None:
    for name in (FIRST, SECOND):
        path = data / "images" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:200])


def _empty_and_text(data: Path) -> None:
    (data / "images" / f"{FIRST}.png").write_bytes(b"")
    (data / "images" / f"{SECOND}.png").write_text("not a picture")


def _smaller_mask(data: Path) -> None:
    path = data / "masks" / f"{FIRST}.png"
    Image.open(path).resize((20, 24), Image.Resampling.NEAREST).save(path)


def _jpeg_masks(data: Path) -> None:
    for path in (data / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(path)) * 255).save(path.with_suffix(".jpg"), quality=50)
        path.unlink()


def _many_colours(data: Path) -> None:
    random = np.random.default_rng(0)
    for path in (data / "masks").iterdir():
        Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)


def _cmyk(data: Path) -> None:
    path = data / "images" / f"{FIRST}.png"
    Image.open(path).convert("CMYK").save(path.with_suffix(".jpg"))
    path.unlink()


def _only_background(data: Path) -> None:
    for path in (data / "masks").iterdir():
        Image.new("L", (32, 32)).save(path)


def _unexpected_label(data: Path) -> None:
    path = data / "masks" / f"{FIRST}.png"
    mask = np.asarray(Image.open(path)).copy()
    mask[:2, :3] = 9
    Image.fromarray(mask).save(path)


def _two_of_one_name(data: Path) -> None:
    path = data / "images" / f"{FIRST}.png"
    Image.open(path).save(path.with_suffix(".bmp"))


def _without_partner(data: Path) -> None:
    (data / "dataset.json").unlink()
    (data / "masks" / f"{FIRST}.png").unlink()
    (data / "images" / f"{SECOND}.png").unlink()


def _not_finite(data: Path) -> None:
    path = data / "images" / f"{FIRST}.nii.gz"
    volume = nibabel.load(path)
    pixels = np.asarray(volume.dataobj, dtype=np.float32)
    pixels[3, 4, 5] = np.nan
    nibabel.save(nibabel.Nifti1Image(pixels, volume.affine), path)


def _moved_mask(data: Path) -> None:
    path = data / "labels" / f"{FIRST}.nii.gz"
    volume = nibabel.load(path)
    affine = volume.affine.copy()
    affine[0, 3] += 4
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.dataobj).astype(np.uint8), affine), path)


def _planted(row: pytest.MarkDecorator, plant: Plant, code: str, *parts: str) -> ParameterSet:
    return pytest.param(plant, code, parts, marks=row, id=plant.__name__.removeprefix("_"))


PICTURES = [
    _planted(pytest.mark.fault(1), _truncate, "unreadable", FIRST, SECOND),
    _planted(pytest.mark.fault(2), _empty_and_text, "empty-file", FIRST, SECOND, "0 bytes", "unknown-format"),
    _planted(pytest.mark.fault(3), _smaller_mask, "size-mismatch", FIRST, "24 x 20", "32 x 32"),
    _planted(pytest.mark.fault(5), _jpeg_masks, "mask-stray-values", FIRST, SECOND, "--mask-repair nearest"),
    _planted(pytest.mark.fault(7), _many_colours, "mask-too-many-colours", FIRST, SECOND),
    _planted(pytest.mark.fault(8), _cmyk, "unsupported-pixels", FIRST, "CMYK"),
    _planted(pytest.mark.fault(11), _only_background, "no-foreground"),
    _planted(pytest.mark.fault(12), _unexpected_label, "unexpected-label", FIRST, "6"),
    _planted(pytest.mark.fault(16), _two_of_one_name, "duplicate-name", f"{FIRST}.png", f"{FIRST}.bmp"),
    _planted(pytest.mark.fault(17), _without_partner, "image-without-mask", FIRST, SECOND, "mask-without-image"),
]
VOLUMES = [
    _planted(pytest.mark.fault(21), _not_finite, "not-finite", FIRST, "1", "--nan-to"),
    _planted(pytest.mark.fault(22), _moved_mask, "geometry-mismatch", FIRST, "4 mm"),
]


def _assert_refused(run: Run, data: Path, out: Path, code: str, parts: tuple[str, ...]) -> None:
    for verb, target in (("check", out / "checked"), ("train", out / "run")):
        exit_code, _, message = run(verb, data, "-o", target)
        assert exit_code == 2
        assert [part for part in (code, *parts) if part not in message] == []
        assert "Traceback" not in message
        assert not target.exists()


@pytest.mark.parametrize(("plant", "code", "parts"), PICTURES)
def test_a_fault_of_pictures_stops_with_its_code_and_leaves_nothing(
    plant: Plant, code: str, parts: tuple[str, ...], run: Run, rgb_phantoms: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    plant(data)
    _assert_refused(run, data, tmp_path, code, parts)


@pytest.mark.parametrize(("plant", "code", "parts"), VOLUMES)
def test_a_fault_of_volumes_stops_with_its_code_and_leaves_nothing(
    plant: Plant, code: str, parts: tuple[str, ...], run: Run, volume_phantoms: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(volume_phantoms, tmp_path / "data")
    plant(data)
    _assert_refused(run, data, tmp_path, code, parts)
