"""events.jsonl reads as if the run had never been interrupted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from genseg.runs import events
from genseg.runs.events import EventLog, read_events


def _write(folder: Path, first_update: int, steps: range) -> None:
    with EventLog(folder, first_update) as log:
        for step in steps:
            log.write("step", step, loss=1 / step, names={"a": 1})


def test_events_of_updates_made_again_are_dropped(tmp_path: Path) -> None:
    for name in ("whole", "resumed"):
        (tmp_path / name).mkdir()
    _write(tmp_path / "whole", 0, range(1, 7))
    _write(tmp_path / "resumed", 0, range(1, 6))
    _write(tmp_path / "resumed", 3, range(4, 7))
    whole, resumed = ((tmp_path / name / "events.jsonl").read_bytes() for name in ("whole", "resumed"))
    assert resumed == whole
    assert [event["step"] for event in read_events(tmp_path / "resumed")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.fault(30)
def test_a_line_cut_short_by_a_crash_and_what_follows_is_left_out(tmp_path: Path) -> None:
    _write(tmp_path, 0, range(1, 4))
    path = tmp_path / "events.jsonl"
    whole = path.read_bytes()
    for rest in (b"", b"\n" + whole):
        path.write_bytes(whole[:-9] + rest)
        assert [event["step"] for event in read_events(tmp_path)] == [1, 2]


@pytest.mark.fault(30)
def test_a_crash_while_the_record_is_opened_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, 0, range(1, 4))
    before = (tmp_path / "events.jsonl").read_bytes()

    def crash(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(events, "_open_board", crash)
    with pytest.raises(MemoryError):
        EventLog(tmp_path, 3)
    assert (tmp_path / "events.jsonl").read_bytes() == before


def test_without_tensorboard_the_record_is_kept_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    _write(tmp_path, 0, range(1, 3))
    lines = (tmp_path / "events.jsonl").read_text().splitlines()
    assert json.loads(lines[1]) == {"event": "step", "step": 2, "loss": 0.5, "names": {"a": 1}}
    assert not (tmp_path / "tensorboard").exists()


def test_a_folder_without_record_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []
