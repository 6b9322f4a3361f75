"""What the tests of the evidence share."""

from __future__ import annotations

from pathlib import Path

import pytest

from genseg.data.phantoms import write_phantoms


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of 32 px that train or judge, and two for testing. Read only."""
    return write_phantoms(tmp_path_factory.mktemp("scans") / "scans", "rgb", 8, size=32)
