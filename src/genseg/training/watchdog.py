"""A training that hangs says so, and where: a drive that no longer answers, a GPU that has stopped."""

from __future__ import annotations

import faulthandler
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 900.0
"""Seconds without an update until it is said that nothing happens: the slowest updates and validations take less."""


@contextmanager
def watchdog(report: Path, tell: Callable[[str], None], patience: float = PATIENCE) -> Iterator[Callable[[], None]]:
    """Within, the yielded function is to be called whenever something was done.

    Where it is not called for `patience` seconds, what every thread is doing is written into `report`, and `tell` is
    called with a sentence, from another thread. Nothing is stopped: a slow drive may come back.
    """
    said = f"No progress for {patience / 60:.0f} minutes; stack traces written to {report}"
    timer = threading.Timer(patience, tell, [said])
    report.unlink(missing_ok=True)
    with report.open("x", encoding="utf-8") as stream:

        def something_was_done() -> None:
            nonlocal timer
            timer.cancel()
            # In place of the last; by a thread that needs no lock of Python's, for one that hangs may hold it.
            faulthandler.dump_traceback_later(patience, file=stream)
            timer = threading.Timer(patience, tell, [said])
            timer.daemon = True
            timer.start()

        try:
            something_was_done()
            yield something_was_done
        finally:
            faulthandler.cancel_dump_traceback_later()
            timer.cancel()
            if not report.stat().st_size:
                report.unlink()
