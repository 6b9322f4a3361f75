"""Unlabelled images: which of them train the final model, by whose masks, and what is kept of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from csv_rows import read_rows
from PIL import Image

import genseg
from genseg.base.progress import silent
from genseg.config import Plan, Settings
from genseg.errors import DataError, RunError, SettingsError
from genseg.evidence import refit as refit_module
from genseg.evidence import students as students_module
from genseg.evidence import unlabelled as unlabelled_module
from genseg.evidence.pool import Pool, read_pool, unlabelled_images
from genseg.evidence.unlabelled import Unlabelled, draw_unlabelled, leave_out_all, most_drawn, segment_pool, used_images
from genseg.examine.check import Examination
from genseg.index import index_dataset, index_images
from genseg.predict.prediction import Prediction
from genseg.read.case import IGNORE, Case, CaseFiles
from genseg.runs.folder import RunFolder
from genseg.synthetic.phantoms import write_phantoms
from genseg.training.run import run_training
from genseg.trust.calibration import Calibration
from genseg.trust.postprocess import PostprocessingStep

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


@dataclass
class Teacher:
    """Says that the bright left half is the object, of some images unsurely; knows which are unlike its own."""

    unlike: str = ""
    blind: str = ""
    often_empty: bool = False
    sha256: str = "a" * 64
    trust: Any = None
    asked: list[str] = field(default_factory=list)
    channel_files: bool = False
    labels: Any = None

    def __post_init__(self) -> None:
        self.labels = SimpleNamespace(names=("background", "object"))
        self.trust = SimpleNamespace(ood=SimpleNamespace(highest=2.0), often_empty=self.often_empty, to_json=dict)
        self.trust.of_training_images = self.trust

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


@pytest.fixture(scope="module")
def examination(scans: Path) -> Examination:
    """Of the labelled dataset."""
    return genseg.check(scans)


@pytest.fixture(scope="module")
def read(pool: Path, examination: Examination) -> Pool:
    """The pool as it is read."""
    return _read(pool, examination)


def _read(folder: Path, examination: Examination, most: int = 100) -> Pool:
    return read_pool(index_images(folder), Teacher(), examination, most, silent)  # type: ignore[arg-type]


def _segment(teacher: Teacher, pool: Pool, run: Path, held_out: tuple[str, ...] = ()) -> Unlabelled:
    return segment_pool(pool, teacher, run, silent, held_out)  # type: ignore[arg-type]


def _uses(run: Path) -> dict[str, str]:
    return {Path(row["image"]).stem: row["use"] for row in read_rows(run / "unlabelled" / "images.csv")}


def test_images_that_were_labelled_tested_repeated_or_unlike_are_left_out(read: Pool, tmp_path: Path) -> None:
    found = _segment(Teacher(unlike="new_1", blind="new_2"), read, tmp_path)
    assert _uses(tmp_path) == {
        "new_0": "trains",
        "new_0-again": "there twice",
        "new_1": "unlike the labelled ones",
        "new_2": "nothing found",
        "new_3": "trains",
        "new_4": "trains",
        "of-test": "of the test part",
        "of-train": "labelled",
    }
    draw_unlabelled(found, tmp_path / "overview.png")
    with Image.open(tmp_path / "overview.png") as sheet:
        assert sheet.width > 6 * 192
    assert used_images(tmp_path) == (
        "3 of 8 unlabelled images train (left out: 1 labelled; 1 nothing found; 1 of the test part; 1 there twice; "
        "1 unlike the labelled ones)"
    )
    leave_out_all(tmp_path)
    assert used_images(tmp_path).startswith("0 of 8 unlabelled images train (left out: 1 labelled; 3 no gain on held")


def test_near_copies_of_labelled_and_test_images_are_left_out(
    scans: Path, examination: Examination, tmp_path: Path
) -> None:
    for name, copy in (("phantom_001", "a"), ("phantom_007", "b")):
        with Image.open(scans / "images" / f"{name}.png") as image:
            image.save(tmp_path / f"{copy}.jpg", quality=80)
    assert [one.reason for one in _read(tmp_path, examination).images] == ["labelled", "of the test part"]


def test_of_more_images_than_training_draws_some_that_are_spread_evenly_are_read(
    pool: Path, examination: Examination, tmp_path: Path
) -> None:
    found = _read(pool, examination, most=3)
    assert [one.files.name for one in found.images if one.pixels] == ["new_0", "new_3", "of-train"]
    teacher = Teacher()
    _segment(teacher, found, tmp_path)
    assert teacher.asked == ["new_0", "new_3"]
    assert list(_uses(tmp_path).values()).count("more than training draws") == 5


def test_half_of_all_images_of_a_training_may_be_unlabelled(make_plan: Callable[..., Plan]) -> None:
    plan = make_plan().model_copy(update={"updates": 30, "batch_size": 4})
    assert most_drawn(plan) == 60


def test_images_of_test_patients_never_train_and_those_of_held_out_ones_not_in_their_fold(tmp_path: Path) -> None:
    made = write_phantoms(tmp_path / "made", "rgb", 8, size=32)
    names = ["p01_s1", "p01_s2", "p02_s1", "p02_s2", "p03_s1", "p03_s2"]
    data, folder = tmp_path / "data", tmp_path / "pool"
    for part in ("images", "masks"):
        for number, name in enumerate(names):
            target = data / ("test" if name.startswith("p03") else "train") / part / f"{name}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made / part / f"phantom_00{number}.png", target)
    folder.mkdir()
    others = write_phantoms(tmp_path / "others", "rgb", 3, seed=5, size=32) / "images"
    for number, name in enumerate(["p01_s9", "p03_s9", "p77_s9"]):
        shutil.copy(others / f"phantom_00{number}.png", folder / f"{name}.png")
    read = _read(folder, genseg.check(data))
    assert [one.reason for one in read.images] == ["", "of a test patient", ""]
    _segment(Teacher(), read, tmp_path, held_out=("p01_s1",))
    assert list(_uses(tmp_path).values()) == ["of a held-out patient", "of a test patient", "trains"]


def test_images_without_a_mask_in_the_dataset_are_taken_where_that_is_asked_for(scans: Path, tmp_path: Path) -> None:
    data, folder = shutil.copytree(scans, tmp_path / "data"), tmp_path / "pool"
    (data / "masks" / "phantom_002.png").unlink()
    (data / "masks" / "phantom_006.png").unlink()  # of the test part
    folder.mkdir()
    shutil.copy(scans / "images" / "phantom_000.png", folder / "z.png")
    found = {}
    for choice in ("leave-out", "use"):
        index = index_dataset(data, unlabelled=choice)
        asked = {"channel_files": False, "and_own": choice == "use"}
        found[choice] = [[one.name for one in unlabelled_images(some, index, **asked)] for some in (None, folder)]
    assert found == {"leave-out": [[], ["z"]], "use": [["phantom_002"], ["phantom_002", "z"]]}
    (folder / "z.png").rename(folder / "phantom_002.png")
    with pytest.raises(DataError, match="two cases of one name"):
        unlabelled_images(folder, index, channel_files=False, and_own=True)


def test_where_empty_masks_are_usual_images_without_objects_train(read: Pool, tmp_path: Path) -> None:
    found = _segment(Teacher(blind="new_2", often_empty=True), read, tmp_path)
    assert "new_2" in [one.files.name for one in found.training]


def test_pixels_that_the_folds_are_not_sure_of_have_no_class(read: Pool, tmp_path: Path) -> None:
    cases = list(_segment(Teacher(), read, tmp_path).cases())
    assert [case.name for case in cases] == [f"unlabelled/new_{number}" for number in range(5)]
    expected = np.zeros((32, 32), np.uint8)
    expected[:, :16] = 1
    expected[:4] = IGNORE
    assert all(np.array_equal(case.mask, expected) for case in cases)


def test_what_was_segmented_is_not_segmented_again_but_by_other_models(read: Pool, tmp_path: Path) -> None:
    first, again, other = Teacher(), Teacher(), Teacher(sha256="b" * 64)
    found = [_segment(teacher, read, tmp_path) for teacher in (first, again, other)]
    assert len(first.asked) == 5
    assert again.asked == []
    assert other.asked == first.asked
    assert found[0].images == found[1].images


def test_no_unlabelled_image_is_drawn_more_often_than_a_labelled_one(
    read: Pool, make_plan: Callable[..., Plan], tmp_path: Path
) -> None:
    found, plan = _segment(Teacher(), read, tmp_path), make_plan()
    shares = {labelled: found.joining(plan, labelled)[0].unlabelled_share for labelled in (2, 5, 20)}
    assert shares == {2: 0.5, 5: 0.5, 20: 0.2}


def test_what_cannot_be_read_stops_before_any_training_and_is_named(
    trained: Path, pool: Path, scans: Path, tmp_path: Path
) -> None:
    broken, run = shutil.copytree(pool, tmp_path / "pool"), shutil.copytree(trained, tmp_path / "run")
    for name in ("bad.png", "worse.png"):
        (broken / name).write_bytes(b"no picture")
    with pytest.raises(DataError) as refused:
        genseg.refit(scans, run, also_images=broken)
    assert {Path(fault.file).name for fault in refused.value.faults} == {"bad.png", "worse.png"}
    assert not (run / "comparison").exists()


def test_where_none_is_of_use_the_model_is_that_of_the_labels_alone_and_says_why(
    trained: Path, refitted: Path, scans: Path, tmp_path: Path
) -> None:
    folder, run = tmp_path / "pool", shutil.copytree(trained, tmp_path / "run")
    folder.mkdir()
    shutil.copy(scans / "images" / "phantom_000.png", folder / "a.png")
    _take_folds(refitted, run)
    genseg.refit(scans, run, also_images=folder)
    verdict = "Unlabelled images are not used: 0 of 1 unlabelled images train (left out: 1 labelled)."
    assert json.loads((run / "comparison" / "unlabelled.json").read_text())["verdict"] == verdict
    assert verdict in (run / "model" / "card.md").read_text()
    assert RunFolder(run).delivered_from.path.name == METHOD
    assert not list(run.glob("comparison/*-and-unlabelled-*"))


def _take_folds(source: Path, run: Path, *, students: bool = False) -> None:
    """Take over the trainings of another run's folds, and their students if asked for."""
    (run / "comparison").mkdir(exist_ok=True)
    for folder in source.glob("comparison/*-fold-*"):
        if students or "-and-unlabelled-" not in folder.name:
            shutil.copytree(folder, run / "comparison" / folder.name)


