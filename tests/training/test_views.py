"""Training on features that are computed once: the same batches whatever came before, within a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import genseg
from genseg.base.progress import Progress, silent
from genseg.batches.draw import Batches
from genseg.compute.device import Machine
from genseg.config import Plan, Settings
from genseg.errors import SettingsError
from genseg.models.model import Model
from genseg.prepare.preprocess import Prepared
from genseg.runs.events import read_events
from genseg.runs.folder import RunFolder
from genseg.segmenters.registry import build_segmenter
from genseg.training import trainer, views
from genseg.training.run import run_training
from genseg.training.views import FeatureBatches, kept_bytes, view_bytes, view_count

MakePlan = Callable[..., Plan]
MakeCase = Callable[..., Prepared]
SETTINGS = {"segmenter": "readout", "size": 32, "updates": 4, "batch_size": 4, "device": "cpu", "precision": "float32"}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many views are made: two batches of four."""
    monkeypatch.setattr(views, "MOST_VIEWS", 8)
    return 8


@pytest.fixture
def plan(make_plan: MakePlan) -> Plan:
    """A plan of the read-out for pictures of 32 px."""
    return make_plan(segmenter="readout", patch_size=(32, 32), batch_size=4)


@pytest.fixture
def cases(make_case: MakeCase) -> list[Prepared]:
    """Three cases."""
    return [make_case(number, spatial=(32, 32)) for number in range(3)]


@pytest.mark.usefixtures("few")
def test_an_update_has_the_same_batch_whatever_came_before(plan: Plan, cases: list[Prepared], machine: Machine) -> None:
    segmenter = build_segmenter("readout", 2, 3, 2)
    long, fresh = (FeatureBatches(cases, plan, 0, machine) for _ in range(2))
    earlier = [long.batch(update, segmenter) for update in range(6)]
    features, mask = fresh.batch(5, segmenter)
    assert all(torch.equal(one, other) for one, other in zip(features, earlier[5][0], strict=True))
    assert torch.equal(mask, earlier[5][1])
    assert not torch.equal(mask, earlier[3][1])


@pytest.mark.usefixtures("few")
def test_views_are_new_at_first_and_then_each_is_drawn_before_any_is_drawn_again(
    plan: Plan, cases: list[Prepared], machine: Machine
) -> None:
    segmenter = build_segmenter("readout", 2, 3, 2)
    batches, images = FeatureBatches(cases, plan, 0, machine), Batches(cases, plan, 0, machine)
    masks = [batches.batch(update, segmenter)[1] for update in range(8)]
    for update in range(2):
        image, mask = images[update]
        assert torch.equal(masks[update], mask)
        for own, expected in zip(batches.batch(update, segmenter)[0], segmenter.frozen_features(image), strict=True):
            torch.testing.assert_close(own, expected, rtol=2e-2, atol=2e-2)
    rounds = [sorted(one.numpy().tobytes() for one in torch.cat(masks[first : first + 2])) for first in range(0, 8, 2)]
    assert rounds == rounds[:1] * 4
    assert len({torch.cat(masks[first : first + 2]).numpy().tobytes() for first in range(0, 8, 2)}) > 1


def test_the_number_of_views_stays_within_the_budget_but_for_one_of_each_case(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert view_count(plan, 3) == views.MOST_VIEWS
    monkeypatch.setattr(views, "BUDGET", 10 * view_bytes(plan))
    assert view_count(plan, 3) == 12  # whole batches
    assert view_count(plan, 30) == 32
    assert kept_bytes(plan, 3) == 12 * view_bytes(plan)


@pytest.mark.usefixtures("few")
def test_views_take_the_bytes_that_are_forecast(plan: Plan, cases: list[Prepared], machine: Machine) -> None:
    batches = FeatureBatches(cases, plan, 0, machine)
    for update in range(5):
        batches.batch(update, build_segmenter("readout", 2, 3, 2))
    kept = [one.untyped_storage() for view in batches._views.values() for one in (*view.features, view.mask)]
    assert sum({one.data_ptr(): one.nbytes() for one in kept}.values()) == kept_bytes(plan, len(cases))


@pytest.fixture(scope="module")
def rgb_model(rgb_phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A model of `SETTINGS`, of two batches of views. No curves of trainings are drawn in the tests that use it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "MOST_VIEWS", 8)
        patch.setattr(trainer, "draw_curves", lambda *_: None)
        run = tmp_path_factory.mktemp("views") / "run"
        yield genseg.fit(rgb_phantoms, run, settings=Settings.model_validate(SETTINGS))


def _train(data: Path, run: Path, progress: Progress = silent, *, resume: bool = False) -> None:
    """As `genseg.fit`, up to the weights: no held-out case is segmented and drawn."""
    settings = Settings.model_validate(SETTINGS)
    run_training(data, run, settings, None, resume=resume, progress=progress)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("phantoms", ["rgb_phantoms", "gray_phantoms"])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(
    phantoms: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "draw_curves", lambda *_: None)
    data, whole, stopped = request.getfixturevalue(phantoms), tmp_path / "whole", tmp_path / "stopped"
    if phantoms == "rgb_phantoms":
        whole = request.getfixturevalue("rgb_model").run
    else:
        _train(data, whole)
    assert RunFolder.open(whole).plan().method == "strong-augmentation"

    def stop(doing: str, done: int, _total: int) -> None:
        if doing.startswith("Training") and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _train(data, stopped, stop)
    _train(data, stopped, resume=True)
    weights = [(run / "model" / "segmenter.safetensors").read_bytes() for run in (whole, stopped)]
    assert weights[0] == weights[1]
    assert "validation" in {event["event"] for event in read_events(stopped)}


@pytest.mark.usefixtures("few")
def test_an_image_much_larger_than_the_plan_is_segmented_at_its_own_size(
    rgb_phantoms: Path, rgb_model: Model, tmp_path: Path
) -> None:
    with Image.open(sorted((rgb_phantoms / "images").iterdir())[0]) as picture:
        large = np.asarray(picture.convert("RGB").resize((700, 500)))
    Image.fromarray(large).save(tmp_path / "large.png")
    assert rgb_model.examine(tmp_path / "large.png").mask.shape == (500, 700)


@pytest.mark.parametrize("method", ["separate", "joint-cut", "joint"])
def test_generated_pairs_are_refused(method: str, rgb_phantoms: Path, tmp_path: Path) -> None:
    settings = Settings.model_validate({**SETTINGS, "method": method})
    with pytest.raises(SettingsError, match=f"method: {method} found; .* readout .* --method strong-augmentation"):
        genseg.fit(rgb_phantoms, tmp_path / "run", settings=settings)
