"""Synthetic pairs from a run: a data set like any other, without copies, or a refusal that leaves nothing behind."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from deliveries import change_description
from PIL import Image

import genseg
from genseg.config import Plan, Settings
from genseg.errors import RunError, SettingsError
from genseg.generators.copies import CopyTest
from genseg.joint import guards
from genseg.synthetic.data_set import SyntheticSet, channel_names
from genseg.synthetic.phantoms import write_phantoms
from genseg.write.pairs import write_description, write_pair


@pytest.fixture(scope="module")
def train(tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Train a generator that has learned next to nothing: `train("gray", method="joint")` gives its run folder."""
    folder = tmp_path_factory.mktemp("generators")

    def run(kind: str, size: int = 32, **settings: Any) -> Path:
        data = folder / kind
        if not data.exists():
            write_phantoms(data, kind, 8, size=size)
        chosen = Settings(**{**tiny_training, **settings})
        return genseg.fit(data, folder / f"run-{len(list(folder.iterdir()))}", settings=chosen).run

    return run


@pytest.fixture(scope="module")
def rgb(train: Callable[..., Path]) -> Path:
    """A finished run on RGB pictures. Read only."""
    return train("rgb", size=32, method="separate")


@pytest.fixture(scope="module")
def volumes(train: Callable[..., Path]) -> Path:
    """A finished run on volumes. Read only."""
    return train("volume", size=16, method="separate")


def _all_are_copies(monkeypatch: pytest.MonkeyPatch, threshold: float) -> None:
    monkeypatch.setattr(CopyTest, "threshold", threshold)


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "pairs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_pictures_become_a_data_set_like_any_other(rgb: Path, tmp_path: Path) -> None:
    told = []
    made = genseg.generate(rgb, tmp_path / "a" / "set", 6, copies="keep", progress=lambda *news: told.append(news))
    assert (made.folder, made.written) == (tmp_path / "a" / "set", 6)
    assert told == [("Generating", number, 6) for number in range(1, 7)]
    assert sorted(path.name for path in made.folder.iterdir()) == [
        *("dataset.json", "images", "masks", "overview.png", "pairs.csv")
    ]
    examination = genseg.check(made.folder)
    assert examination.labels.names == ("background", "lesion")
    assert [case.name for case in examination.cases] == [f"synthetic-{number:04d}" for number in range(1, 7)]
    assert all(case.image.dtype == np.uint8 and case.image.shape == (3, 32, 32) for case in examination.cases)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["set"]
    trained = set(json.loads((rgb / "split.json").read_text())["train"])
    rows = _rows(made.folder)
    assert [row["name"] for row in rows] == [case.name for case in examination.cases]
    assert {row["mask_from"] for row in rows} | {row["nearest_case"] for row in rows} <= trained
    assert {row["object_from"] for row in rows} <= trained | {""}
    for row in rows:
        assert (row["copy"] == "yes") == (float(row["distance"]) < float(row["threshold"]))


def test_volumes_become_volumes_of_the_plan_s_spacing(volumes: Path, tmp_path: Path) -> None:
    made = genseg.generate(volumes, tmp_path / "set", 5, copies="keep")
    examination = genseg.check(made.folder)
    assert examination.labels.names == ("background", "head", "tail")
    plan = genseg.Plan.from_yaml(volumes / "plan.yaml")
    for case in examination.cases:
        assert case.spacing == pytest.approx(plan.spacing)
        assert (case.image.shape, case.image.dtype) == ((1, *plan.patch_size), np.float32)


def test_the_seed_decides_every_pair_and_the_count_none(rgb: Path, tmp_path: Path) -> None:
    first, again, other = (
        _content(genseg.generate(rgb, tmp_path / str(n), 3, seed, copies="keep").folder)
        for n, seed in enumerate((5, 5, 6))
    )
    assert first == again
    more = _content(genseg.generate(rgb, tmp_path / "more", 6, 5, copies="keep").folder)
    images = [name for name in first if name.startswith(("images", "masks"))]
    assert len(images) == 6
    assert all(more[name] == first[name] for name in images)
    assert all(other[name] != first[name] for name in images if name.startswith("images"))


