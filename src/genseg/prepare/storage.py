"""Prepared cases for training: in memory while they fit, else in files that are read patch by patch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.base.free_memory import memory_budget
from genseg.config import Plan
from genseg.prepare.preprocess import Prepared, prepare
from genseg.read.case import Case


def prepare_all(cases: Iterable[Case], plan: Plan, cache: Path, budget: int | None = None) -> list[Prepared]:
    """Prepare every case once.

    cache: folder for what does not fit into memory; made only when needed. budget: bytes of prepared pixels to keep
    in memory, a quarter of what the machine has where None. Beyond it, pixels are memory-mapped files, so that a patch
    costs the reading of that patch.
    """
    free = memory_budget() if budget is None else budget
    prepared = []
    for number, case in enumerate(cases):
        one = prepare(case, plan)
        if one.nbytes <= free:
            free -= one.nbytes
        else:
            one = _to_files(one, cache, number)
        prepared.append(one)
    return prepared


def _to_files(one: Prepared, cache: Path, number: int) -> Prepared:
    cache.mkdir(parents=True, exist_ok=True)
    image = _mapped(one.image, cache / f"{number:05d}-image.npy")
    mask = None if one.mask is None else _mapped(one.mask, cache / f"{number:05d}-mask.npy")
    return replace(one, image=image, mask=mask)


def _mapped(pixels: NDArray[Any], path: Path) -> NDArray[Any]:
    np.save(path, pixels, allow_pickle=False)
    # Copy on write rather than read only: torch warns of arrays that it may not write to.
    mapped: NDArray[Any] = np.load(path, mmap_mode="c", allow_pickle=False)
    return mapped
