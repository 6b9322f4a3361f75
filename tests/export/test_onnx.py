"""An ONNX file is the network that it was made from, for images of any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from genseg.config import Plan
from genseg.export.onnx import LEAST, write_onnx
from genseg.predict.runtimes import OnnxNetwork
from genseg.segmenters import unet
from genseg.segmenters.network import Response
from genseg.segmenters.registry import build_segmenter, segmenters
from genseg.segmenters.torch_network import TorchNetwork

SIZES = {2: ((1, 64, 64), (1, 33, 47), (2, 50, 35), (3, LEAST, LEAST)), 3: ((1, 16, 16, 16), (2, 19, LEAST, 13))}
CASES = [(spec.name, rank) for spec in segmenters().values() for rank in spec.ranks if spec.any_size]


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SMALL", "LARGE"):
        monkeypatch.setattr(unet, name, {2: [4, 4, 6, 6, 8], 3: [4, 4, 6, 6, 8]})


def _agree(one: Response, other: Response) -> None:
    assert other.logits == pytest.approx(one.logits, abs=1e-4)
    for own, theirs in zip(one.features, other.features, strict=True):
        assert theirs == pytest.approx(own, abs=1e-4)


@pytest.mark.parametrize(("name", "rank"), CASES)
def test_images_of_any_size_give_the_network_s_own_values(
    name: str, rank: int, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    segmenter = build_segmenter(name, rank, 3, 2).eval()
    changes = {} if rank == 2 else {"rank": 3, "spacing": (1.0, 1.0, 1.0), "patch_size": (16, 16, 16)}
    write_onnx(segmenter, make_plan(segmenter=name, **changes), "", tmp_path / "m.onnx")
    original, exported = TorchNetwork(segmenter, torch.device("cpu")), OnnxNetwork(tmp_path / "m.onnx", 1)
    assert not exported.is_fixed
    for count, *spatial in SIZES[rank]:
        image = np.random.default_rng(0).normal(size=(count, 3, *spatial)).astype(np.float32)
        _agree(original(image), exported(image))


def test_the_padding_is_left_to_the_convolutions(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    import onnx

    segmenter = build_segmenter("unet-pretrained", 2, 3, 2).eval()
    write_onnx(segmenter, make_plan(segmenter="unet-pretrained"), "", tmp_path / "m.onnx")
    operators = {node.op_type for node in onnx.load(tmp_path / "m.onnx").graph.node}
    assert "Conv" in operators
    assert not operators & {"Pad", "BatchNormalization"}
