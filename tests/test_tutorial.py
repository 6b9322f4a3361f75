"""The tutorial's commands work as they stand there, one after the other; only less is drawn and trained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

SMALLER = (
    (r"--cases \d+", "--cases 10"),
    (r"--(updates|pretraining) \d+", r"--\1 4"),
    (r"phantom_\d+", "phantom_009"),
)
EXPECTED = (
    "checked/contact-sheet.png",
    "plan.yaml",
    "runs/first/curves.png",
    "masks/phantom_009.png",
    "masks/overlays/phantom_009.png",
    "evaluation/report.html",
    "evaluation/scores.csv",
    "evaluation-of-volumes/report.html",
)


def _blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of each fenced block of a page, made smaller."""
    text = page.read_text(encoding="utf-8")
    for pattern, replacement in SMALLER:
        text = re.sub(pattern, replacement, text)
    return re.findall(r"^```(bash|python)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def test_every_block_of_the_tutorial_runs(repository: Path, tmp_path: Path) -> None:
    shells = {"bash": ["bash", "-euc"], "python": [sys.executable, "-W", "error", "-c"]}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    blocks = _blocks(repository / "docs" / "tutorial.md")
    assert len(blocks) > 5
    for language, code in blocks:
        done = subprocess.run(
            [*shells[language], code], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{code}\n{done.stdout}\n{done.stderr}"
    assert [name for name in EXPECTED if not (tmp_path / name).is_file()] == []
