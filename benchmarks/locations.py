"""Where benchmarks find data and keep results."""

from __future__ import annotations

import os
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def data_root() -> Path:
    """Folder of real data sets: GENSEG_DATA, or `../shared/data` beside the project."""
    return Path(os.environ.get("GENSEG_DATA", Path(__file__).parents[2] / "shared" / "data"))
