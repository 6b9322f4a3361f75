"""Small masks in which every distance is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Scene = Callable[..., NDArray[np.uint8]]


@pytest.fixture(scope="session")
def scene() -> Scene:
    """Build a mask: `scene(2, shift=1)`. A ball of class 1 with a smaller one of class 2 that overlaps it, and a speck
    of class 1 apart; 32 px in 2D, 20 in 3D, moved by `shift` pixels along the first axis."""

    def build(rank: int, shift: float = 0) -> NDArray[np.uint8]:
        size = {2: 32, 3: 20}[rank]
        middle = np.full(rank, size / 2 - 1.5)
        middle[0] += shift
        mask = np.zeros((size,) * rank, dtype=np.uint8)
        places = np.moveaxis(np.indices(mask.shape), 0, -1)
        mask[np.linalg.norm(places - middle, axis=-1) <= size / 4.2] = 1
        mask[np.linalg.norm(places - middle - size / 8, axis=-1) <= size / 7] = 2
        mask[np.linalg.norm(places - middle + size / 3.6, axis=-1) <= 1.5] = 1
        return mask

    return build
