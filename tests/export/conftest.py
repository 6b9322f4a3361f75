"""Runs of tiny networks, exported once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import genseg
from genseg.choices import Target
from genseg.config import Settings
from genseg.export.exporting import Exported


@pytest.fixture(scope="module")
def tiny_settings(tiny_training: dict[str, Any]) -> Settings:
    """Of a training that takes no time; while it is in use the small networks are of a few hundred weights."""
    return Settings(method="strong-augmentation", size=32, **{**tiny_training, "pretraining": None})


@pytest.fixture(scope="module")
def picture_run(rgb_phantoms: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run on `rgb_phantoms`. Read only."""
    return genseg.fit(rgb_phantoms, tmp_path_factory.mktemp("runs") / "picture", settings=tiny_settings).run


@pytest.fixture(scope="module")
def volume_run(volume_phantoms: Path, tiny_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run on `volume_phantoms`. Read only."""
    settings = tiny_settings.model_copy(update={"size": None})
    return genseg.fit(volume_phantoms, tmp_path_factory.mktemp("runs") / "volume", settings=settings).run


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(
    request: pytest.FixtureRequest, picture_run: Path, rgb_phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> Exported:
    """`picture_run` as an ONNX file, and as one for OpenVINO. Read only."""
    to: Target = request.param
    name = {"onnx": "model.onnx", "openvino": "model.xml"}[to]
    return genseg.export_model(picture_run, rgb_phantoms, to, tmp_path_factory.mktemp("exported") / name)
