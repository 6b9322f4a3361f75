"""Logits brought to another size, piece by piece, against PyTorch's and Pillow's interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

from genseg.segmenters import resample
from genseg.segmenters.resample import resampled

ENLARGED = [((37, 50, 21), (60, 51, 80)), ((128, 100), (300, 200)), ((1, 5), (3, 7)), ((6, 6), (6, 9))]


def _pieces(array: np.ndarray, rows: int) -> list[np.ndarray]:
    return [array[:, first : first + rows] for first in range(0, array.shape[1], rows)]


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize(("worked", "wanted"), ENLARGED)
def test_enlarging_is_linear_however_the_rows_come(worked: tuple[int, ...], wanted: tuple[int, ...], rows: int) -> None:
    array = np.random.default_rng(0).normal(size=(2, *worked)).astype(np.float32)
    found = np.concatenate(list(resampled(_pieces(array, rows), worked, wanted)), 1)
    mode = {2: "bilinear", 3: "trilinear"}[len(worked)]
    theirs = functional.interpolate(torch.from_numpy(array)[None], size=wanted, mode=mode, align_corners=False)[0]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, theirs.numpy(), rtol=0, atol=1e-4)


def test_a_large_result_comes_a_few_rows_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).normal(size=(2, 6, 5)).astype(np.float32)
    (whole,) = resampled([array], (6, 5), (40, 30))
    monkeypatch.setattr(resample, "VALUES_AT_ONCE", 2 * 30 * 7)
    parts = list(resampled([array], (6, 5), (40, 30)))
    assert [part.shape[1] for part in parts] == [7, 7, 7, 7, 7, 5]
    assert np.array_equal(np.concatenate(parts, 1), whole)
    monkeypatch.setattr(resample, "VALUES_AT_ONCE", 1)
    assert {part.shape[1] for part in resampled([array], (6, 5), (40, 30))} == {1}


@pytest.mark.parametrize("rows", [1, 5, 1000])
def test_shrinking_averages(rows: int) -> None:
    array = np.random.default_rng(0).normal(size=(1, 64, 48)).astype(np.float32)
    found = np.concatenate(list(resampled(_pieces(array, rows), (64, 48), (20, 11))), 1)
    theirs = Image.fromarray(array[0]).resize((11, 20), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(found[0], np.asarray(theirs), rtol=0, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 4, 1000])
def test_padding_at_the_ends_is_left_out(rows: int) -> None:
    array = np.random.default_rng(0).normal(size=(2, 12, 10)).astype(np.float32)
    array[:, 9:] = array[:, :, 7:] = np.nan
    found = np.concatenate(list(resampled(_pieces(array, rows), (9, 7), (9, 7))), 1)
    assert np.array_equal(found, array[:, :9, :7])
