"""`genseg train`: a model, and the word on whether generated pairs were of use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import genseg
from genseg.errors import SettingsError
from genseg.synthetic.phantoms import write_phantoms

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def train(run: Run, tiny_training: dict[str, Any], rgb_phantoms: Path, tmp_path: Path) -> Callable[..., str]:
    """Train with these arguments, in `tmp_path/run`; what was printed after the plan."""
    options = [word for name, value in tiny_training.items() for word in (f"--{name.replace('_', '-')}", value)]

    def train(*arguments: object, alone: bool = False) -> str:
        kept = options[:2] + options[-4:] if alone else options
        code, printed, error = run("train", rgb_phantoms, "-o", tmp_path / "run", *kept, *arguments)
        assert code == 0, error
        return printed[printed.index("Model saved to") :]

    return train


def test_training_ends_with_the_comparison(train: Callable[..., str], tmp_path: Path) -> None:
    said = train().splitlines()
    kept = json.loads((tmp_path / "run" / "comparison" / "comparison.json").read_text())
    assert said[1].startswith("Comparing training with and without generated pairs")
    assert said[2] == kept["verdict"]
    assert len(kept["cases"]) == 2  # those that the data set declares as val
    again = train("--resume").splitlines()
    assert again[2] == kept["verdict"]


@pytest.mark.parametrize(
    "arguments",
    [("--no-compare",), ("--method", "strong-augmentation", "--updates", 2)],
    ids=["left out", "nothing to"],
)
def test_there_is_no_comparison(train: Callable[..., str], tmp_path: Path, arguments: tuple[object, ...]) -> None:
    said = train(*arguments, alone="--method" in arguments)
    assert "generated pairs" not in said
    assert not (tmp_path / "run" / "comparison").exists()


def test_training_ends_with_the_model_of_all_labels_unless_it_is_to_be_quick(
    run: Run, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    data = write_phantoms(tmp_path / "scans", "rgb", 6, size=32)
    kept = {**tiny_training, "pretraining": None, "method": "strong-augmentation", "folds": 2}
    options = [word for name, value in kept.items() if value for word in (f"--{name.replace('_', '-')}", value)]
    code, printed, error = run("train", data, "-o", tmp_path / "run", *options, "--effort", "quick")
    assert code == 0, error
    assert "all labels" not in printed
    assert not (tmp_path / "run" / "all-labels").exists()
    code, printed, error = run("train", data, "-o", tmp_path / "run", "--resume")
    assert code == 0, error
    assert "The final model, trained on all 4 labelled cases, is saved to" in printed
    scores = json.loads((tmp_path / "run" / "validation" / "scores.json").read_text())
    assert f"on the cases that they held out: {scores['dice']:.3f} (" in printed
    assert len(scores["dice_by_case"]) == 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--effort", "quick"), "leave out --effort quick"),
        ((), "--folds 5 makes five of all"),
        (("--fold", "all"), "--folds 5 makes five of all"),
        (("--folds", 2), "no image in this folder"),
        (("--folds", 2, "--segmenter", "readout"), "segmenter readout learns from labelled images alone"),
    ],
)
def test_unlabelled_images_that_would_be_in_vain_stop_before_the_training(
    run: Run, rgb_phantoms: Path, tmp_path: Path, options: tuple[object, ...], expected: str
) -> None:
    (tmp_path / "pool").mkdir()
    code, _, error = run("train", rgb_phantoms, "-o", tmp_path / "run", "--also-images", tmp_path / "pool", *options)
    assert code == 2
    assert expected in error
    assert not (tmp_path / "run").exists()
    if options:
        return
    code, _, error = run("train", rgb_phantoms, "-o", tmp_path / "run", "--unlabelled", "use")
    assert code == 2
    assert "--unlabelled use: the models of several folds segment them" in error


def test_a_resumed_run_has_the_folds_that_it_began_with(
    run: Run, tiny_training: dict[str, Any], rgb_phantoms: Path, tmp_path: Path
) -> None:
    kept = {**tiny_training, "pretraining": None, "method": "strong-augmentation", "folds": 2}
    options = [word for name, value in kept.items() if value for word in (f"--{name.replace('_', '-')}", value)]
    assert run("train", rgb_phantoms, "-o", tmp_path / "run", *options, "--effort", "quick")[0] == 0
    (tmp_path / "pool").mkdir()
    code, _, error = run("train", rgb_phantoms, "-o", tmp_path / "run", "--resume", "--also-images", tmp_path / "pool")
    assert code == 2
    assert "no image in this folder" in error


@pytest.mark.fault(86)
@pytest.mark.parametrize(
    ("name", "called"), [("scans.v1", "scans.v1"), ("scans.v2", "scans.v2"), ("set.v3.csv", "set.v3"), ("a.TSV", "a")]
)
def test_runs_and_evaluations_are_called_by_the_whole_name_of_their_data(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, called: str
) -> None:
    data = tmp_path / "data" / name
    data.parent.mkdir()
    data.mkdir() if name.startswith("scans") else data.touch()
    (tmp_path / "link").symlink_to(data)
    monkeypatch.chdir(data if data.is_dir() else data.parent)
    folders: list[Path] = []

    def fit(_: Path, folder: Path, **__: object) -> None:
        folders.append(folder)
        raise SettingsError("enough")

    def load(*_: object, **__: object) -> Any:
        return SimpleNamespace(evaluate=lambda *_, out, **__: fit(data, out))

    monkeypatch.setattr(genseg, "fit", fit, raising=False)
    monkeypatch.setattr(genseg, "load", load, raising=False)
    for given in (data, "." if data.is_dir() else name, tmp_path / "link"):
        assert run("train", given)[0] == 2
        assert run("evaluate", "model", given)[0] == 2
    assert folders == [Path("runs", called), Path("evaluation", f"model-{called}-test")] * 3


@pytest.mark.fault(85)
def test_a_finished_run_is_not_resumed_for_more_updates(
    train: Callable[..., str], run: Run, rgb_phantoms: Path, tmp_path: Path
) -> None:
    train("--no-compare")
    code, _, said = run("train", rgb_phantoms, "-o", tmp_path / "run", "--resume", "--updates", 900)
    assert code == 2
    assert "this run has finished and cannot be changed; start a new run in another folder (-o)" in said
    assert "--updates is 2 in this run (900 requested)" in said
    assert train("--no-compare", "--resume").startswith("Model saved to")
