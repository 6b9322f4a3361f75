"""What the tests of run folders share."""

from __future__ import annotations

from pathlib import Path

import pytest

from genseg.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder(tmp_path)
