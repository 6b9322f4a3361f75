"""How long work tells whoever watches how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a few words on what is being done, the steps done and the steps in all: a bar, a log line or nothing."""


def silent(doing: str, done: int, total: int) -> None:
    """Show nothing."""
