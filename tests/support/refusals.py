"""Data that neither check nor training takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.robustness.dicom_files import PATIENT


def assert_refused(run: Callable[..., tuple[int, str, str]], data: Path, out: Path, *parts: str) -> None:
    """Both verbs stop with all these words, without a traceback or a patient's name, and write nothing."""
    for verb in ("check", "train"):
        code, _, message = run(verb, data, "-o", out)
        assert code == 2
        assert [part for part in parts if part not in message] == []
        assert "Traceback" not in message
        assert PATIENT not in message
        assert not out.exists()
