"""What other packages register."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import EntryPoint

import pytest

from genseg.base import plugins
from genseg.errors import SettingsError

called = []


def register() -> None:
    """What an entry point names."""
    called.append("once")


def fail() -> None:
    """An entry point of a package that is too old, say."""
    raise RuntimeError("no such function")


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Have a function of this file as the only entry point."""
    called.clear()
    monkeypatch.setattr(plugins, "_loaded", set())

    def make(function: Callable[[], None]) -> None:
        entry = EntryPoint("extra", "ignored:ignored", plugins.GROUP)
        monkeypatch.setattr(EntryPoint, "load", lambda _: function)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry] if group == plugins.GROUP else [])

    return make


def test_entry_points_are_called_once(install: Callable[[Callable[[], None]], None]) -> None:
    install(register)
    plugins.load_plugins()
    plugins.load_plugins()
    assert called == ["once"]


def test_one_that_fails_is_named(install: Callable[[Callable[[], None]], None]) -> None:
    install(fail)
    with pytest.raises(SettingsError, match=r"plugin 'extra'.*RuntimeError: no such function.*update"):
        plugins.load_plugins()
