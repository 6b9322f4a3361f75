"""The commands of the tutorial and of the how-to guides work as they stand there; only less is drawn and trained."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from pages import REASONS, Page

REPOSITORY = Path(__file__).resolve().parents[1]
GUIDES = sorted((REPOSITORY / "docs" / "how-to").glob("*.md"))
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


@pytest.fixture
def tutorial(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> Path:
    """Folder in which the tutorial was run, once for all processes of a test run."""
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder = shared / "tutorial"
    with FileLock(shared / "tutorial.lock"):
        if not (shared / "tutorial.done").exists():
            request.getfixturevalue("pictures_of_trainings")
            folder.mkdir()
            page = Page(REPOSITORY / "docs" / "tutorial.md")
            assert len(page.blocks) > 5
            page.run(folder, capsys)
            (shared / "tutorial.done").touch()
    return folder


def test_every_block_of_the_tutorial_runs(tutorial: Path) -> None:
    assert [name for name in EXPECTED if not (tutorial / name).is_file()] == []


@pytest.fixture
def after_tutorial(tutorial: Path, tmp_path: Path) -> Path:
    """A folder as the tutorial leaves it, for one guide."""
    return Path(shutil.copytree(tutorial, tmp_path / "guide"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_every_block_of_a_guide_runs_after_the_tutorial(
    guide: Path, after_tutorial: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Page(guide).run(after_tutorial, capsys)


def test_a_block_that_fails_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    for code in ("genseg check nowhere\n", "false\n", f"# {REASONS[0]}\nfalse\n"):
        page.write_text(f"```bash\n{code}```\n", encoding="utf-8")
        if code.startswith("#"):
            Page(page).run(tmp_path, capsys)
        else:
            with pytest.raises(AssertionError, match=code.strip()):
                Page(page).run(tmp_path, capsys)
