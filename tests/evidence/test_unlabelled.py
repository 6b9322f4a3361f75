"""Unlabelled images: which of them train the final model, by whose masks, and what is kept of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from csv_rows import read_rows
from PIL import Image

import genseg
from genseg.base.progress import silent
from genseg.config import Settings
from genseg.errors import DataError, RunError, SettingsError
from genseg.evidence import refit as refit_module
from genseg.evidence import unlabelled as unlabelled_module
from genseg.evidence.unlabelled import segment_unlabelled, used_images, with_predicted_masks
from genseg.index import index_dataset
from genseg.predict.prediction import Prediction
from genseg.read.case import IGNORE, Case, CaseFiles
from genseg.runs.folder import RunFolder
from genseg.synthetic.phantoms import write_phantoms

METHOD = "strong-augmentation"


@pytest.fixture(scope="module")
def trained(scans: Path, tiny_training: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on one of two folds. Read only."""
    settings = Settings(**{**tiny_training, "pretraining": None}, method=METHOD, folds=2)
    return genseg.fit(scans, tmp_path_factory.mktemp("runs") / "run", settings=settings).run


@pytest.fixture(scope="module")
def pool(scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five new images, one of them twice, a labelled and a test image. Read only."""
    made = write_phantoms(tmp_path_factory.mktemp("pool") / "new", "rgb", 5, seed=7, size=32) / "images"
    for number in range(5):
        (made / f"phantom_00{number}.png").rename(made / f"new_{number}.png")
    shutil.copy(made / "new_0.png", made / "new_0-again.png")
    for name, again in (("phantom_000", "of-train"), ("phantom_007", "of-test")):
        shutil.copy(scans / "images" / f"{name}.png", made / f"{again}.png")
    return made


class Teacher:
    """Says that the bright left half is the object, of some images unsurely; knows which are unlike its own."""

    channel_files = False
    sha256 = "a" * 64

    def __init__(self, *, unlike: str = "", blind: str = "", often_empty: bool = False) -> None:
        self.unlike, self.blind, self.asked = unlike, blind, list[str]()
        self.labels = SimpleNamespace(names=("background", "object"))
        self.trust = SimpleNamespace(ood=SimpleNamespace(highest=2.0), often_empty=often_empty)

    def read(self, files: CaseFiles) -> Case:
        pixels = np.moveaxis(np.array(Image.open(files.images[0])), -1, 0)
        return Case(files.name, pixels, None, (1.0, 1.0), None, "", "", "")

    def examine_case(self, case: Case) -> Prediction:
        self.asked.append(case.name)
        mask = np.zeros(case.spatial, np.uint8)
        mask[:, :16] = case.name != self.blind
        confidence = np.full(case.spatial, 90, np.uint8)
        confidence[:4] = 59
        return Prediction(mask, confidence, 0.9, 3.0 if case.name == self.unlike else 1.0, ())


def _segment(teacher: Teacher, pool: Path, scans: Path, run: Path) -> Any:
    return segment_unlabelled(pool, teacher, RunFolder(run), index_dataset(scans), silent)  # type: ignore[arg-type]


def test_images_that_were_labelled_tested_repeated_or_unlike_are_left_out(
    trained: Path, pool: Path, scans: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    _segment(Teacher(unlike="new_1", blind="new_2"), pool, scans, run)
    uses = {Path(row["image"]).stem: row["use"] for row in read_rows(run / "unlabelled" / "images.csv")}
    assert uses == {
        "new_0": "trains",
        "new_0-again": "there twice",
        "new_1": "unlike the labelled ones",
        "new_2": "nothing found",
        "new_3": "trains",
        "new_4": "trains",
        "of-test": "of the test part",
        "of-train": "labelled",
    }
    with Image.open(run / "unlabelled" / "overview.png") as sheet:
        assert sheet.width > 6 * 192
    assert used_images(run) == (
        "3 of 8 unlabelled images train (left out: 1 labelled; 1 nothing found; 1 of the test part; 1 there twice; "
        "1 unlike the labelled ones)"
    )


def test_where_empty_masks_are_usual_images_without_objects_train(
    trained: Path, pool: Path, scans: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    found = _segment(Teacher(blind="new_2", often_empty=True), pool, scans, run)
    assert next(one for one in found if one.files.name == "new_2").reason == ""


def test_pixels_that_the_folds_are_not_sure_of_have_no_class(
    trained: Path, pool: Path, scans: Path, tmp_path: Path
) -> None:
    teacher = Teacher()
    found = _segment(teacher, pool, scans, shutil.copytree(trained, tmp_path / "run"))
    cases = list(with_predicted_masks(found, teacher))  # type: ignore[arg-type]
    assert [case.name for case in cases] == [f"unlabelled/new_{number}" for number in range(5)]
    expected = np.zeros((32, 32), np.uint8)
    expected[:, :16] = 1
    expected[:4] = IGNORE
    assert all(np.array_equal(case.mask, expected) for case in cases)


def test_what_was_segmented_is_not_segmented_again_but_by_other_models(
    trained: Path, pool: Path, scans: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    first, again, other = Teacher(), Teacher(), Teacher()
    other.sha256 = "b" * 64
    found = [_segment(teacher, pool, scans, run) for teacher in (first, again, other)]
    assert len(first.asked) == 6
    assert again.asked == []
    assert other.asked == first.asked
    assert found[0] == found[1]


def test_what_cannot_be_read_stops_and_is_named(trained: Path, pool: Path, scans: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(pool, tmp_path / "pool")
    for name in ("bad.png", "worse.png"):
        (broken / name).write_bytes(b"no picture")
    with pytest.raises(DataError) as refused:
        genseg.refit(scans, shutil.copytree(trained, tmp_path / "run"), also_images=broken)
    assert {Path(fault.file).name for fault in refused.value.faults} == {"bad.png", "worse.png"}


def test_where_none_is_of_use_the_reasons_are_told(trained: Path, scans: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    folder.mkdir()
    shutil.copy(scans / "images" / "phantom_000.png", folder / "a.png")
    with pytest.raises(DataError, match=r"0 of 1 unlabelled images train \(left out: 1 labelled\)"):
        _segment(Teacher(), folder, scans, shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def _sighted() -> Iterator[None]:
    """Let images train in which nothing is found: two updates teach networks no more."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabelled_module, "_reason", lambda *_: "")
        yield


@pytest.fixture(scope="module")
def refitted(trained: Path, scans: Path, pool: Path, _sighted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run once it delivers a model that has learned from unlabelled images too. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("refitted") / "run")
    genseg.refit(scans, run, also_images=pool)
    return run


def test_the_final_model_learns_from_them_and_says_that_it_has_seen_them(
    refitted: Path, pool: Path, tmp_path: Path
) -> None:
    final = RunFolder(refitted).delivered_from
    assert final.path.name == f"{METHOD}-and-unlabelled"
    assert final.plan().unlabelled_share == 0.5
    assert (
        "5 unlabelled images, with masks predicted by those models, were trained on too."
        in (refitted / "model" / "card.md").read_text()
    )
    (seen,) = genseg.load(refitted).seen
    assert len(seen.trained_on) == 6 + 5
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    shutil.copytree(pool, data / "images", ignore=lambda _, names: [name for name in names if "new_3" not in name])
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(data / "masks" / "new_3.png")
    assert genseg.load(refitted).evaluate(data, split="all").in_training == {"new_3": "trained on"}


def test_they_make_a_difference_and_the_scores_are_still_of_the_folds(
    refitted: Path, trained: Path, scans: Path, tmp_path: Path
) -> None:
    alone = shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(refitted / "comparison", alone / "comparison")
    genseg.refit(scans, alone)
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    one, other = (genseg.load(run).network(image).logits for run in (alone, refitted))
    assert not np.allclose(one, other)
    scores = [(run / "validation" / "scores.csv").read_bytes() for run in (alone, refitted)]
    assert scores[0] == scores[1]
    assert genseg.load(alone, ensemble=True).trust == genseg.load(trained).trust


def test_a_run_that_has_them_keeps_them_and_one_that_was_interrupted_asks_for_them(
    refitted: Path, trained: Path, scans: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shutil.copytree(refitted, tmp_path / "kept")
    genseg.refit(scans, kept)
    genseg.refit(scans, kept, also_images=pool)
    with pytest.raises(RunError, match=r"begun with other unlabelled images .* \(1 new, 8 missing\)"):
        genseg.refit(scans, kept, also_images=scans / "images" / "phantom_003.png")
    assert RunFolder(kept).delivered_from.path.name == f"{METHOD}-and-unlabelled"
    run = shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(refitted / "comparison", run / "comparison")

    with monkeypatch.context() as patch:
        patch.setattr(refit_module, "run_training", _once(refit_module.run_training))
        with pytest.raises(KeyboardInterrupt):
            genseg.refit(scans, run, also_images=pool)
    with pytest.raises(RunError, match="begun with unlabelled images; name their folder again with --also-images"):
        genseg.refit(scans, run)
    genseg.refit(scans, run, also_images=pool)
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    logits = [genseg.load(one).network(image).logits for one in (run, refitted)]
    assert np.array_equal(logits[0], logits[1])


def _once(train: Any) -> Any:
    """A training that is interrupted after its first update."""

    def interrupted(*arguments: Any, **asked: Any) -> None:
        def progress(doing: str, done: int, _: int) -> None:
            if doing.startswith("Training") and done == 1:
                raise KeyboardInterrupt

        train(*arguments, **{**asked, "progress": progress})

    return interrupted


@pytest.mark.usefixtures("_sighted")
def test_pairs_are_generated_beside_them(
    scans: Path, pool: Path, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    settings = Settings(**{**tiny_training, "batch_size": 4}, method="separate", folds=2)
    run = genseg.fit(scans, tmp_path / "run", settings=settings).run
    model = genseg.refit(scans, run, also_images=pool)
    assert model.training == "separate"
    assert model.plan.unlabelled_share == 0.5


def test_a_frozen_encoder_learns_from_labelled_images_alone(
    trained: Path, scans: Path, pool: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    RunFolder(run).plan().model_copy(update={"segmenter": "readout"}).to_yaml(run / "plan.yaml")
    with pytest.raises(SettingsError, match="segmenter readout learns from labelled images alone"):
        genseg.refit(scans, run, also_images=pool)
