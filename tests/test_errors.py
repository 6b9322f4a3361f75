"""Codes of faults are stable, and the page that explains them is that of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from genseg import errors
from genseg.errors import DataError, Fault, FaultCode, GensegError

CODES = """
bad-affine bad-spacing channel-mismatch class-missing constant-image duplicate-image duplicate-name
empty-file empty-mask
geometry-mismatch image-without-mask inverted-by-tag layout-broken layout-unknown mask-not-integer mask-stray-values
mask-too-many-colours mask-without-image mixed-channels mixed-dimensions multi-page no-foreground not-finite
outside-folder rotated-by-tag saturated-image series-duplicate series-incomplete series-localizer series-mixed
series-orientation series-tilted single-slice size-mismatch split-leak too-few-cases too-large too-small
transparency-dropped undeclared-channels unexpected-label unknown-format unreadable unsupported-compression
unsupported-pixels wrong-suffix
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


def test_a_message_holds_every_part_of_every_fault() -> None:
    faults = [Fault(FaultCode.EMPTY_FILE, f"{n}.png", "0 bytes", "an image", "Copy it again.") for n in "ab"]
    assert str(DataError(faults)).splitlines() == [
        f"{n}.png: 0 bytes; expected an image. Copy it again. [empty-file]" for n in "ab"
    ]
