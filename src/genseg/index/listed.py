"""Paths that a list (a CSV file or a `dataset.json`) names: checked before anything is opened."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import listed
from genseg.index.description import stop_broken
from genseg.index.findings import Findings
from genseg.index.listing import is_inside, stop_outside, stop_unreadable


@dataclass
class ListedPaths:
    """The paths of one list. source: the list's file. root: folder that its paths are relative to.

    absolute: whether a path may be absolute and lie outside of `root`; then a person named it on purpose.
    """

    source: Path
    root: Path
    findings: Findings
    absolute: bool
    missing: list[str] = field(default_factory=list)

    def find(self, text: str, place: str) -> Path | None:
        """The file or folder that is listed as `text` at `place` (for messages); None, with a fault, if it cannot be.

        What does not exist becomes a fault only when `stop_missing` is called, one for all.
        """
        try:
            path = existing(text, self.root)
            if path is None:
                self.missing.append(f"{place} lists '{printable(Path(text))}'")
            elif not (self.absolute and Path(text).is_absolute()) and not is_inside(path, self.root):
                stop_outside(path, self.findings)
                return None
        except OSError as error:
            stop_unreadable(self.root / text, error, self.findings)
            return None
        return path

    def stop_missing(self) -> None:
        """Add one fault for all paths that do not exist."""
        if len(self.missing) == 1:
            stop_broken(self.source, f"{self.missing[0]}, which does not exist", "an existing file", self.findings)
        elif self.missing:
            found = f"{len(self.missing)} listed files that do not exist: {listed(self.missing)}"
            expected = f"existing files, by their paths from {printable(self.root)}"
            stop_broken(self.source, found, expected, self.findings)


def existing(text: str, root: Path) -> Path | None:
    """The path that a list means by `text`; None where there is nothing. Raises OSError for a path that is too long.

    Backslashes count as separators where no file has that very name, and both ways to encode an accented letter as one.
    """
    return next((path for path in _readings(text, root) if path.exists()), None)


def _readings(text: str, root: Path) -> Iterator[Path]:
    for spelled in (text, text.replace("\\", "/")):
        yield root / spelled
        yield from (root / unicodedata.normalize(form, spelled) for form in ("NFC", "NFD"))