@pytest.fixture(scope="module")
def _sighted() -> Iterator[None]:
    """Let images train in which nothing is found, and all of them: two updates teach networks no more, and draw few."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unlabelled_module, "_judged", lambda *_: "")
        patch.setattr(refit_module, "most_drawn", lambda _: 100)
        yield


@pytest.fixture(scope="module")
def refitted(trained: Path, scans: Path, pool: Path, _sighted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run once it delivers a model that has learned from unlabelled images too. Read only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("refitted") / "run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(students_module, "held_out_dice", _in_favour_of("-and-unlabelled-"))
        genseg.refit(scans, run, also_images=pool)
    return run


def _in_favour_of(better: str) -> Any:
    """Scores of trainings by which those are better whose folder's name has `better` in it."""

    def dice(folder: Path) -> dict[str, float]:
        number = 0 if folder.name.endswith("0") else 3
        return {f"phantom_00{number + place}": 0.5 + 0.1 * (better in folder.name) for place in range(3)}

    return dice


def test_the_final_model_learns_from_them_and_says_that_it_has_seen_them(
    refitted: Path, pool: Path, tmp_path: Path
) -> None:
    final = RunFolder(refitted).delivered_from
    assert final.path.name == f"{METHOD}-and-unlabelled"
    assert final.plan().unlabelled_share == pytest.approx(5 / 11)
    card = (refitted / "model" / "card.md").read_text()
    assert "5 unlabelled images, with masks predicted by those models, were trained on too." in card
    assert "Unlabelled images help on this dataset: +10.0 points" in card
    assert "They are used." in card
    assert (refitted / "comparison" / "unlabelled.png").stat().st_size > 5000
    (seen,) = genseg.load(refitted).seen
    assert len(seen.trained_on) == 6 + 5
    data = tmp_path / "data"
    (data / "masks").mkdir(parents=True)
    shutil.copytree(pool, data / "images", ignore=lambda _, names: [name for name in names if "new_3" not in name])
    Image.fromarray(np.eye(32, dtype=np.uint8)).save(data / "masks" / "new_3.png")
    assert genseg.load(refitted).evaluate(data, split="all").in_training == {"new_3": "trained on"}


