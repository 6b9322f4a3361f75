"""What the tests of the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.accuracy import suite


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are kept in an empty folder."""
    monkeypatch.setattr(suite, "RESULTS", tmp_path)
    (tmp_path / "runs").mkdir()
