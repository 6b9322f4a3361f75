"""What the tests of the evidence share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import OutOfMemoryError, Tensor

from genseg.segmenters.loss import segmentation_loss
from genseg.synthetic.phantoms import write_phantoms


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures of 32 px that train or judge, and two for testing. Read only."""
    return write_phantoms(tmp_path_factory.mktemp("scans") / "scans", "rgb", 8, size=32)


@pytest.fixture(scope="session")
def without_memory_for() -> Callable[[int], Callable[[Tensor, Tensor], Tensor]]:
    """The segmenter's loss where there is no memory for so many real images an update."""

    def make(images: int) -> Callable[[Tensor, Tensor], Tensor]:
        def loss(logits: Tensor, mask: Tensor) -> Tensor:
            if len(logits) >= images:
                raise OutOfMemoryError
            return segmentation_loss(logits, mask)

        return loss

    return make
