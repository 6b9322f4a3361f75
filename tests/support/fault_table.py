"""A pytest plugin: which tests prove which row of the table of faults, and how they went.

`@pytest.mark.fault(3, 9)` on a test says that it proves rows 3 and 9 of `tests/faults/rows.json`;
`pytest -m fault --fault-table faults.md` passes these tests and writes the table.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

ROWS = Path(__file__).parents[1] / "faults" / "rows.json"
_PROPERTY = "fault"
_WORST_FIRST = ("failed", "passed", "skipped")


def read_rows() -> dict[int, dict[str, str]]:
    """Number -> `fault`, `proper` (behaviour) and, where not all of the row is proved, `left`."""
    return {int(number): row for number, row in json.loads(ROWS.read_text(encoding="utf-8")).items()}


class FaultTable:
    """Outcomes of the tests of each row, collected while the tests run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._outcomes: dict[int, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the outcome of a marked test; set-up and clearing up count only where they fail or skip."""
        rows = [number for name, numbers in report.user_properties if name == _PROPERTY for number in numbers]
        if report.when == "call" or not report.passed:
            for row in rows:
                self._outcomes[row][report.nodeid.partition("[")[0]].add(report.outcome)

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        lines = ["| row | problem | proper behaviour | tests | result |", "|---|---|---|---|---|"]
        for number, row in read_rows().items():
            tests = self._outcomes[number]
            named = "<br>".join(f"`{name}`" for name in tests)
            lines.append(f"| {number} | {row['fault']} | {row['proper']} | {named} | {_result(row, tests.values())} |")
        self.path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _result(row: dict[str, str], outcomes: Iterable[set[str]]) -> str:
    found = set().union(*outcomes)
    result = next((outcome for outcome in _WORST_FIRST if outcome in found), "not proved")
    return f"{result}; left: {row['left']}" if "left" in row else result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that asks for the table."""
    parser.addoption("--fault-table", type=Path, help="Markdown file for the table of faults and their tests")


def pytest_configure(config: pytest.Config) -> None:
    """Collect outcomes where the table is asked for; with several processes, in the one that gathers the reports."""
    path = config.getoption("--fault-table")
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(FaultTable(path))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note the rows with each test, so that its reports carry them."""
    for item in items:
        numbers = [number for mark in item.iter_markers("fault") for number in mark.args]
        if numbers:
            item.user_properties.append((_PROPERTY, numbers))
