"""The one pass over a data set: order, what is kept, what is read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.errors import FaultCode
from genseg.examine.cases import DEFAULT_OPTIONS
from genseg.examine.one_pass import read_all
from genseg.read.case import CaseFiles

CASE_BYTES = 2 * 20 * 20


@pytest.fixture
def entries(tmp_path: Path) -> list[CaseFiles]:
    """Twenty cases of `CASE_BYTES` of pixels, image and mask; the number of the case is in its pixels."""
    found = []
    for number in range(20):
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        pixels = np.full((20, 20), number, np.uint8)
        pixels[0] = 200
        Image.fromarray(pixels).save(image)
        Image.fromarray((pixels == 200).astype(np.uint8)).save(mask)
        found.append(CaseFiles(f"case{number}", (image,), mask, f"{number}"))
    return found


def test_results_come_in_the_order_of_the_cases(entries: list[CaseFiles]) -> None:
    readings, faults = read_all(entries[::-1], DEFAULT_OPTIONS, 10**6)
    assert [reading.files for reading in readings] == entries[::-1]
    pixels = [reading.raw.image.pixels for reading in readings if reading.raw is not None]
    assert [int(image[0, 5, 5]) for image in pixels] == list(range(20))[::-1]
    assert faults == []


def test_faults_come_in_the_order_of_the_cases_too(entries: list[CaseFiles]) -> None:
    for number in (17, 3, 11):
        entries[number].images[0].write_bytes(b"")
    readings, faults = read_all(entries, DEFAULT_OPTIONS, 10**6)
    assert [(fault.code, Path(fault.file).name) for fault in faults] == [
        (FaultCode.EMPTY_FILE, f"{number}.png") for number in (3, 11, 17)
    ]
    assert len(readings) == 17


@pytest.mark.parametrize(("budget", "kept"), [(0, 0), (CASE_BYTES - 1, 0), (3 * CASE_BYTES, 3), (10**6, 20)])
def test_pixels_are_kept_within_the_budget_and_read_again_beyond(
    entries: list[CaseFiles], budget: int, kept: int
) -> None:
    readings, _ = read_all(entries, DEFAULT_OPTIONS, budget)
    assert [reading.raw is not None for reading in readings] == [True] * kept + [False] * (20 - kept)
    for reading in readings:
        mask = reading.mask(DEFAULT_OPTIONS)
        assert mask is not None
        assert int(mask.sum()) == 20
