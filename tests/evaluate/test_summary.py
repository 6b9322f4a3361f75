from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genseg.evaluate.intervals import bootstrap_interval
from genseg.evaluate.metrics import CaseScores, SurfaceTolerance
from genseg.evaluate.summary import EvaluationSummary, summarise


def test_means_and_intervals(summary: EvaluationSummary) -> None:
    liver, tumour = summary.by_class
    assert (liver.name, tumour.name) == summary.class_names == ("liver", "tumour")
    assert liver.dice == bootstrap_interval([0.8, 0.9, 0.7, 1.0])
    assert tumour.iou.mean == pytest.approx(1.5 / 4)
    assert summary.overall.dice == bootstrap_interval([0.7, 0.45, 0.35, 1.0])
    assert summary.overall.surface_dice.mean == pytest.approx((0.85 + 0.45 + 0.45 + 1) / 4)


def test_undefined_distances_are_left_out_and_counted(summary: EvaluationSummary) -> None:
    liver, tumour = summary.by_class
    assert (liver.hd95.mean, liver.hd95.count, liver.hd95_undefined) == (1.5, 4, 0)
    assert (tumour.hd95.mean, tumour.hd95.count, tumour.hd95_undefined) == (2.0, 2, 2)
    assert (summary.overall.hd95.mean, summary.overall.hd95_undefined) == (1.5, 2)


def test_missed_invented_and_absent(summary: EvaluationSummary) -> None:
    counts = [(entry.missed, entry.invented, entry.absent) for entry in (*summary.by_class, summary.overall)]
    assert counts == [(0, 0, 1), (1, 1, 1), (1, 1, 1)]


@pytest.mark.fault(41)
def test_one_case_has_no_interval_and_no_distance_has_no_mean(cases: list[CaseScores]) -> None:
    overall = summarise(cases[1:2], ("background", "liver", "tumour"), {}).overall
    assert (overall.dice.mean, overall.dice.low, overall.dice.high) == (0.45, None, None)
    assert (overall.hd95.mean, overall.hd95.count, overall.hd95_undefined) == (None, 0, 1)


def test_json_round_trip(summary: EvaluationSummary, tmp_path: Path) -> None:
    summary.write_json(tmp_path / "evaluation.json")
    stored = json.loads((tmp_path / "evaluation.json").read_text(encoding="utf-8"))
    assert stored == json.loads(json.dumps(summary.to_json()))
    assert stored["dice"] == pytest.approx(np.mean([0.7, 0.45, 0.35, 1.0]))
    assert stored["dice_95"] == [summary.overall.dice.low, summary.overall.dice.high]
    assert stored["by_class"][1]["hd95_undefined"] == 2
    assert stored["cases"][3]["hd95_mm"] is None
    assert stored["provenance"] == {"model": "unet", "seed": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["evaluation.json"]


def test_json_that_no_reader_would_take_is_not_written(cases: list[CaseScores], tmp_path: Path) -> None:
    summary = summarise(cases, ("background", "liver", "tumour"), {"loss": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        summary.write_json(tmp_path / "evaluation.json")
    assert list(tmp_path.iterdir()) == []


def test_csv_has_a_row_per_case_and_class(summary: EvaluationSummary, tmp_path: Path) -> None:
    summary.write_csv(tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["case"], row["class"]) for row in rows] == [(c, k) for c in "abcd" for k in ("liver", "tumour")]
    assert [row["hd95_mm"] for row in rows] == ["2.0", "4.0", "1.0", "", "3.0", "", "0.0", "0.0"]
    assert (rows[3]["truth_voxels"], rows[3]["predicted_voxels"]) == ("20", "0")


def test_a_name_with_separators_survives_the_csv(cases: list[CaseScores], tmp_path: Path) -> None:
    name = 'a "b", c\nd é'
    summarise([replace(cases[0], name=name)], ("background", "liver", "tumour"), {}).write_csv(tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["case"] == name.replace("\n", "\\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cases: cases[:0], "at least one case"),
        (lambda cases: [*cases, cases[0]], "twice"),
        (lambda cases: [replace(case, dice=(0.5,)) for case in cases], "classes"),
        (lambda cases: [*cases[1:], replace(cases[0], tolerance=SurfaceTolerance(2.0, "mm"))], "tolerance"),
    ],
)
def test_cases_that_do_not_belong_together(
    cases: list[CaseScores], change: Callable[[list[CaseScores]], list[CaseScores]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        summarise(change(cases), ("background", "liver", "tumour"), {})
