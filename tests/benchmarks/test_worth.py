"""Few labels with generated pairs beside many without."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.accuracy.records import Cell
from benchmarks.accuracy.worth import labels_for, worth_table

Scores = dict[tuple[int, int], tuple[float, float]]


def _cell(labels: int, **ways: Scores) -> Cell:
    """Dice of the cases a and b, by way, draw and seed."""
    cell = Cell("one", "unet-small", labels)
    for way, scores in ways.items():
        for repeat, (a, b) in scores.items():
            record: dict[str, Any] = {"labels": labels, "dice": (a + b) / 2, "dice_by_case": {"a": a, "b": b}}
            cell.by_way[way.replace("_", "-")][repeat] = record
    return cell


def test_a_curve_is_read_in_the_logarithm_of_the_number_of_labels() -> None:
    assert labels_for(0.55, [10, 40], [0.5, 0.6]) == "20 labels"
    assert labels_for(0.65, [10, 40], [0.5, 0.6]) == "more than 40 labels"
    assert labels_for(0.45, [10, 40], [0.5, 0.6]) == "fewer than 10 labels"


def test_a_curve_that_falls_counts_as_flat() -> None:
    assert labels_for(0.6, [10, 20, 80], [0.5, 0.6, 0.55]) == "20 labels"
    assert labels_for(0.61, [10, 20, 80], [0.5, 0.6, 0.55]) == "more than 80 labels"


def test_few_labels_stand_beside_the_baseline_with_most() -> None:
    few = _cell(10, joint={(0, 0): (0.5, 0.6)}, strong_augmentation={(0, 0): (0.4, 0.6)})
    many = _cell(40, strong_augmentation={(0, 0): (0.52, 0.58)})
    table = worth_table([many, few], "joint")
    assert table is not None
    assert table.rows == (("one", "10", "0.550", "0.500 (10), 0.550 (40)", "+0.0 (-2.0 to +2.0)", "40 labels"),)


def test_each_number_of_labels_that_a_way_was_run_with_has_a_row() -> None:
    few = _cell(10, joint={(0, 0): (0.5, 0.6)}, strong_augmentation={(0, 0): (0.4, 0.6)})
    many = _cell(40, joint={(0, 0): (0.7, 0.8)}, strong_augmentation={(0, 0): (0.52, 0.58)})
    table = worth_table([few, many], "joint")
    assert table is not None
    assert [(row[1], row[2], row[-1]) for row in table.rows] == [
        ("10", "0.550", "40 labels"),
        ("40", "0.750", "more than 40 labels"),
    ]


def test_only_draws_and_seeds_that_all_of_a_row_has_count() -> None:
    few = _cell(10, joint={(0, 0): (0.5, 0.6), (1, 0): (0.1, 0.1)}, strong_augmentation={(0, 0): (0.4, 0.6)})
    many = _cell(40, strong_augmentation={(0, 0): (0.52, 0.58), (0, 1): (0.9, 0.9)})
    table = worth_table([few, many], "joint")
    assert table is not None
    assert table.rows[0][2:4] == ("0.550", "0.500 (10), 0.550 (40)")


@pytest.mark.parametrize("ways", [{}, {"joint": {(0, 1): (0.5, 0.6)}}])
def test_what_was_not_run_has_no_row(ways: dict[str, Scores]) -> None:
    few = _cell(10, strong_augmentation={(0, 0): (0.4, 0.6)}, **ways)
    assert worth_table([few, _cell(40, strong_augmentation={(0, 0): (0.5, 0.5)})], "joint") is None
