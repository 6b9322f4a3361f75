"""What the tests of prediction share: models without training, for it is not their skill that is tested."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from genseg.config import Plan
from genseg.examine.cases import LoadOptions
from genseg.labels import LabelMap
from genseg.models.model import Model
from genseg.segmenters.torch_network import TorchNetwork
from genseg.segmenters.unet import UNet
from genseg.trust.trust import UNTESTED

SHA256 = "0" * 64


@pytest.fixture
def make_model(tmp_path: Path, plan_of: Callable[..., Plan]) -> Callable[..., Model]:
    """An untrained model of two levels: `make_model(channels=1, options=..., ...)`; it finds every class somewhere."""

    def make(options: LoadOptions | None = None, channel_files: bool = False, **changes: Any) -> Model:
        rank = changes.get("rank", 2)
        usual = {
            "rank": rank,
            "channels": 3,
            "class_names": ("background", "organ", "vessel"),
            "intensity": {"rule": "eight-bit" if rank == 2 else "z-score"},
            "spacing": None if rank == 2 else (1.0, 1.0, 1.2),
        }
        plan = plan_of(**{**usual, **changes})
        torch.manual_seed(2)
        segmenter = UNet(rank, plan.channels, plan.classes, [4, 8])
        torch.nn.init.normal_(segmenter.head.weight)
        torch.nn.init.zeros_(segmenter.head.bias)
        labels = LabelMap(plan.class_names, {index: index for index in range(plan.classes)})
        network = TorchNetwork(segmenter, torch.device("cpu"))
        return Model(
            plan, labels, tmp_path / "run", network, options or LoadOptions(), channel_files, "plain", UNTESTED, SHA256
        )

    return make


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """Write a picture of noise: `write_picture(path, (24, 20), "RGB")`."""

    def write(path: Path, size: tuple[int, int] = (24, 20), mode: str = "RGB") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = (*size, 3) if mode == "RGB" else size
        pixels = np.random.default_rng(len(path.name)).integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels.astype(np.uint16) * 257 if mode == "16-bit" else pixels).save(path)
        return path

    return write
