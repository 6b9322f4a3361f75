"""Codes of faults are stable, and the page that explains them is that of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from genseg import errors
from genseg.errors import DataError, Fault, FaultCode, GensegError, merge_faults

CODES = """
bad-affine bad-spacing channel-mismatch class-missing constant-image duplicate-image duplicate-name
empty-file empty-mask
geometry-mismatch image-without-mask inverted-by-tag layout-broken layout-unknown mask-not-integer mask-stray-values
mask-too-many-colours mask-without-image mixed-channels mixed-dimensions multi-page no-foreground not-finite
outside-folder rotated-by-tag saturated-image series-duplicate series-incomplete series-localizer series-mixed
series-orientation series-tilted single-slice size-mismatch split-leak too-few-cases too-large too-small
transparency-dropped undeclared-channels unexpected-label unknown-format unreadable unsupported-compression
unsupported-pixels wrong-suffix
ignore-label instance-ids outline-mask palette-mismatch segment-names too-many-classes
"""


def test_no_code_is_ever_taken_away_or_renamed() -> None:
    assert set(CODES.split()) <= set(FaultCode)


def test_every_code_of_the_source_is_used(repository: Path) -> None:
    used = {
        name
        for path in (repository / "src").rglob("*.py")
        for name in re.findall(r"FaultCode\.(\w+)", path.read_text())
    }
    assert used == set(FaultCode.__members__)


@pytest.mark.parametrize("code", FaultCode)
def test_every_code_has_a_meaning_and_a_cure_that_fit_into_a_table(code: FaultCode) -> None:
    for text in (code.meaning, code.cure):
        assert re.fullmatch(r"[^|\n]{5,90}[^|\n.]", text)


def test_the_page_of_errors_is_that_of_the_code(repository: Path) -> None:
    reference = repository / "docs" / "reference"
    written = runpy.run_path(str(reference / "make_errors_page.py"))["page"]()
    assert (reference / "errors.md").read_text(encoding="utf-8") == written, "run docs/reference/make_errors_page.py"
    assert all(f"| {number} |" in written for number in (0, 2, 4, 130))


def test_every_error_of_the_tree_is_drawn() -> None:
    drawn = re.findall(r"(\w+Error) ", errors.__doc__ or "")
    made = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, GensegError)}
    assert sorted(drawn) == sorted(made)


def fault(file: str, found: str = "0 bytes") -> Fault:
    return Fault(FaultCode.EMPTY_FILE, file, found, "an image", "Copy it again.")


def test_a_message_holds_every_part_of_every_fault() -> None:
    assert str(DataError([fault("a.png"), fault("b.png", "1 byte")])).splitlines() == [
        "a.png: 0 bytes; expected an image. Copy it again. [empty-file]",
        "b.png: 1 byte; expected an image. Copy it again. [empty-file]",
    ]


@pytest.mark.fault(102)
def test_one_cause_is_one_line_and_a_program_still_gets_every_file() -> None:
    error = DataError([fault(f"/data/images/{n:02d}.png") for n in range(85)])
    assert len(error.faults) == 85
    assert str(error) == (
        "85 files in /data/images (00.png, 01.png, 02.png, 03.png, 04.png and 80 more): 0 bytes; "
        "expected an image. Copy it again. [empty-file]"
    )


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["/d/a/1.png", "/d/b/1.png"], "2 files in /d (a/1.png, b/1.png)"),
        (["/d/1.png", "/d/1.png"], "/d/1.png"),
        (["case_1", "case_2"], "2 files (case_1, case_2)"),
        (["/a/1.png", "/b/1.png"], "2 files (/a/1.png, /b/1.png)"),
        (["/a/1.png", "1.png"], "2 files (/a/1.png, 1.png)"),
        (["images/a.png", "images/b.png"], "2 files in images (a.png, b.png)"),
    ],
)
def test_files_of_one_cause_are_counted_and_named(files: list[str], shown: str) -> None:
    (merged,) = merge_faults(map(fault, files))
    assert merged == fault(shown)


def test_faults_that_differ_in_more_than_the_file_are_not_merged() -> None:
    warning = Fault(FaultCode.EMPTY_FILE, "c.png", "0 bytes", "an image", "Copy it again.", stops=False)
    faults = [fault("a.png"), warning, fault("b.png", "1 byte")]
    assert merge_faults(faults) == faults