def test_folds_learn_from_their_own_model_and_judge_the_final_one(refitted: Path) -> None:
    comparison = refitted / "comparison"
    students = [comparison / f"{METHOD}-and-unlabelled-fold-{fold}" for fold in range(2)]
    folds = [comparison / f"{METHOD}-fold-{fold}" for fold in range(2)]
    expected: dict[str, float] = {}
    for student, fold in zip(students, folds, strict=True):
        assert RunFolder(student).plan().unlabelled_share == 0.5
        assert RunFolder(student).split() == RunFolder(fold).split()
        assert len(genseg.load(student).seen[0].trained_on) == 3 + 5
        expected |= json.loads((student / "validation" / "scores.json").read_text())["dice_by_case"]
    assert json.loads((refitted / "validation" / "scores.json").read_text())["dice_by_case"] == expected
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    logits = [genseg.load(student).network(image).logits for student in students]
    ensemble = genseg.load(refitted, ensemble=True)
    assert ensemble.network(image).logits == pytest.approx(np.mean(logits, 0), abs=1e-5)
    assert len([folder for folder in (refitted / "unlabelled").iterdir() if folder.is_dir()]) == 2 + 1


def test_predicted_masks_owe_nothing_to_those_of_held_out_cases(trained: Path, read: Pool, tmp_path: Path) -> None:
    model = genseg.load(trained)
    rule = PostprocessingStep(1, "no-specks", 0.1, 1.0)  # takes everything away
    known = replace(model.trust, calibration=Calibration(5.0, 0.1, None, 2), postprocessing=(rule,), lowest_dice=0.5)
    made = [segment_pool(read, replace(model, trust=one), tmp_path, silent) for one in (known, model.trust)]
    trust = made[0].answers.model.trust
    assert (trust.temperature, trust.postprocessing, trust.lowest_dice) == (1.0, (), None)
    assert trust.ood == model.trust.ood
    assert made[0].answers.folder == made[1].answers.folder
    assert made[0].images == made[1].images


