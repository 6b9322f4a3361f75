"""What other packages add to genseg: segmenters, generators and readers that they register."""

from __future__ import annotations

import threading
from importlib.metadata import EntryPoint, entry_points

from genseg.errors import SettingsError

GROUP = "genseg.plugins"
"""Entry points of this group name functions without arguments, which call `genseg.register_segmenter` and the like."""

_lock = threading.Lock()
_loaded: set[str] = set()


def load_plugins() -> None:
    """Let every installed package register what it adds: once, when a name or a file is first looked up.

    Raises SettingsError naming the entry point whose function fails.
    """
    with _lock:
        for entry in entry_points(group=GROUP):
            if entry.name not in _loaded:
                _register(entry)
                _loaded.add(entry.name)


def _register(entry: EntryPoint) -> None:
    try:
        entry.load()()
    except Exception as error:  # a stranger's code may raise anything
        owner = "an installed package" if entry.dist is None else f"the package {entry.dist.name}"
        raise SettingsError(
            f"plugin {entry.name!r} of {owner} could not be loaded ({type(error).__name__}: {error}); "
            f"update that package or uninstall it"
        ) from error
