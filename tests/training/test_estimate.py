"""How long a plan will take: in proportion to its updates of every kind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from genseg.compute.device import choose_machine
from genseg.config import GenerationPlan, Plan, TrainingMethod
from genseg.generators import registry
from genseg.joint.generation import Generation
from genseg.joint.loop import JointLoop
from genseg.segmenters.learner import Learner
from genseg.training import estimate


@pytest.fixture(autouse=True)
def _tiny_networks(_tiny_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed takes no time, for the clock is made up."""
    tiny = registry.GeneratorSpec("small", "tiny", {2: (3, 4), 3: (2, 3)})
    monkeypatch.setitem(registry.GENERATORS, "small", tiny)


@pytest.mark.parametrize("rank", [2, 3])
def test_the_time_of_an_update_is_multiplied_by_the_plan_s_updates(
    rank: int, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(100.0, 3.0)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    plan = plan_of(rank, updates=50)
    machine = choose_machine("cpu", "float32")
    assert estimate.estimate_seconds(plan, machine) == pytest.approx(3.0 / estimate.MEASURED * 50)


def test_features_that_are_computed_once_and_updates_on_them_are_timed_apart(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(100.0, 3.0)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    machine = choose_machine("cpu", "float32")
    for updates, views in ((10, 20), (200, 128)):
        plan = plan_of(2, segmenter="readout", patch_size=(32, 32), updates=updates)
        expected = 3.0 / estimate.MEASURED * (views + updates)
        assert estimate.estimate_seconds(plan, machine) == pytest.approx(expected)


@pytest.mark.parametrize(("rank", "method"), [(2, "joint"), (3, "separate")])
def test_a_generator_takes_its_own_time_before_the_segmenter_s_and_beside_it(
    rank: int, method: TrainingMethod, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(100.0, 3.0)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    generation = GenerationPlan.model_validate({"method": method, "pretraining": 30, "batch_size": 2, "every": 5})
    plan = plan_of(rank, updates=50, batch_size=4, generation=generation)
    expected = 3.0 / estimate.MEASURED * (30 + 50)
    assert estimate.estimate_seconds(plan, choose_machine("cpu", "float32")) == pytest.approx(expected)


def test_feedback_counts_as_often_as_it_comes(plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: seconds[0])

    def advance(loop: JointLoop, learner: Learner, _: Generation) -> None:
        seconds[0] += 100 if learner.update in loop.steered else 10 if learner.update % 8 == 0 else 1

    monkeypatch.setattr(JointLoop, "advance", advance)
    monkeypatch.setattr(JointLoop, "pretrain", lambda *_: None)
    generation = GenerationPlan.model_validate({"method": "joint", "pretraining": 30, "batch_size": 2, "every": 8})
    plan = plan_of(2, updates=400, batch_size=4, warm_up=0.05, generation=generation)
    # Of 50 updates with stage I, 32 come between the warm-up (24) and the end of the search (280).
    assert estimate.estimate_seconds(plan, choose_machine("cpu", "float32")) == pytest.approx(32 * 100 + 18 * 10 + 350)


@pytest.mark.parametrize("method", ["strong-augmentation", "separate"])
def test_smaller_images_of_the_first_updates_take_their_own_time(
    method: TrainingMethod, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: seconds[0])

    def update(side: int) -> None:
        seconds[0] += side**2

    monkeypatch.setattr(estimate, "make_update", lambda _, image, *__: update(image.shape[-1]))
    monkeypatch.setattr(JointLoop, "advance", lambda _, learner, __: update(plan.size_at(learner.update)[0]))
    monkeypatch.setattr(JointLoop, "pretrain", lambda _, begun: update(plan.pretraining_size_at(begun.pretrained)[0]))
    generation = GenerationPlan.model_validate({"method": "separate", "pretraining": 16, "batch_size": 2})
    given = {"generation": generation} if method == "separate" else {}
    plan = plan_of(2, updates=40, batch_size=4, patch_size=(64, 64), growing=0.75, **given)
    expected = 20 * 32**2 + 10 * 48**2 + 10 * 64**2
    if method == "separate":
        expected += 12 * 32**2 + 2 * 48**2 + 2 * 64**2
    assert estimate.estimate_seconds(plan, choose_machine("cpu", "float32")) == pytest.approx(expected)
