"""Where benchmarks find data and keep results."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

TASKS = ("polyp_cvc_clinicdb", "foot_ulcer_fuseg", "skin_isic2017", "breast_us_busi")
"""The data sets of pictures that choices are made on."""

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def data_root() -> Path:
    """Folder of real data sets: GENSEG_DATA, or `../shared/data` beside the project."""
    return Path(os.environ.get("GENSEG_DATA", ROOT.parent / "shared" / "data"))


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record as JSON, whole or not at all."""
    from genseg.base.files import atomic_write_bytes  # here, for some benchmarks time how long imports take

    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, (json.dumps(record, indent=1) + "\n").encode())
