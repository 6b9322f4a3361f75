"""Faults that people's data really have, planted on small files: each stops `genseg train` with exit code 2, a message
that names the file, what was found and the cure, and no run folder; the check says the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
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


PICTURES: list[tuple[Plant, str, tuple[str, ...]]] = [
    (_truncate, "unreadable", (FIRST, SECOND)),
    (_empty_and_text, "empty-file", (FIRST, SECOND, "0 bytes", "unknown-format")),
    (_smaller_mask, "size-mismatch", (FIRST, "24 x 20", "32 x 32")),
    (_jpeg_masks, "mask-stray-values", (FIRST, SECOND, "--mask-repair nearest")),
    (_many_colours, "mask-too-many-colours", (FIRST, SECOND)),
    (_cmyk, "unsupported-pixels", (FIRST, "CMYK")),
    (_only_background, "no-foreground", ()),
    (_unexpected_label, "unexpected-label", (FIRST, "6")),
    (_two_of_one_name, "duplicate-name", (f"{FIRST}.png", f"{FIRST}.bmp")),
    (_without_partner, "image-without-mask", (FIRST, SECOND, "mask-without-image")),
]
VOLUMES: list[tuple[Plant, str, tuple[str, ...]]] = [
    (_not_finite, "not-finite", (FIRST, "1", "--nan-to")),
    (_moved_mask, "geometry-mismatch", (FIRST, "4 mm")),
]


def _named(case: tuple[Plant, str, tuple[str, ...]]) -> str:
    return case[0].__name__.removeprefix("_")


def _assert_refused(run: Run, data: Path, out: Path, code: str, parts: tuple[str, ...]) -> None:
    for verb, target in (("check", out / "checked"), ("train", out / "run")):
        exit_code, _, message = run(verb, data, "-o", target)
        assert exit_code == 2
        assert [part for part in (code, *parts) if part not in message] == []
        assert "Traceback" not in message
        assert not target.exists()


@pytest.mark.parametrize("case", PICTURES, ids=_named)
def test_a_fault_of_pictures_stops_with_its_code_and_leaves_nothing(
    case: tuple[Plant, str, tuple[str, ...]], run: Run, rgb_phantoms: Path, tmp_path: Path
) -> None:
    plant, code, parts = case
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    plant(data)
    _assert_refused(run, data, tmp_path, code, parts)


@pytest.mark.parametrize("case", VOLUMES, ids=_named)
def test_a_fault_of_volumes_stops_with_its_code_and_leaves_nothing(
    case: tuple[Plant, str, tuple[str, ...]], run: Run, volume_phantoms: Path, tmp_path: Path
) -> None:
    plant, code, parts = case
    data = shutil.copytree(volume_phantoms, tmp_path / "data")
    plant(data)
    _assert_refused(run, data, tmp_path, code, parts)
