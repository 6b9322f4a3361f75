"""Pairs of arrays as a data set: what was written is what is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import genseg
from genseg.write.pairs import write_description, write_pair

NAMES = ("background", "organ", "vessel")


def _write(folder: Path, shape: tuple[int, ...], dtype: str, spacing: tuple[float, ...] | None) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    pairs, images = [], []
    for number in range(3):
        image = (40 * random.normal(size=shape) + 100).clip(0, 255).astype(dtype)
        mask = random.integers(0, 3, shape[1:]).astype(np.uint8)
        pairs.append(write_pair(folder, f"a-{number}", image, mask, spacing))
        images += [image, mask]
    names = [f"channel {number} (CT)" for number in range(shape[0])]
    write_description(folder, NAMES, pairs, names, task="a test")
    return images


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_pictures_come_back_as_they_were(tmp_path: Path, channels: int, dtype: str) -> None:
    images = _write(tmp_path, (channels, 24, 20), dtype, None)
    examination = genseg.check(tmp_path)
    assert examination.labels.names == NAMES
    assert [case.name for case in examination.cases] == ["a-0", "a-1", "a-2"]
    for case, image, mask in zip(examination.cases, images[::2], images[1::2], strict=True):
        assert case.image.dtype == dtype
        assert np.array_equal(case.image, image)
        assert np.array_equal(case.mask, mask)
    suffix = ".png" if dtype == "uint8" and channels in (1, 3) else ".tif"
    assert {path.suffix for path in (tmp_path / "images").iterdir()} == {suffix}


@pytest.mark.parametrize("channels", [1, 2])
def test_volumes_come_back_as_they_were(tmp_path: Path, channels: int) -> None:
    spacing = (0.7, 1.0, 2.5)
    images = _write(tmp_path, (channels, 12, 10, 9), "float32", spacing)
    examination = genseg.check(tmp_path)
    assert examination.labels.names == NAMES
    assert examination.statistics.modality == "ct"
    for case, image, mask in zip(examination.cases, images[::2], images[1::2], strict=True):
        assert np.array_equal(case.image, image)
        assert np.array_equal(case.mask, mask)
        assert case.spacing == pytest.approx(spacing)