@pytest.mark.fault(40)
def test_copies_are_left_out_and_others_made_for_them(
    rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genseg.generate(rgb, tmp_path / "all", 8, copies="keep")
    rows = _rows(tmp_path / "all")
    distances = sorted(float(row["distance"]) for row in rows)
    _all_are_copies(monkeypatch, (distances[2] + distances[3]) / 2)
    kept = [number for number, row in enumerate(rows) if float(row["distance"]) > distances[2]]
    made = genseg.generate(rgb, tmp_path / "some", 5)
    assert (made.written, made.copies) == (5, kept[-1] - 4)  # copies that were met before the fifth that is none
    assert made.copies >= 1
    assert [row["distance"] for row in _rows(made.folder)] == [rows[number]["distance"] for number in kept]
    assert {row["copy"] for row in _rows(made.folder)} == {"no"}
    marked = genseg.generate(rgb, tmp_path / "marked", 8, copies="keep")
    assert (marked.written, marked.copies) == (8, 3)
    assert [row["copy"] for row in _rows(marked.folder)].count("yes") == 3


@pytest.mark.fault(40)
def test_where_all_images_are_copies_nothing_is_written(
    rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _all_are_copies(monkeypatch, 9.0)
    with pytest.raises(RunError, match="all 10 images are near-copies"):
        genseg.generate(rgb, tmp_path / "set", 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(40)
def test_a_generator_that_repeats_a_training_image_is_found_out(
    rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch import Tensor, from_numpy

    from genseg.generators.unet import MaskToImage

    data = json.loads((rgb / "split.json").read_text())["train"]
    source = rgb.parent / "rgb" / "images" / f"{data[1]}.png"
    real = from_numpy(np.moveaxis(np.array(Image.open(source), np.float32), -1, 0) / 127.5 - 1).flip(2)

    def repeat(_self: MaskToImage, mask: Tensor, _style: Tensor) -> Tensor:
        return real.expand(len(mask), *real.shape)

    monkeypatch.setattr(MaskToImage, "forward", repeat)
    made = genseg.generate(rgb, tmp_path / "set", 2, copies="keep")
    assert made.copies == 2
    assert {row["nearest_case"] for row in _rows(made.folder)} == {data[1]}


@pytest.mark.fault(97)
def test_a_full_disk_is_no_fault_of_the_folder_and_leaves_nothing(
    rgb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SyntheticSet, "finish", _raise_full)
    with pytest.raises(OSError, match=r"No space left on device.*a/set"):
        genseg.generate(rgb, tmp_path / "a" / "set", 2, copies="keep")
    assert list(tmp_path.iterdir()) == []


def _raise_full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_interrupted_work_leaves_nothing(rgb: Path, tmp_path: Path) -> None:
    def interrupt(_doing: str, done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        genseg.generate(rgb, tmp_path / "set", 4, copies="keep", progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_holds_something_is_refused_before_any_work(rgb: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(RunError, match="choose a"):
            genseg.generate(rgb, out, 2, progress=lambda *_: pytest.fail("it began"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"copies": "maybe"}])
def test_impossible_wishes_are_refused(rgb: Path, tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match=r"expected 1 or more|unknown value"):
        genseg.generate(rgb, tmp_path / "set", **wrong)


def test_runs_without_a_generator_say_why(train: Callable[..., Path], rgb: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"without a generator \(method strong-augmentation\).*--method joint"):
        genseg.generate(train("rgb", method="strong-augmentation", pretraining=None), tmp_path / "set")
    run = shutil.copytree(rgb, tmp_path / "run")
    described = json.loads((run / "model" / "model.json").read_text())

    def refusal(generator: Any) -> str:
        change_description(run, generator=generator)
        with pytest.raises(RunError) as refused:
            genseg.generate(run, tmp_path / "set")
        return str(refused.value)

    assert "switched off in training (it collapsed)" in refusal({"off": "it collapsed"})
    assert "not kept by the version" in refusal(None)
    assert "damaged" in refusal({"off": ""})
    assert "damaged" in refusal({**described["generator"], "cases": []})
    assert "damaged" in refusal({**described["generator"], "sha256": "0"})
    (run / "model" / "model.json").unlink()
    with pytest.raises(RunError, match="has not finished"):
        genseg.generate(run, tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.fault(39)
def test_a_generator_that_was_switched_off_is_not_delivered(
    train: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genseg.errors import GeneratorError

    def collapse(*_: object) -> None:
        raise GeneratorError("it has collapsed")

    monkeypatch.setattr(guards, "check_health", collapse)
    run = train("rgb", method="separate")
    assert not (run / "model" / "generator.safetensors").exists()
    assert (
        "separate; it has collapsed, so training used real pairs only"
        in (run / "validation" / "report.html").read_text()
    )
    with pytest.raises(RunError, match=r"switched off in training \(it has collapsed\)"):
        genseg.generate(run, tmp_path / "set")


@pytest.mark.fault(56)
@pytest.mark.parametrize(
    ("rules", "rank", "names"),
    [
        ([{"rule": "window"}], 3, ["channel 0 (CT)"]),
        ([{"rule": "window", "channel": "CT"}], 3, ["CT"]),
        ([{"rule": "z-score"}], 3, []),
        ([{"rule": "z-score"}, {"rule": "window"}], 3, ["channel 0", "channel 1 (CT)"]),
        ([{"rule": "z-score", "channel": "PET"}, {"rule": "window", "channel": "venous"}], 3, ["PET", "venous (CT)"]),
        ([{"rule": "z-score"}, {"rule": "z-score"}], 3, ["channel 0", "channel 1"]),
        ([{"rule": "eight-bit"}] * 3, 2, []),
        ([{"rule": "unchanged", "channel": "noNorm"}, {"rule": "percentile"}], 2, ["noNorm", "channel 1"]),
    ],
)
def test_a_second_training_finds_the_rule_of_each_channel_again(
    plan_of: Callable[..., Plan], tmp_path: Path, rules: list[dict[str, Any]], rank: int, names: list[str]
) -> None:
    plan = plan_of(rank, channels=len(rules), intensity=rules)
    assert channel_names(plan) == names
    pairs = []
    for number in range(2):
        random = np.random.default_rng(number)
        image = random.integers(1, 200, (len(rules), *(9,) * rank)).astype(np.uint8 if rank == 2 else np.float32)
        mask = np.zeros((9,) * rank, np.uint8)
        mask[(slice(2, 6),) * rank] = 1
        if {"rule": "percentile"} in rules:
            image = image.astype(np.float32)
        pairs.append(write_pair(tmp_path, f"a{number}", image, mask, plan.spacing))
    write_description(tmp_path, plan.class_names, pairs, names)
    found = genseg.check(tmp_path).statistics.by_channel
    assert [channel.rule.rule for channel in found] == [rule["rule"] for rule in rules]
