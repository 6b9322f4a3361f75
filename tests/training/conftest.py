"""What the tests of training share: a tiny network, a plan for it, and cases made of noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from genseg.config import Plan
from genseg.data.preprocess import Geometry, Prepared
from genseg.segmenters import unet
from genseg.training.device import Machine, choose_machine
from genseg.training.run_folder import RunFolder


@pytest.fixture
def machine() -> Machine:
    """The processor, in float32."""
    return choose_machine("cpu", "float32")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """An empty run folder."""
    return RunFolder(tmp_path)


@pytest.fixture
def _tiny_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make unet-small a network of two levels and a few hundred weights."""
    monkeypatch.setattr(unet, "SMALL", {2: [4, 8], 3: [4, 8]})


@pytest.fixture
def make_plan(plan_of: Callable[..., Plan]) -> Callable[..., Plan]:
    """A plan for RGB pictures of 16 px (volumes of 1 mm) and two classes: `make_plan(updates=9, ...)`."""

    def make(**changes: Any) -> Plan:
        usual = {"channels": 3, "updates": 8, "learning_rate": 1e-2, "augmentation": "strong", "flip_axes": (0, 1)}
        return plan_of(**{"rank": 2, **usual, **changes})

    return make


@pytest.fixture
def make_case() -> Callable[..., Prepared]:
    """A prepared case of noise with a box of object: `make_case(3, spatial=(16, 16), box=slice(4, 12))`."""

    def make(
        number: int, spatial: tuple[int, ...] = (16, 16), box: slice = slice(4, 12), channels: int = 3
    ) -> Prepared:
        noise = np.random.default_rng(number)
        mask = np.zeros(spatial, np.uint8)
        mask[(box,) * len(spatial)] = 1
        image = noise.normal(size=(channels, *spatial)).astype(np.float32) + mask
        geometry = Geometry(None, spatial, spatial)
        return Prepared(f"case{number}", image, mask, geometry, np.flatnonzero(mask))

    return make
