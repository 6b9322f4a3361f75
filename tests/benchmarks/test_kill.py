"""A training that is killed goes on, and ends as the one that was left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.robustness import kill

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.fault(30)
def test_a_training_killed_while_it_writes_ends_as_the_one_left_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(data: Path, out: Path) -> None:
        """In this process, that knows torch already."""
        code, _, errors = run(*kill.command(data, out)[3:])
        assert code == 0, errors

    monkeypatch.setattr(kill, "OPTIONS", ("--method", "strong-augmentation", *TINY))
    monkeypatch.setattr(kill, "AIMED", 1.0)
    monkeypatch.setattr(kill, "finish", finish)
    *_, record = kill.kill_and_resume(tmp_path, kills=1, seed=1)
    assert (record.kills, record.finished, record.different) == (1, 1, 0)
    assert record.phases == {"while a checkpoint was written": 1}


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
