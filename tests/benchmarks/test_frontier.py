"""The picture of Dice against minutes: each run once, by its own name, and drawn where it belongs."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import frontier
from benchmarks.accuracy.frontier import Run


def test_runs_that_differ_have_records_that_differ() -> None:
    usual = Run("polyps", 256, 0.75, 10, 0, 400)
    others = [
        Run("wounds", 256, 0.75, 10, 0, 400),
        Run("polyps", 128, 0.75, 10, 0, 400),
        Run("polyps", 256, 0.0, 10, 0, 400),
        Run("polyps", 256, 0.75, 40, 0, 400),
        Run("polyps", 256, 0.75, 10, 1, 400),
        Run("polyps", 256, 0.75, 10, 0, 600),
        Run("polyps", 256, 0.75, 10, 0, 400, images=8),
    ]
    assert len({run.record for run in (usual, *others)}) == 1 + len(others)
    assert "--sizes 256 --growing 0.75" in usual.command


def test_a_panel_is_drawn_for_each_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[tuple[float, list[float], list[float]]] = []
    line = frontier._line

    def seen(panel: object, records: list[dict[str, float]], growing: float) -> None:
        shown.append((growing, [one["cpu_minutes"] for one in records], [one["dice"] for one in records]))
        line(panel, records, growing)

    monkeypatch.setattr(frontier, "_line", seen)
    monkeypatch.setattr(frontier, "PICTURE", tmp_path / "frontier.png")
    common = {"labels": 10, "seed": 0, "updates": 400}
    records = [
        {
            **common,
            "task": task,
            "size": size,
            "growing": growing,
            "cpu_minutes": size / 16,
            "dice": size / 512,
            "images": images,
        }
        for task in ("polyps", "wounds")
        for size, growing, images in ((128, 0.0, 16), (256, 0.0, 16), (256, 0.75, 16), (256, 0.75, 8))
    ]
    frontier.draw(records)
    # Batches of another size are another question.
    assert shown == 2 * [(0.0, [8.0, 16.0], [0.25, 0.5]), (0.5, [], []), (0.75, [16.0], [0.5])]
    assert (tmp_path / "frontier.png").stat().st_size > 5000


def test_nothing_is_drawn_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "PICTURE", tmp_path / "frontier.png")
    frontier.draw([])
    assert not (tmp_path / "frontier.png").exists()