def test_where_they_bring_nothing_they_are_not_used(
    refitted: Path, trained: Path, scans: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    _take_folds(refitted, run, students=True)
    monkeypatch.setattr(students_module, "held_out_dice", _in_favour_of(f"{METHOD}-fold-"))
    genseg.refit(scans, run, also_images=pool)
    assert RunFolder(run).delivered_from.path.name == METHOD
    gain = json.loads((run / "comparison" / "unlabelled.json").read_text())
    assert not gain["used"]
    assert "Unlabelled images harm on this dataset: -10.0 points" in gain["verdict"]
    assert set(_uses(run).values()) == {"no gain on held-out cases", "labelled", "of the test part", "there twice"}
    scores = json.loads((run / "validation" / "scores.json").read_text())["dice_by_case"]
    assert scores == {
        name: dice
        for fold in range(2)
        for name, dice in json.loads(
            (run / "comparison" / f"{METHOD}-fold-{fold}" / "validation" / "scores.json").read_text()
        )["dice_by_case"].items()
    }
    one, other = (genseg.load(folder).network(_noise()).logits for folder in (run, refitted))
    assert not np.allclose(one, other)


def _noise() -> Any:
    return np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)


def test_a_run_that_has_them_keeps_them_and_one_that_was_interrupted_asks_for_them(
    refitted: Path, trained: Path, scans: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = shutil.copytree(refitted, tmp_path / "kept")
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}
    genseg.refit(scans, kept)
    genseg.refit(scans, kept, also_images=pool)
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()} == before
    with pytest.raises(RunError, match=r"begun with other unlabelled images .* \(1 new, 8 missing\)"):
        genseg.refit(scans, kept, also_images=scans / "images" / "phantom_003.png")
    run = shutil.copytree(trained, tmp_path / "run")
    _take_folds(refitted, run, students=True)
    monkeypatch.setattr(students_module, "held_out_dice", _in_favour_of("-and-unlabelled-"))
    for module, place in ((students_module, "carry_out"), (refit_module, "run_training")):
        with monkeypatch.context() as patch:
            patch.setattr(module, place, _once(getattr(module, place)))
            with pytest.raises(KeyboardInterrupt):
                genseg.refit(scans, run, also_images=pool)
        with pytest.raises(RunError, match="begun with unlabelled images; name their folder again with --also-images"):
            genseg.refit(scans, run)
    genseg.refit(scans, run, also_images=pool)
    logits = [genseg.load(one).network(_noise()).logits for one in (run, refitted)]
    assert np.array_equal(logits[0], logits[1])


def _once(train: Any) -> Any:
    """One or several trainings, interrupted after the first update, or before it where they are made already."""

    def progress(doing: str, done: int, _: int) -> None:
        if doing.startswith("Training") and done:
            raise KeyboardInterrupt

    def interrupted(*arguments: Any, **asked: Any) -> Any:
        told = {**asked, "progress": progress} if "progress" in asked else asked
        return train(*(progress if callable(one) else one for one in arguments), **told)

    return interrupted


def test_pairs_are_generated_beside_them(
    read: Pool, scans: Path, tiny_training: dict[str, Any], tmp_path: Path
) -> None:
    settings = Settings(**{**tiny_training, "batch_size": 4}, method="separate", fold="all")
    plan, further = _segment(Teacher(), read, tmp_path).joining(genseg.plan(scans, settings), 6)
    run = run_training(scans, tmp_path / "run", settings, plan, resume=False, further=further, progress=silent)
    model = genseg.load(run.path)
    assert model.training == "separate"
    assert model.plan.unlabelled_share == pytest.approx(5 / 11)
    assert len(run.unlabelled()) == 5
    made = genseg.generate(run.path, tmp_path / "pairs", 3, copies="keep")
    rows = read_rows(tmp_path / "pairs" / "pairs.csv")
    assert made.written == len(rows) == 3
    assert {row["mask_from"] for row in rows} <= {f"phantom_00{number}" for number in range(6)}


def test_a_frozen_encoder_learns_from_labelled_images_alone(
    trained: Path, scans: Path, pool: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    RunFolder(run).plan().model_copy(update={"segmenter": "readout"}).to_yaml(run / "plan.yaml")
    with pytest.raises(SettingsError, match="segmenter readout learns from labelled images alone"):
        genseg.refit(scans, run, also_images=pool)
