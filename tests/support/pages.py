"""Runs the blocks of a page of the docs as a reader would, one after the other; only less is drawn and trained.

Commands of genseg run within the process, so that torch is imported once; all else runs in bash or Python as it
stands. A block that cannot run here says so in its first line, such as `# needs a network`; see `REASONS`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from registrations import registrations_end

from genseg.cli import main

REASONS = (
    "needs a GPU",
    "needs a network",
    "needs a cluster",
    "needs a folder of images without masks",
    "runs until Ctrl-C",
)
SMALLER = (
    (r"--cases \d+", "--cases 10"),
    (r"--(updates|pretraining) \d+", r"--\1 2"),
    (r"--size \d+", "--size 32 --batch-size 8"),
    (r"--segmenter readout", r"\g<0> --size 32 --batch-size 8"),
    (r"--kind volume --cases 10", "--kind volume --cases 6 --size 20"),
    (r"genseg plan scans", r"\g<0> --segmenter unet-small"),
    (r"genseg train volumes", r"\g<0> --segmenter unet-small"),
    (r"genseg train undeclared --folds 2", r"\g<0> --no-compare"),
    (r"(genseg curve .*) --counts [\d,]+", r"\1 --segmenter unet-small --counts 1,2,3"),
    (r"phantom_\d+", "phantom_009"),
)


class Page:
    """A page of the docs whose blocks run in a folder."""

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8")
        for pattern, replacement in SMALLER:
            text = re.sub(pattern, replacement, text)
        self.blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)

    def run(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Run every block that can run here. Fails with the command and what it printed."""
        with pytest.MonkeyPatch.context() as patch, registrations_end():
            patch.chdir(folder)
            patch.setattr("genseg.training.trainer.VALIDATIONS", 1)
            for language, code in self.blocks:
                if not _is_skipped(code):
                    _run_python(code) if language == "python" else _run_shell(code, patch, capsys)


def _is_skipped(code: str) -> bool:
    first = code.partition("\n")[0]
    return first.startswith("# ") and first[2:].startswith(REASONS)


def _run_python(code: str) -> None:
    exec(compile(code, "a block of the page", "exec"), {"__name__": "__page__"})


def _run_shell(code: str, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for command in _commands(code):
        words = shlex.split(command, comments=True)
        if words[:1] == ["genseg"]:
            patch.setattr(sys, "argv", words)
            with pytest.raises(SystemExit) as stop:
                main()
            code_of_exit, printed = stop.value.code, "".join(capsys.readouterr())
        else:
            done = subprocess.run(["bash", "-euc", command], capture_output=True, text=True)
            code_of_exit, printed = done.returncode, done.stdout + done.stderr
        assert code_of_exit in (0, None), f"{command}\n{printed}"


def _commands(code: str) -> Iterator[str]:
    """The commands of a block, a line each, continued lines joined."""
    lines = code.replace("\\\n", " ").splitlines()
    yield from (line for line in lines if line.strip() and not line.startswith("#"))
