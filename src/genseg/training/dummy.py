"""Made-up cases, to try a plan on before there is anything to train on."""

from __future__ import annotations

import numpy as np

from genseg.config import Plan
from genseg.prepare.preprocess import Geometry, Prepared


def made_up_cases(count: int, plan: Plan) -> list[Prepared]:
    """Cases of noise, of one patch each, with one block of every class side by side."""
    mask = np.zeros(plan.patch_size, np.uint8)
    inner = mask[tuple(slice(size // 4, size * 3 // 4) for size in plan.patch_size)]
    for index, rows in enumerate(np.array_split(inner, plan.classes - 1), 1):
        rows[:] = index
    geometry = Geometry(None, plan.patch_size, plan.patch_size)
    return [
        Prepared(f"dummy {number}", _noise(number, plan), mask, geometry, np.flatnonzero(mask))
        for number in range(count)
    ]


def _noise(number: int, plan: Plan) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(number).normal(size=(plan.channels, *plan.patch_size)).astype(np.float32)
