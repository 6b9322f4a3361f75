"""A training that hangs says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from genseg.training.watchdog import watchdog


def _wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest.mark.fault(31)
def test_what_hangs_is_told_once_and_written_down(tmp_path: Path) -> None:
    told: list[str] = []
    report = tmp_path / "stalled.txt"
    with watchdog(report, told.append, patience=0.05):
        _wait_for(lambda: told and report.stat().st_size)
    assert len(told) == 1
    assert told[0].endswith(f"stack traces written to {report}")
    assert "_wait_for" in report.read_text()


def test_what_goes_on_is_left_alone(tmp_path: Path) -> None:
    told: list[str] = []
    with watchdog(tmp_path / "stalled.txt", told.append, patience=60) as something_was_done:
        for _ in range(5):
            something_was_done()
    assert told == []
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_told_after_an_error(tmp_path: Path) -> None:
    told: list[str] = []
    with pytest.raises(KeyboardInterrupt), watchdog(tmp_path / "stalled.txt", told.append, patience=0.05):
        raise KeyboardInterrupt
    time.sleep(0.2)
    assert told == []
    assert list(tmp_path.iterdir()) == []
