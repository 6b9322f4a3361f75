"""The pictures of pairs show the object, not what is unknown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from genseg.drawing.pairs import Example, draw_pairs
from genseg.read.case import IGNORE


def _example() -> Example:
    """A volume whose object lies in slice 2."""
    draws = np.random.default_rng(0)
    mask = np.zeros((16, 16, 6), np.uint8)
    mask[4:9, 4:9, 2] = 1
    image, rebuilt, new = (draws.normal(size=(1, 16, 16, 6)).astype(np.float32) for _ in range(3))
    return Example(image, mask, rebuilt, new, mask)


def _pixels(example: Example, path: Path) -> np.ndarray:
    draw_pairs([example], path, ["background", "object"])
    return np.asarray(Image.open(path))


def test_the_slice_with_the_object_is_shown(tmp_path: Path) -> None:
    example = _example()
    moved = replace(example, image=np.roll(example.image, 1, -1), mask=np.roll(example.mask, 1, -1))
    moved = replace(moved, rebuilt=np.roll(example.rebuilt, 1, -1))
    assert np.array_equal(_pixels(example, tmp_path / "a.png"), _pixels(moved, tmp_path / "b.png"))
    other = replace(example, image=np.roll(example.image, 1, -1))
    assert not np.array_equal(_pixels(example, tmp_path / "a.png"), _pixels(other, tmp_path / "c.png"))


def test_what_is_unknown_is_not_taken_for_an_object(tmp_path: Path) -> None:
    example = _example()
    padded = example.mask.copy()
    padded[..., 5] = IGNORE
    padded[:2] = IGNORE
    seen = _pixels(replace(example, mask=padded), tmp_path / "padded.png")
    assert np.array_equal(seen, _pixels(example, tmp_path / "whole.png"))
