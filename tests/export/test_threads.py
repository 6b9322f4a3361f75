"""One model, used by several threads at once, gives each of them what a single thread gets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import genseg
from genseg.choices import Precision, Target
from genseg.export.bundle import open_bundle
from genseg.models.model import Model
from genseg.segmenters.network import Ensemble

THREADS = 8
EXPORTS: dict[str, tuple[Target, Precision]] = {
    "onnx": ("onnx", "float32"),
    "openvino": ("openvino", "float32"),
    "openvino-bfloat16": ("openvino", "bfloat16"),
    "openvino-int8": ("openvino", "int8"),
    "bundle": ("bundle", "float32"),
}
Picture = NDArray[np.uint8]


def _pictures(count: int) -> list[Picture]:
    """Blots of many sizes on RGB pictures of many sizes."""
    pictures = []
    for number in range(count):
        draw = np.random.default_rng(number)
        rows, columns = draw.integers(24, 72, 2)
        picture = draw.integers(0, 90, (3, rows, columns)).astype(np.uint8)
        picture[:, 4 : 8 + number % 12, 6 : 14 + number % 9] += 140
        pictures.append(picture)
    return pictures


def _said(model: Model, picture: Picture) -> tuple[bytes, bytes, float | None, float | None]:
    found = model.examine(picture)
    return found.mask.tobytes(), found.confidence.tobytes(), found.expected_dice, found.ood_score


def _agree(model: Model, count: int = 24) -> None:
    pictures = _pictures(count)
    alone = [_said(model, picture) for picture in pictures]
    assert len(set(alone)) == count
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(lambda picture: _said(model, picture), pictures))
    assert [one == other for one, other in zip(alone, together, strict=True)] == [True] * count


@pytest.fixture
def torch_model(picture_run: Path) -> Model:
    return genseg.load(picture_run, device="cpu")


@pytest.mark.fault(68)
def test_a_pytorch_model_serves_several_threads(torch_model: Model) -> None:
    _agree(torch_model)


@pytest.mark.fault(68)
def test_models_made_from_one_another_serve_several_threads(torch_model: Model) -> None:
    """They share the network's modules."""
    pictures, models = _pictures(48), [torch_model, torch_model.without_mirroring()] * 24
    alone = [_said(model, picture) for model, picture in zip(models, pictures, strict=True)]
    with ThreadPoolExecutor(THREADS) as pool:
        assert list(pool.map(_said, models, pictures)) == alone


@pytest.mark.fault(68)
def test_an_ensemble_serves_several_threads(torch_model: Model) -> None:
    _agree(replace(torch_model, network=Ensemble([torch_model.network] * 2)))


@pytest.mark.fault(68)
def test_models_are_loaded_by_several_threads(picture_run: Path) -> None:
    picture = _pictures(1)[0]
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: genseg.load(picture_run, device="cpu"), range(8)))
    assert len({_said(model, picture) for model in models}) == 1


@pytest.mark.fault(67)
@pytest.mark.parametrize("name", EXPORTS)
def test_an_exported_model_serves_several_threads(
    name: str, picture_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    to, precision = EXPORTS[name]
    made = genseg.export_model(
        picture_run,
        rgb_phantoms,
        to,
        tmp_path / {"onnx": "m.onnx", "openvino": "m.xml", "bundle": "b"}[to],
        precision=precision,
    )
    _agree(open_bundle(made.path) if to == "bundle" else genseg.load(made.path))
