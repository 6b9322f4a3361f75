"""Tables, as Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from genseg.evaluate import PairedDifference


@dataclass(frozen=True)
class Table:
    """A table with its heading."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The rows under their columns, without the heading."""
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def show_difference(found: PairedDifference | None) -> str:
    """A difference of Dice in points with its interval; a dash where there is none."""
    if found is None or found.difference is None or found.low is None or found.high is None:
        return "-"
    return f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
