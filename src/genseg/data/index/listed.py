"""Paths that a list (a CSV file or a `dataset.json`) names: checked before anything is opened."""

from __future__ import annotations

from pathlib import Path

from genseg.data.index.description import stop_broken
from genseg.data.index.listing import is_inside, stop_outside, stop_unreadable
from genseg.data.index.record import Findings
from genseg.files import printable


def listed_path(text: str, place: str, source: Path, root: Path, findings: Findings, *, absolute: bool) -> Path | None:
    """The file or folder that `source` lists at `place` (for messages) as `text`, relative to `root`.

    The path must stay in `root`, except an absolute one where `absolute` allows these: a person named it on purpose.
    Backslashes count as separators where no file has that very name. None, with a fault, where there is nothing.
    """
    shown = f"{place} lists '{printable(Path(text))}'"
    try:
        path = next((p for p in (root / text, root / text.replace("\\", "/")) if p.exists()), None)
        if path is None:
            stop_broken(source, f"{shown}, which does not exist", "an existing file", findings)
        elif not (absolute and Path(text).is_absolute()) and not is_inside(path, root):
            stop_outside(path, findings)
            path = None
    except OSError as error:
        stop_unreadable(root / text, error, findings)
        return None
    return path
