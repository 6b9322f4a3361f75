"""Printed tables cut nothing off and take file names literally."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from genseg.cli import tables
from genseg.config import IntensityRule, Plan
from genseg.errors import Fault, FaultCode
from genseg.evaluate import Estimate
from genseg.index import Index, index_dataset
from genseg.segmenters.registry import segmenters


def _printed(table: Table, width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def _cells(printed: str, column: int) -> str:
    """All text of one column, with the line breaks of folding taken out."""
    rows = [line.split("│")[1:-1] for line in printed.splitlines() if "│" in line]
    return "".join(row[column].strip() for row in rows)


def _fault(file: str) -> Fault:
    return Fault(FaultCode.EMPTY_FILE, file, "0 bytes", "an image", "Copy it again.")


def test_long_file_names_go_on_in_the_next_line() -> None:
    name = "images/" + "a_very_long_name_" * 12 + ".png"
    assert name in _cells(_printed(tables.faults_table([_fault(name)], "Faults")), 0)


def test_every_fault_is_shown_with_its_code_and_cure() -> None:
    faults = [Fault(FaultCode.EMPTY_FILE, f"{n}.png", f"{n} bytes", "x", "Copy it again.") for n in range(40)]
    printed = _printed(tables.faults_table(faults, "{} faults"), width=200)
    assert "40 faults" in printed
    assert all(f" {n}.png " in printed for n in range(40))
    assert printed.count("[empty-file]") == printed.count("Copy it again.") == 40


@pytest.mark.fault(102)
def test_one_cause_is_one_row() -> None:
    printed = _printed(tables.faults_table([_fault(f"{n}.png") for n in range(40)], "{} faults"), width=200)
    assert "1 faults" in printed
    assert "40 files (0.png, 1.png, 2.png, 3.png, 4.png and 35 more)" in printed


@pytest.mark.parametrize(("name", "shown"), [("[red]x[/]", "[red]x[/]"), ("a\nb", "a\\nb"), ("\x1b[31m", "\\x1b[31m")])
def test_file_names_are_never_taken_for_markup_or_control(name: str, shown: str) -> None:
    assert shown in _printed(tables.faults_table([_fault(name)], "Faults"), width=200)


@pytest.mark.parametrize(("every", "rows"), [(False, tables.SHOWN_PAIRS), (True, tables.SHOWN_PAIRS + 5)])
def test_pairs_are_shortened_only_unless_all_are_asked_for(
    every: bool, rows: int, monkeypatch: pytest.MonkeyPatch, rgb_phantoms_index: Index
) -> None:
    many = [(f"case{n}", "i", "m", "p", "train") for n in range(tables.SHOWN_PAIRS + 5)]
    monkeypatch.setattr(Index, "table", lambda _: many)
    printed = _printed(tables.pairs_table(rgb_phantoms_index, every))
    assert printed.count("case") == rows + 1  # one in the heading
    assert ("5 more" in printed) is not every


@pytest.fixture
def rgb_phantoms_index(rgb_phantoms: Path) -> Index:
    return index_dataset(rgb_phantoms)


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (Estimate(0.5, 0.25, 0.75, 4), "0.500 (0.250 to 0.750)"),
        (Estimate(0.5, None, None, 1), "0.500"),
        (Estimate(None, None, None, 0), "undefined"),
    ],
)
def test_a_mean_is_shown_with_its_interval_where_there_is_one(estimate: Estimate, shown: str) -> None:
    assert estimate.text() == shown


def test_every_segmenter_is_listed() -> None:
    printed = _printed(tables.networks_table("Segmenters", segmenters().values()), width=150)
    assert all(name in printed for name in segmenters())


def test_a_plan_is_shown_in_words_with_the_meaning_of_each_value() -> None:
    plan = Plan(
        rank=3,
        channels=2,
        class_names=("background", "head"),
        intensity=(
            IntensityRule(rule="window", low=-100, mean=40.25, channel="CT"),
            IntensityRule(rule="z-score", channel="[b]PET"),
        ),
        spacing=(1.0, 1.0, 2.5),
        patch_size=(32, 40, 32),
        segmenter="unet-small",
        batch_size=2,
        updates=600,
        learning_rate=0.002,
        augmentation="strong",
        flip_axes=(),
    )
    printed = _printed(tables.plan_table(plan), width=400)
    cells = (line.split("│")[1:] for line in printed.splitlines() if "│" in line)
    rows = {name.strip(): value.strip() for name, value, *_ in cells}
    assert set(rows) == set(Plan.model_fields)
    assert rows["class_names"] == "background, head"
    assert rows["intensity"] == ("channel 0 (CT): window -100 to 1, mean 40.25, std 1; channel 1 ([b]PET): z-score")
    assert (rows["patch_size"], rows["flip_axes"], rows["spacing"]) == ("32, 40, 32", "none", "1, 1, 2.5")
    assert "peak learning rate of AdamW" in printed
