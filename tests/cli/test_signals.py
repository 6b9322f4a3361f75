"""SIGTERM and a closed terminal end every verb as Ctrl-C does: exit code 130, and everything whole."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from csv_rows import read_rows

from genseg.base.progress import Progress
from genseg.cli import verbs
from genseg.synthetic import phantoms

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Put back how this process takes signals."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _send_at(monkeypatch: pytest.MonkeyPatch, number: signal.Signals, step: int) -> None:
    """Send this process a signal when a verb tells of its progress for the `step`th time."""

    @contextmanager
    def bars() -> Iterator[Progress]:
        calls = iter(range(1, 1000))
        yield lambda *_: os.kill(os.getpid(), number) if next(calls) == step else None

    monkeypatch.setattr(verbs, "progress_bars", bars)


@pytest.mark.fault(70)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_predictions_that_are_stopped_are_whole(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    _send_at(monkeypatch, number, 3)
    code, _, errors = run("predict", rgb_run, rgb_phantoms / "images", "-o", tmp_path / "out")
    assert (code, "Traceback" in errors) == (130, False)
    masks = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert [row["mask"] for row in read_rows(tmp_path / "out" / "predictions.csv")] == masks
    assert masks == [f"phantom_{place:03d}.png" for place in range(3)]
    assert not list((tmp_path / "out").glob("predicting.*"))


@pytest.mark.fault(70)
@pytest.mark.parametrize("verb", ["check", "plan", "evaluate", "curve"])
def test_a_verb_that_is_stopped_leaves_nothing_half_written(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    _send_at(monkeypatch, signal.SIGTERM, 2)
    model = [rgb_run] if verb == "evaluate" else []
    code, _, errors = run(verb, *model, rgb_phantoms, "-o", tmp_path / "out")
    assert (code, "Traceback" in errors) == (130, False)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.fault(70)
def test_phantoms_that_are_stopped_leave_nothing(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phantoms, "make_phantom", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    assert run("phantom", tmp_path / "a" / "set")[0] == 130
    assert not list(tmp_path.iterdir())


def test_a_signal_that_is_ignored_stays_so(run: Run) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    assert run("--version")[0] == 0
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
