"""A training that is killed goes on, and ends as the one that was left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.robustness.kill import kill_and_resume


@pytest.mark.fault(30)
def test_killed_trainings_end_as_the_one_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.robustness.kill.OPTIONS", ("--method", "strong-augmentation", *TINY))
    *_, record = kill_and_resume(tmp_path, kills=1, seed=1)
    assert (record.kills, record.different) == (1, 0)
    assert record.finished >= 1


TINY = (
    "--segmenter",
    "unet-small",
    "--size",
    "32",
    "--updates",
    "8",
    "--batch-size",
    "2",
    "--device",
    "cpu",
    "--no-compare",
)
