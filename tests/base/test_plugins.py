"""What other packages register."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Have functions of this file as the only entry points."""
    called.clear()
    plugins._installed.cache_clear()
    monkeypatch.setattr(plugins, "_loaded", set())

    def make(*functions: Callable[[], None]) -> None:
        found = [EntryPoint("extra", f"{__name__}:{function.__name__}", plugins.GROUP) for function in functions]
        by_value = {entry.value: function for entry, function in zip(found, functions, strict=True)}
        monkeypatch.setattr(EntryPoint, "load", lambda entry: by_value[entry.value])
        monkeypatch.setattr(plugins, "entry_points", lambda group: found if group == plugins.GROUP else [])

    yield make
    plugins._installed.cache_clear()


def test_entry_points_are_called_once(install: Callable[..., None]) -> None:
    install(register)
    plugins.load_plugins()
    plugins.load_plugins()
    assert called == ["once"]


def test_one_that_fails_is_named(install: Callable[..., None]) -> None:
    install(fail)
    with pytest.raises(SettingsError, match=r"plugin 'extra'.*RuntimeError: no such function.*update"):
        plugins.load_plugins()
    with pytest.raises(SettingsError, match=r"plugin 'extra'"):
        plugins.load_plugins()


def look_up() -> None:
    """An entry point that looks names up while it registers."""
    plugins.load_plugins()
    called.append("looked up")


def test_two_packages_may_choose_one_name_and_look_names_up(install: Callable[..., None]) -> None:
    install(look_up, register)
    plugins.load_plugins()
    assert sorted(called) == ["looked up", "once"]
