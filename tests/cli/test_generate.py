"""`genseg generate`: its options reach the work, and what came of it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import genseg
from genseg.synthetic.generate import Generated

Run = Callable[..., tuple[int, str, str]]


MARKED = "{} near-copies of training images were {}."
MISSING = "3 pairs are missing: too many images were near-copies."


@pytest.mark.parametrize(
    ("copies", "written", "marked", "said"),
    [
        ("leave-out", 7, 0, []),
        ("leave-out", 7, 2, [MARKED.format(2, "left out")]),
        ("keep", 7, 2, [MARKED.format(2, "kept, and marked in pairs.csv")]),
        ("leave-out", 4, 31, [MARKED.format(31, "left out"), MISSING]),
    ],
)
def test_generate_says_what_was_written_and_what_left_out(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: str, written: int, marked: int, said: list[str]
) -> None:
    asked: list[Any] = []

    def generate(*arguments: Any, **named: Any) -> Generated:
        asked.extend([*arguments, named.pop("progress") and named])
        return Generated(tmp_path / "set", written, marked)

    monkeypatch.setattr(genseg, "generate", generate, raising=False)
    out = tmp_path / "set"
    code, printed, _ = run("generate", "a-run", "-n", 7, "-o", out, "--seed", 3, "--copies", copies, "--device", "cpu")
    assert code == 0
    assert printed.splitlines() == [f"{written} pairs saved to {out}.", *said]
    assert asked == [Path("a-run"), out, 7, 3, {"copies": copies, "device": "cpu"}]


def test_generate_of_a_folder_that_is_no_run_is_refused(run: Run, tmp_path: Path) -> None:
    code, _, err = run("generate", tmp_path, "-o", tmp_path / "set")
    assert code == 2
    assert "not a run folder" in err
    assert not (tmp_path / "set").exists()
