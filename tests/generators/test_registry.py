"""The table of generators."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import genseg
from genseg.errors import RunError, SettingsError
from genseg.generators.registry import (
    DEFAULT_GENERATOR,
    GENERATORS,
    STYLE_SIZE,
    build_generator,
    generator_spec,
    restore_generator,
)
from genseg.generators.style import style_shape
from genseg.generators.unet import MaskToImage

pytestmark = pytest.mark.usefixtures("_registrations_end")


def test_the_registry_imports_no_torch() -> None:
    code = "import sys, genseg.generators.registry; print({'torch', 'monai', 'numpy'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(("name", "millions"), [("small", 2), ("medium", 8), ("large", 50)])
def test_parameters_are_as_many_as_the_summary_says(name: str, millions: int, rank: int) -> None:
    with torch.device("meta"):
        generator = build_generator(name, rank, 2, 3 if rank == 2 else 1, bounded=True)
    count = sum(parameter.numel() for parameter in generator.parameters()) / 1e6
    pattern = r"([\d.]+) M in 3D" if rank == 3 else r"([\d.]+) M parameters"
    assert re.findall(pattern, GENERATORS[name].summary) == [f"{count:.0f}" if count > 20 else f"{count:.1f}"]
    assert count == pytest.approx(millions, rel=0.07)


@pytest.mark.parametrize(("rank", "bounded"), [(2, True), (3, False)])
def test_a_built_generator_makes_images(rank: int, bounded: bool) -> None:
    generator = build_generator("small", rank, 4, 2, bounded)
    with torch.inference_mode():
        image = generator(torch.rand(1, 4, *(17,) * rank), torch.randn(1, *style_shape(rank, 4, STYLE_SIZE)))
    assert image.shape == (1, 2, *(17,) * rank)
    assert generator.bounded == [bounded] * 2


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    for ask in (lambda name: generator_spec(name, 2), lambda name: build_generator(name, 2, 2, 3, True)):
        with pytest.raises(SettingsError, match=r"'tiny'.*small, medium, large"):
            ask("tiny")


def test_the_default_is_the_one_whose_summary_says_so() -> None:
    assert [name for name, spec in GENERATORS.items() if "the default" in spec.summary] == [DEFAULT_GENERATOR]


class TwoConvolutions(nn.Module):
    """A small generator that keeps the contract."""

    def __init__(self, rank: int, classes: int, channels: int, style_size: int) -> None:
        super().__init__()
        assert rank == 2
        first = nn.Conv2d(classes + style_size, 6, 3, padding=1)
        self.layers = nn.Sequential(first, nn.SiLU(), nn.Conv2d(6, channels, 3, padding=1))

    def forward(self, mask: Tensor, style: Tensor) -> Tensor:
        return self.layers(torch.cat([mask, style], 1))


def test_feedback_reaches_a_registered_generator_and_the_run_makes_pairs_with_it(
    rgb_phantoms: Path, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    genseg.register_generator("two-convolutions", TwoConvolutions, summary="for this test")
    settings = genseg.Settings(**{**tiny_training, "updates": 9, "method": "joint", "generator": "two-convolutions"})
    genseg.fit(rgb_phantoms, tmp_path / "run", settings=settings)
    records = [json.loads(line) for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    feedbacks = [record for record in records if record["event"] == "feedback"]
    assert feedbacks
    assert all(record["weights_norm"] > 0 for record in feedbacks)
    assert not any(record["event"] == "generator-off" for record in records)
    made = genseg.generate(tmp_path / "run", tmp_path / "pairs", 2, copies="keep")
    assert len(list((made.folder / "images").iterdir())) == 2


def test_a_run_says_that_its_generator_is_not_registered_here() -> None:
    genseg.register_generator("two-convolutions", TwoConvolutions, summary="")
    description = build_generator("two-convolutions", 2, 2, 3, True).describe()
    assert restore_generator(json.loads(json.dumps(description))).describe() == description
    description["registered"] = "gone"
    with pytest.raises(RunError, match=r"'gone': registered when this run was trained, unknown here"):
        restore_generator(description)


@pytest.mark.parametrize("bounded", [True, False])
def test_a_registered_generator_is_bounded_as_images_are(bounded: bool) -> None:
    genseg.register_generator("steep", lambda *_: _Steep(), summary="")
    image = build_generator("steep", 2, 2, 1, bounded)(torch.ones(1, 2, 8, 8), _style())
    assert image.max() == (1 if bounded else 100)


class _Steep(nn.Module):
    def forward(self, mask: Tensor, style: Tensor) -> Tensor:
        assert style.shape == (1, STYLE_SIZE, 8, 8)
        return 100 * mask[:, :1]


def test_an_image_of_another_shape_is_refused_with_both_shapes() -> None:
    genseg.register_generator("steep", lambda *_: _Steep(), summary="")
    with pytest.raises(SettingsError, match=r"'steep': image of shape \(1, 1, 8, 8\) found; expected \(1, 3, 8, 8\)"):
        build_generator("steep", 2, 2, 3, True)(torch.ones(1, 2, 8, 8), _style())


def _style() -> Tensor:
    return torch.zeros(1, *style_shape(2, 2, STYLE_SIZE))


def test_genseg_own_generators_have_a_u_net_behind_them() -> None:
    assert isinstance(restore_generator(build_generator("small", 2, 2, 3, True).describe()), MaskToImage)


@pytest.mark.parametrize(("name", "ranks"), [("small", (2,)), ("own", (4,)), ("own", ())])
def test_own_names_and_other_ranks_are_refused(name: str, ranks: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match=f"{name}'"):
        genseg.register_generator(name, TwoConvolutions, summary="", ranks=ranks)


def test_a_rank_that_a_generator_cannot_work_in_is_refused_with_the_choices() -> None:
    genseg.register_generator("flat", TwoConvolutions, summary="")
    with pytest.raises(SettingsError, match=r"'flat' does not support 3D.*small, medium, large"):
        generator_spec("flat", 3)
