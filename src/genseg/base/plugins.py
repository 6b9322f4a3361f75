"""What other packages add to genseg: segmenters, generators and readers that they register."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from genseg.errors import SettingsError

GROUP = "genseg.plugins"
"""Entry points of this group name functions without arguments, which call `genseg.register_segmenter` and the like."""

_lock = threading.RLock()  # what a package registers may look names up itself
_loaded: set[EntryPoint] = set()


def load_plugins() -> None:
    """Let every installed package register what it adds: once, when a name or a file is first looked up.

    Raises SettingsError naming the entry point whose function fails.
    """
    with _lock:
        for entry in _installed():
            if entry not in _loaded:
                _loaded.add(entry)
                _register(entry)


def resolve(builder: str | Callable[..., Any]) -> Callable[..., Any]:
    """A function, or what "module:function" names, which is imported now."""
    if not isinstance(builder, str):
        return builder
    module, function = builder.split(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


@cache
def _installed() -> tuple[EntryPoint, ...]:
    """Every file that is read asks for them, and to find them the records of all installed packages are read."""
    return tuple(entry_points(group=GROUP))


def _register(entry: EntryPoint) -> None:
    try:
        entry.load()()
    except Exception as error:  # a stranger's code may raise anything
        _loaded.discard(entry)  # so that the next who asks is told too
        owner = "an installed package" if entry.dist is None else f"the package {entry.dist.name}"
        raise SettingsError(
            f"plugin {entry.name!r} of {owner} could not be loaded ({type(error).__name__}: {error}); "
            f"update that package or uninstall it"
        ) from error
