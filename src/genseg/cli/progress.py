"""Progress bars, with time left, on the error stream: what a command prints can be piped all the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from genseg.base.files import printable
from genseg.base.progress import Progress


@contextmanager
def progress_bars() -> Iterator[Progress]:
    """Show a bar for each stage of the work while the body runs; yields the function that moves them on.

    What is being done is told as "Stage, a detail that may change"; a stage that begins anew gets a bar of its own.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        stages: dict[str, tuple[TaskID, int]] = {}

        def show(doing: str, done: int, total: int) -> None:
            doing = printable(doing)
            stage = doing.partition(",")[0]
            bar, before = stages.get(stage, (None, 0))
            if bar is None or done < before:
                bar = bars.add_task(doing)
            stages[stage] = bar, done
            bars.update(bar, description=doing, completed=done, total=total)

        yield show
