"""`genseg train`: a model, and the word on whether generated pairs were of use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(run: Run, tiny_training: dict[str, Any], rgb_phantoms: Path, tmp_path: Path) -> Callable[..., str]:
    """Train with these arguments, in `tmp_path/run`; what was printed after the plan."""
    options = [word for name, value in tiny_training.items() for word in (f"--{name.replace('_', '-')}", value)]

    def train(*arguments: object, alone: bool = False) -> str:
        kept = options[:2] + options[-4:] if alone else options
        code, printed, error = run("train", rgb_phantoms, "-o", tmp_path / "run", *kept, *arguments)
        assert code == 0, error
        return printed[printed.index("The model is in") :]

    return train


def test_training_ends_with_the_comparison(train: Callable[..., str], tmp_path: Path) -> None:
    said = train().splitlines()
    kept = json.loads((tmp_path / "run" / "comparison" / "comparison.json").read_text())
    assert said[1].startswith("Now the same without generated pairs")
    assert said[2] == kept["verdict"]
    assert len(kept["cases"]) == 2  # those that the data set declares as val
    again = train("--resume").splitlines()
    assert again[2] == kept["verdict"]


@pytest.mark.parametrize(
    "arguments", [("--no-compare",), ("--arm", "strong-augmentation", "--updates", 2)], ids=["left out", "nothing to"]
)
def test_there_is_no_comparison(train: Callable[..., str], tmp_path: Path, arguments: tuple[object, ...]) -> None:
    said = train(*arguments, alone="--arm" in arguments)
    assert "generated pairs" not in said
    assert not (tmp_path / "run" / "comparison").exists()
