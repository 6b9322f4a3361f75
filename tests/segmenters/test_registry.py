"""The table of segmenters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import genseg
from genseg.errors import SettingsError
from genseg.segmenters.registry import build_segmenter, default_segmenter, segmenter_spec, segmenters

pytestmark = pytest.mark.usefixtures("_registrations_end")


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, genseg.segmenters.registry; print({'torch', 'monai', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("ask", [segmenter_spec, lambda name, rank: build_segmenter(name, rank, 1, 2)])
def test_an_unknown_name_is_refused_with_the_choices(ask: object) -> None:
    with pytest.raises(SettingsError, match=r"unknown segmenter 'unet-tiny'.*unet-small.*swin-unet") as caught:
        ask("unet-tiny", 3)
    assert "unet-pretrained" not in str(caught.value)


def test_a_rank_that_a_segmenter_cannot_work_in_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingsError, match=r"'unet-pretrained' does not support 3D.*unet-small"):
        segmenter_spec("unet-pretrained", 3)


@pytest.mark.parametrize(("rank", "name"), [(2, "unet-pretrained"), (3, "unet-small")])
def test_defaults_are_those_that_the_summaries_name(rank: int, name: str) -> None:
    assert default_segmenter(rank) == name
    assert "the default" in segmenters()[name].summary
    assert segmenter_spec(name, rank) is segmenters()[name]


class OneConvolution(nn.Module):
    """The smallest segmenter that keeps the contract."""

    def __init__(self, rank: int, channels: int, classes: int) -> None:
        super().__init__()
        assert rank == 2
        self.layer = nn.Conv2d(channels, classes, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return self.layer(image)

    def with_features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        logits = self.layer(image)
        return logits, [logits]


def test_a_registered_segmenter_trains_and_is_loaded_by_its_name(
    rgb_phantoms: Path, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    genseg.register_segmenter("one-convolution", OneConvolution, summary="for this test")
    settings = genseg.Settings(**{**tiny_training, "segmenter": "one-convolution"})
    genseg.fit(rgb_phantoms, tmp_path / "run", settings=settings)
    mask = genseg.load(tmp_path / "run").predict(np.zeros((20, 24, 3)[::-1], np.uint8))
    assert mask.shape == (24, 20)


def test_a_builder_may_be_named_instead_of_imported() -> None:
    genseg.register_segmenter("named", "genseg.segmenters.unet:build_small_unet", summary="", ranks=(3,))
    assert build_segmenter("named", 3, 1, 2)(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)
    with pytest.raises(SettingsError, match="does not support 2D"):
        segmenter_spec("named", 2)


def test_a_network_without_features_is_refused() -> None:
    genseg.register_segmenter("bare", lambda *_: nn.Conv2d(1, 2, 1), summary="")
    with pytest.raises(SettingsError, match=r"'bare'.*with_features"):
        build_segmenter("bare", 2, 1, 2)


@pytest.mark.parametrize(("name", "ranks"), [("unet-small", (2,)), ("own", (4,)), ("own", ())])
def test_own_names_and_other_ranks_are_refused(name: str, ranks: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=f"{name}'"):
        genseg.register_segmenter(name, OneConvolution, summary="", ranks=ranks)
