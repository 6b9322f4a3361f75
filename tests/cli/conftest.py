"""Running the command line inside the test's own process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from genseg.cli import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Function that runs the command line with the arguments given; returns exit code, output, error output."""
    monkeypatch.setenv("COLUMNS", "600")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["genseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            main()
        code = stop.value.code
        printed = capsys.readouterr()
        return (code if isinstance(code, int) else 0), printed.out, printed.err

    return run
