"""The table of segmenters."""

from __future__ import annotations

import subprocess
import sys

import pytest

from genseg.errors import SettingsError
from genseg.segmenters.registry import SEGMENTERS, build_segmenter, default_segmenter, segmenter_spec


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
    assert "the default" in SEGMENTERS[name].summary
    assert segmenter_spec(name, rank) is SEGMENTERS[name]
