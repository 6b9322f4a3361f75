"""The run's record: one JSON object a line in events.jsonl, and the same for TensorBoard where it is installed."""

from __future__ import annotations

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from genseg.base.files import atomic_write_bytes


class EventLog:
    """Appends events to `events.jsonl`; as a context manager it flushes and closes.

    A resumed run drops the events of updates that it makes again, so that the record reads as if never interrupted.
    """

    def __init__(self, folder: Path, first_update: int) -> None:
        self._path = folder / "events.jsonl"
        kept = [json.dumps(event) + "\n" for event in read_events(folder) if event["step"] <= first_update]
        atomic_write_bytes(self._path, "".join(kept).encode())
        self._board = _open_board(folder / "tensorboard", first_update)
        self._stream = self._path.open("a", encoding="utf-8", newline="\n")

    def write(self, event: str, step: int, **values: Any) -> None:
        """Record an event of an update."""
        self._stream.write(json.dumps({"event": event, "step": step, **values}) + "\n")
        self._stream.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, int | float):
                    self._board.add_scalar(f"{event}/{name}", value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        if self._board is not None:
            self._board.close()


def read_events(folder: Path) -> list[dict[str, Any]]:
    """Every whole event in the folder's record, oldest first; a last line cut short by a crash is left out."""
    path = folder / "events.jsonl"
    if not path.exists():
        return []
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            break
    return events


def _open_board(folder: Path, first_update: int) -> Any:
    """TensorBoard's writer, or None where the extra is not installed: the record itself is events.jsonl."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    purged = first_update + 1 if first_update else None
    return SummaryWriter(str(folder), purge_step=purged)
