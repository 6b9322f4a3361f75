"""The bytes of tensors that are alive, counted as operations make them and as they go."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


class LiveBytes(TorchDispatchMode):
    """While it is entered, every operation's results are counted from when they are there to when nothing needs them.

    Storages are counted, each once, however many views there are of it. It is made for tensors that have a shape and
    no memory (`torch._subclasses.FakeTensorMode`): what depends on their values is taken to be 1.

    now, peak: bytes that are alive, and the most that were.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now: int = 0
        self.peak: int = 0
        self._counted = WeakIdKeyDictionary()

    def hold(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were made before."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage not in self._counted:
                size = self._counted[storage] = storage.nbytes()
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._release, size)

    def _release(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count what it makes."""
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].is_floating_point() else 1
        if func is torch.ops.aten.nonzero.default:
            # Which images a random change chooses: a quarter of them, as changes do on the mean.
            return torch.zeros(-(-args[0].numel() // 4), args[0].ndim, dtype=torch.int64)
        made = func(*args, **(kwargs or {}))
        self.hold(one for one in tree_leaves(made) if isinstance(one, Tensor))
        return made
