"""The bars show how far the work is, on the error stream alone."""

from __future__ import annotations

import pytest

from genseg.cli.progress import progress_bars


def test_each_stage_has_a_bar_with_its_latest_words_on_the_error_stream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bars() as progress:
        progress("Reading", 3, 3)
        progress("Training, loss [b]9", 1, 40)
        progress("Training, loss [b]2", 40, 40)
        progress("Reading", 1, 5)
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 3
    assert "Reading" in lines[0]
    assert "3/3" in lines[0]
    assert "Training, loss [b]2" in lines[1]
    assert "40/40" in lines[1]
    assert "1/5" in lines[2]
