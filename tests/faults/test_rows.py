"""The table of faults is of the tests that there are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import fault_table
import pytest
from fault_table import FaultTable, read_rows


def _marked(tests: Path) -> Iterator[int]:
    """Row of every `pytest.mark.fault(...)` in the source of the tests."""
    for path in tests.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.fault":
                yield from (ast.literal_eval(argument) for argument in node.args)


def test_every_row_has_a_test_unless_all_of_it_is_left(repository: Path) -> None:
    rows = read_rows()
    assert list(rows) == [*range(1, 47), *range(55, 103)]
    assert set(_marked(repository / "tests")) == {n for n, row in rows.items() if row.get("left") != "all of it"}


def test_the_table_tells_how_the_tests_of_each_row_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_rows()
    monkeypatch.setattr(fault_table, "read_rows", lambda: rows | {14: {**rows[14], "left": "a part of it"}})
    table = FaultTable(tmp_path / "table.md")
    for row, outcome, name in ((1, "passed", "a[x]"), (1, "failed", "a[y]"), (2, "passed", "b"), (14, "skipped", "c")):
        table.pytest_runtest_logreport(
            pytest.TestReport(name, ("", 0, ""), {}, outcome, None, "call", user_properties=[("fault", [row])])
        )
    table.pytest_sessionfinish()
    lines = [line.split(" | ") for line in (tmp_path / "table.md").read_text().splitlines()]
    assert [(line[0], *line[3:]) for line in (lines[2], lines[3])] == [
        ("| 1", "`a`", "failed |"),
        ("| 2", "`b`", "passed |"),
    ]
    assert lines[15][4] == "skipped; left: a part of it |"
    assert lines[4][3:] == ["", "not proved |"]
