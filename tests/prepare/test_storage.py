"""Prepared cases in memory and in files."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from genseg.config import Plan
from genseg.prepare.storage import prepare_all
from genseg.read.case import Case

PICTURE_BYTES = 16 * 16 * (4 + 1)


def _cases(count: int = 3, *, labelled: bool = True) -> list[Case]:
    cases = []
    for number in range(count):
        image = np.random.default_rng(number).integers(0, 256, (1, 16, 16)).astype(np.uint8)
        mask = (image[0] > 100).astype(np.uint8) if labelled else None
        cases.append(Case(f"case{number}", image, mask, (1.0, 1.0), None, "", "", ""))
    return cases


def test_what_fits_into_the_budget_stays_in_memory(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    prepared = prepare_all(_cases(), plan_of(2), tmp_path / "cache", budget=3 * PICTURE_BYTES)
    assert not any(isinstance(one.image, np.memmap) for one in prepared)
    assert not (tmp_path / "cache").exists()


def test_the_default_budget_holds_small_cases(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    prepare_all(_cases(), plan_of(2), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("budget", "in_files"), [(0, 3), (PICTURE_BYTES, 2), (3 * PICTURE_BYTES - 1, 1)])
def test_what_does_not_fit_lies_in_files(
    plan_of: Callable[..., Plan], tmp_path: Path, budget: int, in_files: int
) -> None:
    plan, cases = plan_of(2), _cases()
    prepared = prepare_all(cases, plan, tmp_path / "cache", budget=budget)
    assert sum(isinstance(one.image, np.memmap) and isinstance(one.mask, np.memmap) for one in prepared) == in_files
    for own, expected in zip(prepared, prepare_all(cases, plan, tmp_path / "other"), strict=True):
        assert own.name == expected.name
        assert np.array_equal(own.image, expected.image)
        assert np.array_equal(own.mask, expected.mask)
        assert np.array_equal(own.foreground, expected.foreground)


def test_a_case_too_large_for_memory_leaves_room_for_small_ones(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    large = Case("large", np.zeros((1, 40, 40, 40), np.int16), None, (1.0,) * 3, None, "", "", "")
    small = Case("small", np.zeros((1, 16, 16, 16), np.int16), None, (1.0,) * 3, None, "", "", "")
    first, second = prepare_all([large, small], plan_of(3), tmp_path, budget=20_000)
    assert isinstance(first.image, np.memmap)
    assert not isinstance(second.image, np.memmap)


def test_cases_without_mask_have_none_in_files(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    prepared = prepare_all(_cases(labelled=False), plan_of(2), tmp_path, budget=0)
    assert [one.mask for one in prepared] == [None, None, None]
    assert len(list(tmp_path.iterdir())) == 3


def test_torch_takes_pixels_from_files_without_warning_and_cannot_change_the_files(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    import torch

    (prepared,) = prepare_all(_cases(1), plan_of(2), tmp_path, budget=0)
    stored = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.from_numpy(prepared.image).zero_()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == stored
