"""How long work tells whoever watches how far it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from genseg.errors import DataError, Fault

Item = TypeVar("Item")
Result = TypeVar("Result")

Progress = Callable[[str, int, int], None]
"""Called with a few words on what is being done, the steps done and the steps in all: a bar, a log line or nothing."""


def silent(doing: str, done: int, total: int) -> None:
    """Show nothing."""


def work_through(doing: str, items: Sequence[Item], work: Callable[[Item], Result], progress: Progress) -> list[Result]:
    """What `work` makes of each item, in order.

    doing: what progress is told. Every item is tried; raises DataError with the faults of all that failed.
    """
    results: list[Result] = []
    faults: list[Fault] = []
    for number, item in enumerate(items, 1):
        try:
            results.append(work(item))
        except DataError as error:
            faults += error.faults
        progress(doing, number, len(items))
    if faults:
        raise DataError(faults)
    return results
