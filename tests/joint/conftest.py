"""What the tests of the joint loop share."""

from __future__ import annotations

import pytest

from genseg.joint import guards


@pytest.fixture(autouse=True)
def _no_judgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generator of three updates is of no use yet; `monkeypatch.undo()` lets it be judged."""
    monkeypatch.setattr(guards, "check_health", lambda *_: None)
