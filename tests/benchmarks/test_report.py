"""What the kept records are made to say: means, paired differences, and nothing about what was not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.accuracy import report
from benchmarks.accuracy.records import Cell, difference, mean_dice, read_cells
from benchmarks.accuracy.suite import Run, Suite

SUITE = Suite.model_validate(
    {
        "name": "made-up",
        "tasks": {"one": {"rank": 2, "also": ["far"]}, "two": {"rank": 3, "labels": [5]}},
        "labels": [10, 20],
        "seeds": [0, 1],
        "segmenters": ["unet-small", "unet-pretrained"],
        "ways": ["strong-augmentation", "separate", "joint"],
        "compared": [["joint", "strong-augmentation"]],
    }
)


def _keep(run: Run, dice: dict[str, float], **more: Any) -> None:
    mean = sum(dice.values()) / len(dice)
    effort = {"updates": 7, "images_per_update": 4, "seconds": 90, "peak_memory_mib": 100, "device": "cpu"}
    record = {"labels": run.labels, "dice": mean, "dice_by_case": dice, **effort, **more}
    run.record().write_text(json.dumps(record))


def _run(way: Any, seed: int = 0, task: str = "one", labels: int = 10) -> Run:
    return Run(task, way, "unet-small", labels, seed)


def test_a_suite_lists_what_its_segmenters_can_do_seed_by_seed() -> None:
    runs = list(SUITE.runs())
    assert [run.seed for run in runs] == sorted(run.seed for run in runs)
    assert {run.segmenter for run in runs if run.task == "two"} == {"unet-small"}
    assert {run.labels for run in runs if run.task == "two"} == {5}
    assert len(runs) == len({run.name for run in runs}) == 2 * (2 * 2 * 3 + 3)


@pytest.mark.usefixtures("results")
def test_differences_are_paired_by_case_over_the_seeds_that_both_have() -> None:
    _keep(_run("strong-augmentation", 0), {"a": 0.5, "b": 0.6, "c": 0.7})
    _keep(_run("strong-augmentation", 1), {"a": 0.1, "b": 0.1, "c": 0.1})
    _keep(_run("joint", 0), {"c": 0.73, "a": 0.52, "b": 0.61})
    (cell,) = read_cells(SUITE)
    found = difference([cell], "joint", "strong-augmentation")
    assert found is not None
    assert found.difference == pytest.approx(0.02)
    assert found.low == pytest.approx(0.01)
    assert found.high == pytest.approx(0.03)
    assert mean_dice([cell], "strong-augmentation") == pytest.approx((0.6 + 0.1) / 2)
    assert difference([cell], "separate", "joint") is None
    assert mean_dice([cell], "separate") is None


@pytest.mark.usefixtures("results")
def test_every_task_counts_alike() -> None:
    _keep(_run("strong-augmentation"), dict.fromkeys("abcdefgh", 0.5))
    _keep(_run("joint"), dict.fromkeys("abcdefgh", 0.6))
    _keep(_run("strong-augmentation", task="two", labels=5), dict.fromkeys("ab", 0.5))
    _keep(_run("joint", task="two", labels=5), dict.fromkeys("ab", 0.4))
    found = difference(read_cells(SUITE), "joint", "strong-augmentation")
    assert found is not None
    assert found.difference == pytest.approx(0.0)


@pytest.mark.usefixtures("results")
def test_tasks_come_in_the_order_of_the_suite_whichever_draws_they_have() -> None:
    two = SUITE.tasks["two"].model_copy(update={"draws": (0,)})
    suite = SUITE.model_copy(update={"draws": (0, 1), "tasks": {"one": SUITE.tasks["one"], "two": two}})
    for run in (_run("joint"), _run("joint", task="two", labels=5)):
        _keep(run, {"a": 0.5, "b": 0.6})
    assert [cell.task for cell in read_cells(suite)] == ["one", "two"]


@pytest.mark.usefixtures("results")
def test_tables_show_dashes_and_over_how_many_tasks() -> None:
    _keep(_run("strong-augmentation"), {"a": 0.5, "b": 0.6})
    _keep(_run("strong-augmentation", task="two", labels=5), {"a": 0.5, "b": 0.6})
    _keep(_run("joint"), {"a": 0.52, "b": 0.63})
    table = report.ways_table(SUITE, read_cells(SUITE), "made up")
    assert "separate" not in table.columns
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    gain = "joint - strong-augmentation"
    assert [row["joint"] for row in rows] == ["0.575 (1)", "-", "-"]
    assert [row[gain] for row in rows] == ["+2.5 (+2.0 to +3.0)", "-", "+2.5 (+2.0 to +3.0), p < 0.001, 1 tasks"]
    assert rows[2]["strong-augmentation"] == "0.550"
    assert table.markdown().splitlines()[1] == "| " + " | ".join(["---"] * len(table.columns)) + " |"


@pytest.mark.usefixtures("results")
def test_the_best_other_way_is_sought_where_joint_was_run() -> None:
    _keep(_run("strong-augmentation"), {"a": 0.5, "b": 0.6})
    _keep(_run("strong-augmentation", task="two", labels=5), {"a": 0.5, "b": 0.6})
    _keep(_run("separate"), {"a": 0.51, "b": 0.61})
    _keep(_run("joint"), {"a": 0.53, "b": 0.64})
    table = report.ways_table(SUITE, read_cells(SUITE), "made up")
    shown = [dict(zip(table.columns, row, strict=True))["joint - best other"] for row in table.rows]
    assert shown == ["+2.5 (+2.0 to +3.0)", "-", "+2.5 (+2.0 to +3.0), p < 0.001, 1 tasks"]


@pytest.mark.usefixtures("results")
def test_other_places_are_told_where_they_were_scored() -> None:
    far = {"dice": 0.3, "dice_by_case": {"x": 0.2, "y": 0.4}}
    _keep(_run("strong-augmentation"), {"a": 0.5, "b": 0.6}, elsewhere={"far": far})
    _keep(_run("joint"), {"a": 0.5, "b": 0.6})
    titles = {table.title: table for table in report.tables_of(SUITE)}
    table = titles["unet-small, 10 labels, scored in another place"]
    assert table.rows == (("one on far", "0.300 (1)"),)
    cell = read_cells(SUITE)[0].elsewhere("far")
    assert cell.records("joint") == []


@pytest.mark.usefixtures("results")
def test_development_cases_are_those_that_all_runs_share() -> None:
    one = {"dice": 0.5, "dice_by_case": {"x": 0.6, "y": 0.8, "z": 0.1}}
    other = {"dice": 0.5, "dice_by_case": {"w": 0.1, "y": 0.9, "x": 0.8}}
    _keep(_run("strong-augmentation"), {"a": 0.5}, development=one)
    _keep(_run("joint"), {"a": 0.5}, development=other)
    _keep(_run("separate"), {"a": 0.5}, development=None)
    (table,) = report.development_tables(SUITE)
    assert table.title == "unet-small, 10 labels, development cases"
    (row,) = (dict(zip(table.columns, row, strict=True)) for row in table.rows)
    assert (row["strong-augmentation"], row["joint"]) == ("0.700 (1)", "0.850 (1)")
    assert row["joint - strong-augmentation"].startswith("+15.0")
    assert "separate" not in row


@pytest.mark.usefixtures("results")
def test_runs_that_share_no_development_case_are_left_out() -> None:
    _keep(_run("strong-augmentation"), {"a": 0.5}, development={"dice": 0.5, "dice_by_case": {"x": 0.5}})
    _keep(_run("joint"), {"a": 0.5}, development={"dice": 0.5, "dice_by_case": {"y": 0.5}})
    assert report.development_tables(SUITE) == []


@pytest.mark.usefixtures("results")
def test_a_report_has_tables_and_a_curve_for_several_numbers_of_labels(tmp_path: Path) -> None:
    for labels in (10, 20):
        _keep(_run("joint", labels=labels), {"a": 0.5, "b": 0.4 + labels / 100})
    report.write_report(SUITE, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["made-up-unet-small.png", "report.html", "report.md"]
    html = (tmp_path / "out" / "report.html").read_text()
    assert "unet-small, 20 labels" in html
    assert '<img src="made-up-unet-small.png"' in html


@pytest.mark.parametrize("name", ["README.md", "docs/results.md"])
def test_the_pages_hold_what_the_records_say(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kept, page = (repository / name).read_text(encoding="utf-8"), tmp_path / "page.md"
    before, _, marked = kept.partition(": begin -->")
    page.write_text(f"{before}: begin -->{marked.replace(' | ', ' | altered ', 9)}", encoding="utf-8")
    monkeypatch.setattr(report, "PAGES", [page])
    report.write_pages()
    assert page.read_text(encoding="utf-8") == kept


@pytest.mark.usefixtures("results")
def test_the_headline_has_a_dash_for_what_was_not_run() -> None:
    for labels in (10, 20):
        _keep(_run("strong-augmentation", labels=labels), {"a": 0.5, "b": 0.6})
    _keep(_run("joint", labels=20), {"a": 0.53, "b": 0.64})
    cells = read_cells(SUITE)
    rows = report.headline_table([], [cell for cell in cells if cell.asked == 20]).rows
    assert rows[0] == ("one", "-", "-", "0.55 → 0.58", "+3.5 (+3.0 to +4.0)")
    assert report.headline_table([cell for cell in cells if cell.asked == 10], []).rows == (("**mean**", *"----"),)


def test_a_cell_knows_how_many_labels_there_were() -> None:
    cell = Cell("one", "unet-small", 40)
    cell.by_way["joint"][0, 0] = {"labels": 39}
    assert cell.labels == 39
