"""The table of generators."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
import torch

from genseg.errors import SettingsError
from genseg.generators.registry import DEFAULT_GENERATOR, GENERATORS, STYLE_SIZE, build_generator, generator_spec
from genseg.generators.style import style_shape


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
    for ask in (generator_spec, lambda name: build_generator(name, 2, 2, 3, True)):
        with pytest.raises(SettingsError, match=r"'tiny'.*small, medium, large"):
            ask("tiny")


def test_the_default_is_the_one_whose_summary_says_so() -> None:
    assert [name for name, spec in GENERATORS.items() if "the default" in spec.summary] == [DEFAULT_GENERATOR]
