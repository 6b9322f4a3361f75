"""The loop: repeatable to the bit, also when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import OutOfMemoryError, Tensor, equal

from genseg.base.progress import Progress, silent
from genseg.compute.device import Machine
from genseg.config import GenerationPlan, Plan
from genseg.errors import MemoryRanOutError, NotFiniteError, RunError
from genseg.evaluate.metrics import dice_scores
from genseg.generators import registry
from genseg.joint import guards
from genseg.prepare.preprocess import Prepared
from genseg.runs import checkpoint
from genseg.runs.events import read_events
from genseg.runs.folder import RunFolder
from genseg.segmenters import learner as learner_module
from genseg.segmenters.inference import predict_mask
from genseg.segmenters.learner import begin
from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.optimiser import learning_rate
from genseg.segmenters.torch_network import TorchNetwork
from genseg.training import trainer
from genseg.training.advance import Course
from genseg.training.trainer import HeldOut, train

Train = Callable[..., Mapping[str, Tensor]]
pytestmark = pytest.mark.usefixtures("_tiny_network")
UPDATES = 9
EVERY = 3
"""Updates between checkpoints."""


JOINT = {"pretraining": 3, "batch_size": 2, "held_out": 0.5, "refresh": 2, "every": 2}


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its weights, and its record as it is on disk and as events."""

    weights: Mapping[str, Tensor]
    record: bytes
    events: list[dict[str, Any]]


UNDISTURBED: dict[str, Whole] = {}


@pytest.fixture(params=["strong-augmentation", "joint"])
def method(request: pytest.FixtureRequest) -> str:
    """The way of training; `joint` makes three of the updates by itself, to learn to generate."""
    return str(request.param)


