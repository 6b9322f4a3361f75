"""Results that are worth keeping, within a budget of memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Memo(Generic[Result]):
    """Keeps the results used last while they fit into `budget` bytes; `functools.lru_cache` counts entries instead."""

    def __init__(self, budget: int, size: Callable[[Result], int]) -> None:
        self._budget = budget
        self._size = size
        self._kept: OrderedDict[Hashable, Result] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """The result kept under `key`, else that of `make`, which is kept from now on."""
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                self._bytes += self._size(self._kept[key])
            self._kept.move_to_end(key)
            result = self._kept[key]
            while self._bytes > self._budget:
                self._bytes -= self._size(self._kept.popitem(last=False)[1])
        return result
