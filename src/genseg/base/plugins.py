"""What other packages add to genseg: segmenters, generators and readers that they register."""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol, TypeVar

from genseg.errors import SettingsError, unknown

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


class Registered(Protocol):
    """What a table of networks knows of each: its name, and the spatial ranks that it can work in."""

    @property
    def name(self) -> str: ...

    @property
    def ranks(self) -> tuple[int, ...]: ...


_Spec = TypeVar("_Spec", bound=Registered)


def check_registration(kind: str, name: str, ranks: tuple[int, ...], own: Container[str]) -> None:
    """Raise SettingsError for the name of one of genseg's `own`, or ranks other than 2 and 3. kind: "segmenter"."""
    if name in own:
        raise SettingsError(f"{kind}: {name!r} is one of genseg's own; register yours under another name")
    if not ranks or not set(ranks) <= {2, 3}:
        raise SettingsError(f"{kind} {name!r}: ranks are 2, 3 or both, not {ranks}")


def find_registered(kind: str, known: Mapping[str, _Spec], name: str, rank: int) -> _Spec:
    """The entry called `name`. Raises SettingsError for an unknown name or a rank (2 or 3) that it cannot work in."""
    suitable = [spec.name for spec in known.values() if rank in spec.ranks]
    if name not in known:
        raise SettingsError(unknown(kind, name, suitable))
    if rank not in known[name].ranks:
        raise SettingsError(f"{kind} {name!r} does not support {rank}D data; choose from {', '.join(suitable)}")
    return known[name]


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
