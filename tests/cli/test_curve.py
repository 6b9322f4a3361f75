"""`genseg curve`: its options reach the work, and the answer is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genseg
from genseg.config import Settings
from genseg.evidence.learning_curve import CurvePoint, LearningCurve
from genseg.evidence.power_law import PowerLaw

Run = Callable[..., tuple[int, str, str]]


def test_curve_says_what_was_measured_and_what_is_needed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = (CurvePoint(4, 0.5, 0.4, 0.6), CurvePoint(8, 0.6, 0.55, 0.65), CurvePoint(16, 0.7, 0.65, 0.75))
    found = LearningCurve(points, PowerLaw(0.9, 0.8, 0.5), 20, 0.03, 24.0, 22.5, 60.0, np.zeros((3, 2)))
    asked: list[Any] = []

    def curve(*arguments: Any, **named: Any) -> LearningCurve:
        asked.extend([*arguments, named.pop("progress") and named])
        return found

    monkeypatch.setattr(genseg, "curve", curve, raising=False)
    code, out, _ = run("curve", "scans", "-o", tmp_path, "--counts", "4, 8,16", "--points", 3, "--updates", 7)
    assert code == 0
    assert asked == [Path("scans"), tmp_path, {"settings": Settings(updates=7), "counts": [4, 8, 16], "gain": 0.03}]
    assert "0.600 (0.550 to 0.650)" in out
    assert f"{found.verdict}\n" in out
    assert "3 more points would take about 4 more labels (95 %: 3 to 40)" in found.verdict


def test_counts_that_are_no_numbers_are_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("curve", tmp_path, "-o", tmp_path / "out", "--counts", "4,many")
    assert code == 2
    assert "counts: '4,many' found; expected positive whole numbers" in err