@pytest.fixture
def train_in(
    make_plan: Callable[..., Plan],
    make_case: Callable[..., Prepared],
    machine: Machine,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> Train:
    """Train in a folder: `train_in(folder, seed, progress)`; returns the weights of the averaged segmenter."""
    monkeypatch.setitem(registry.GENERATORS, "small", registry.GeneratorSpec("small", "tiny", {2: (3, 4)}))
    monkeypatch.setattr(guards, "check_health", lambda *_: None)  # after three updates it is of no use yet
    changes = {"updates": UPDATES}
    if method == "joint":
        changes = {"updates": UPDATES - 3, "batch_size": 4, "generation": GenerationPlan(**JOINT)}
    monkeypatch.setattr(trainer, "VALIDATIONS", UPDATES // EVERY)
    cases = [make_case(number) for number in range(6)]
    held_out = [HeldOut(case, case.mask) for case in cases[4:]]

    def run(folder: Path, seed: int = 0, progress: Progress = silent) -> Mapping[str, Tensor]:
        folder.mkdir(exist_ok=True)
        course = Course(make_plan(**changes), seed, cases[:4], ["a", "b", "c", "d"], machine)
        return train(course, held_out, RunFolder(folder), progress).learner.average.module.state_dict()

    return run


@pytest.fixture
def whole(train_in: Train, method: str, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The run that nothing disturbs, trained once for all tests."""
    if method not in UNDISTURBED:
        folder = tmp_path_factory.mktemp("whole") / method
        weights = train_in(folder)
        UNDISTURBED[method] = Whole(weights, _record(folder), read_events(folder))
    return UNDISTURBED[method]


def _interrupt(at: int, how: str) -> Progress:
    """Progress that interrupts when the update `at` is done: as Ctrl-C does ("signal"), or by raising itself."""

    def progress(_doing: str, done: int, _total: int) -> None:
        if done != at:
            return
        if how == "raise":
            raise KeyboardInterrupt
        os.kill(os.getpid(), signal.SIGINT if how == "interrupt" else signal.SIGTERM)

    return progress


def _are_equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)


def _record(folder: Path) -> bytes:
    return (folder / "events.jsonl").read_bytes()


def test_the_seed_decides_the_weights(train_in: Train, whole: Whole, tmp_path: Path) -> None:
    again, other = (train_in(tmp_path / str(seed), seed) for seed in (0, 1))
    assert _are_equal(whole.weights, again)
    assert not _are_equal(whole.weights, other)
    assert whole.record == _record(tmp_path / "0")


@pytest.mark.fault(30)
@pytest.mark.parametrize(
    ("at", "how"), [(1, "interrupt"), (5, "terminate"), (UPDATES, "interrupt"), (1, "raise"), (5, "raise")]
)
def test_an_interrupted_run_ends_as_the_uninterrupted_one(
    train_in: Train, whole: Whole, tmp_path: Path, at: int, how: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path, progress=_interrupt(at, how))
    assert _are_equal(train_in(tmp_path), whole.weights)
    assert _record(tmp_path) == whole.record


@pytest.mark.fault(31)
def test_a_signal_saves_the_update_that_it_came_in(train_in: Train, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path, progress=_interrupt(4, "interrupt"))
    done = []
    train_in(tmp_path, progress=lambda _doing, number, _total: done.append(number))
    assert done == list(range(5, UPDATES + 1))


@pytest.mark.fault(32)
def test_a_damaged_checkpoint_is_passed_over_and_the_record_says_so(
    train_in: Train, whole: Whole, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path, progress=_interrupt(5, "interrupt"))
    (tmp_path / "checkpoints" / "update-0000005.safetensors").write_bytes(b"nonsense")
    assert _are_equal(train_in(tmp_path), whole.weights)
    events = read_events(tmp_path)
    said = [event for event in events if event["event"] == "checkpoint-damaged"]
    assert [(event["step"], "update-0000005" in event["problem"]) for event in said] == [(3, True)]
    assert [event for event in events if event not in said] == whole.events


@pytest.mark.fault(32)
def test_a_run_whose_checkpoints_are_all_damaged_is_not_begun_anew(train_in: Train, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        train_in(tmp_path, progress=_interrupt(2, "interrupt"))
    (tmp_path / "checkpoints" / "update-0000002.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="update-0000002"):
        train_in(tmp_path)


def test_updates_and_validations_are_recorded(
    whole: Whole, make_plan: Callable[..., Plan], make_case: Callable[..., Prepared], machine: Machine, method: str
) -> None:
    events = whole.events
    updates = [(event["event"], event["step"]) for event in events if event["event"] in ("step", "pretraining")]
    kinds = ["pretraining"] * 3 + ["step"] * 6 if method == "joint" else ["step"] * 9
    assert updates == list(zip(kinds, range(1, UPDATES + 1), strict=True))
    feedbacks = [event for event in events if event["event"] == "feedback"]
    # Before, the rate rises; then the search is over.
    assert [event["step"] for event in feedbacks] == ([6] if method == "joint" else [])
    assert all(event[f"{term}_norm"] > 0 for event in feedbacks for term in ("weights", "direct", "indirect"))
    validations = [event for event in events if event["event"] == "validation"]
    assert [event["step"] for event in validations] == [3, 6, 9]
    plan = make_plan()
    segmenter = begin(plan, 0, machine).segmenter
    segmenter.load_state_dict(whole.weights)
    held_out = [make_case(4), make_case(5)]
    network = TorchNetwork(segmenter, machine.device)
    dice = [dice_scores(one.mask, predict_mask(network, one, plan), 2)[0] for one in held_out]
    assert validations[-1]["dice"] == pytest.approx(sum(dice) / 2)
    assert validations[-1]["dice_by_class"] == {"object": pytest.approx(sum(dice) / 2)}


def test_progress_is_told_after_each_update(train_in: Train, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    train_in(tmp_path, progress=lambda *news: told.append(news))
    assert [news[1:] for news in told] == [(number, UPDATES) for number in range(1, UPDATES + 1)]
    assert all(doing.startswith(("Training, loss ", "Learning to generate, L1 ")) for doing, _, _ in told)


def test_without_held_out_cases_there_is_no_validation(
    make_plan: Callable[..., Plan], make_case: Callable[..., Prepared], machine: Machine, tmp_path: Path
) -> None:
    course = Course(make_plan(updates=2), 0, [make_case(0), make_case(1)], ["a", "b"], machine)
    train(course, [], RunFolder(tmp_path), silent)
    assert {event["event"] for event in read_events(tmp_path)} == {"step"}


def _failing(times: int) -> Callable[[int, Plan], float]:
    """A learning rate that is not a number the first times that update 4 is made."""
    left = times

    def rate(update: int, plan: Plan) -> float:
        nonlocal left
        if update == 4 and left:
            left -= 1
            return float("nan")
        return learning_rate(update, plan)

    return rate


@pytest.mark.fault(39)
def test_a_loss_that_is_not_finite_sends_the_run_back_once_at_a_lower_rate(
    train_in: Train, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "learning_rate", _failing(1))
    weights = train_in(tmp_path)
    assert all(weight.isfinite().all() for weight in weights.values())
    events = read_events(tmp_path)
    (back,) = [event for event in events if event["event"] == "went-back"]
    assert re.search(r"the loss is nan|feedback is not finite: .* held-out error nan", back["reason"])
    last = [event for event in events if event["event"] == "step"][-1]
    assert last["step"] == UPDATES
    undisturbed = [event for event in whole.events if event["event"] == "step"][-1]
    assert last["learning_rate"] == pytest.approx(0.3 * undisturbed["learning_rate"])


@pytest.mark.fault(39)
def test_a_loss_that_is_not_finite_again_ends_the_run(
    train_in: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "learning_rate", _failing(2))
    with pytest.raises(NotFiniteError, match="try a lower --learning-rate"):
        train_in(tmp_path)


@pytest.mark.fault(34)
def test_where_memory_runs_out_training_goes_on_once_with_half_the_images(
    train_in: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    begun = 4 if method == "joint" else 2  # two real images in either
    monkeypatch.setattr(learner_module, "segmentation_loss", _without_memory_for(2))
    train_in(tmp_path)
    said = [event for event in read_events(tmp_path) if event["event"] == "smaller-batch"]
    assert [event["batch_size"] for event in said] == [begun // 2]
    assert Plan.from_yaml(tmp_path / "plan.yaml").batch_size == begun // 2


@pytest.mark.fault(34)
def test_where_memory_runs_out_again_training_stops_and_says_what_to_lower(
    train_in: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner_module, "segmentation_loss", _without_memory_for(1))
    with pytest.raises(MemoryRanOutError, match=r"memory ran out at \d image\(s\) per update; .*--size"):
        train_in(tmp_path)


def test_another_error_of_torch_is_not_taken_for_a_lack_of_memory(
    train_in: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Tensor:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(learner_module, "segmentation_loss", fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train_in(tmp_path)


def _without_memory_for(images: int) -> Callable[[Tensor, Tensor], Tensor]:
    """The segmenter's loss where there is no memory for so many real images an update."""

    def loss(logits: Tensor, mask: Tensor) -> Tensor:
        if len(logits) >= images:
            raise OutOfMemoryError
        return segmentation_loss(logits, mask)

    return loss


@pytest.mark.fault(29)
def test_a_full_disk_keeps_the_checkpoint_before_and_the_run_goes_on_from_it(
    train_in: Train, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", _full_disk_after(1))
        with pytest.raises(OSError, match="No space left"):
            train_in(tmp_path)
    said = [event for event in read_events(tmp_path) if event["event"] == "checkpoint-failed"]
    assert [(event["step"], event["reason"]) for event in said] == [(2 * EVERY, "No space left on device")]
    kept = [path.name for path in (tmp_path / "checkpoints").glob("*.safetensors")]
    assert kept == [f"update-{EVERY:07d}.safetensors"]
    assert _are_equal(train_in(tmp_path), whole.weights)


def _full_disk_after(files: int) -> Callable[[Mapping[str, Tensor], Path], None]:
    """Writes so many files whole; of the next, a part."""
    written: list[Path] = []

    def write(tensors: Mapping[str, Tensor], path: Path) -> None:
        written.append(path)
        save_file(dict(tensors), path)
        if len(written) > files:
            path.write_bytes(path.read_bytes()[:1000])
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    return write
