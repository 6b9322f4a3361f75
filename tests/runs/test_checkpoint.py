"""Checkpoints hold everything, notice damage, and never run what they read."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from genseg.compute.device import Machine
from genseg.config import GenerationPlan, Plan
from genseg.errors import RunError
from genseg.generators import registry
from genseg.runs.checkpoint import load_checkpoint, read_tensors, save_checkpoint, write_tensors
from genseg.runs.state import TrainingState, begin_training
from genseg.segmenters import unet
from genseg.segmenters.learner import make_update

MakePlan = Callable[..., Plan]
pytestmark = pytest.mark.usefixtures("_tiny_network")


def _advance(state: TrainingState, plan: Plan, machine: Machine, updates: int) -> None:
    for _ in range(updates):
        image = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(state.update))
        make_update(state.learner, machine.send(image), (image[:, 0] > 0).to(torch.uint8), plan, 0, machine)


def _all_tensors(state: TrainingState) -> dict[object, torch.Tensor]:
    found: dict[object, torch.Tensor] = {}
    for part, module in state.modules().items():
        found |= {(part, name): tensor for name, tensor in module.state_dict().items()}
    for part, optimiser in state.optimisers().items():
        moments = optimiser.state_dict()["state"]
        found |= {(part, number, name): moment for number, one in moments.items() for name, moment in one.items()}
    return found


def _are_equal(one: TrainingState, other: TrainingState) -> bool:
    tensors, others = _all_tensors(one), _all_tensors(other)
    same = tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)
    return same and one.counters() == other.counters()


def test_training_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(
    make_plan: MakePlan, machine: Machine, tmp_path: Path
) -> None:
    plan = make_plan()
    whole, resumed = begin_training(plan, 4, 0, machine), begin_training(plan, 4, 1, machine)
    _advance(whole, plan, machine, 3)
    save_checkpoint(tmp_path, whole)
    assert load_checkpoint(tmp_path, resumed) == []
    assert _are_equal(whole, resumed)
    _advance(whole, plan, machine, 3)
    _advance(resumed, plan, machine, 3)
    assert _are_equal(whole, resumed)


def test_the_two_newest_checkpoints_stay_and_nothing_temporary(
    make_plan: MakePlan, machine: Machine, tmp_path: Path
) -> None:
    plan = make_plan()
    state = begin_training(plan, 4, 0, machine)
    tmp_path.joinpath(".genseg-left-by-a-killed-process").touch()
    for _ in range(4):
        _advance(state, plan, machine, 1)
        save_checkpoint(tmp_path, state)
    names = ["manifest.json", "update-0000003.safetensors", "update-0000004.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    again = begin_training(plan, 4, 0, machine)
    load_checkpoint(tmp_path, again)
    assert again.update == 4


@pytest.mark.fault(32)
def test_a_damaged_checkpoint_is_passed_over_and_forgotten(
    make_plan: MakePlan, machine: Machine, tmp_path: Path
) -> None:
    plan = make_plan()
    state = begin_training(plan, 4, 0, machine)
    for _ in range(2):
        _advance(state, plan, machine, 2)
        save_checkpoint(tmp_path, state)
    damaged = tmp_path / "update-0000004.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    problems = load_checkpoint(tmp_path, state)
    assert state.update == 2
    assert len(problems) == 1
    assert "update-0000004.safetensors" in problems[0]
    _advance(state, plan, machine, 1)
    save_checkpoint(tmp_path, state)
    kept = [entry["update"] for entry in json.loads((tmp_path / "manifest.json").read_text())["checkpoints"]]
    assert kept == [3, 2]
    assert not damaged.exists()


@pytest.mark.fault(32)
def test_without_any_whole_checkpoint_every_damaged_one_is_named(
    make_plan: MakePlan, machine: Machine, tmp_path: Path
) -> None:
    plan = make_plan()
    state = begin_training(plan, 4, 0, machine)
    for _ in range(2):
        _advance(state, plan, machine, 1)
        save_checkpoint(tmp_path, state)
    (tmp_path / "update-0000001.safetensors").unlink()
    (tmp_path / "update-0000002.safetensors").write_bytes(b"")
    with pytest.raises(RunError, match="no usable checkpoint") as refused:
        load_checkpoint(tmp_path, state)
    assert all(f"update-000000{number}" in str(refused.value) for number in (1, 2))


@pytest.mark.fault(32)
def test_the_checkpoint_of_another_network_is_refused(
    make_plan: MakePlan, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan()
    state = begin_training(plan, 4, 0, machine)
    _advance(state, plan, machine, 1)
    save_checkpoint(tmp_path, state)
    monkeypatch.setattr(unet, "SMALL", {2: [4, 6]})
    with pytest.raises(RunError, match="another network"):
        load_checkpoint(tmp_path, begin_training(plan, 4, 0, machine))


@pytest.mark.fault(32)
@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1}', "damaged"),
        ('{"format": 99, "checkpoints": []}', "format 99 was written by another version"),
    ],
)
def test_a_broken_manifest_is_refused(
    make_plan: MakePlan, machine: Machine, tmp_path: Path, manifest: str, message: str
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(RunError, match=message):
        load_checkpoint(tmp_path, begin_training(make_plan(), 4, 0, machine))


class _Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return exec, ("raise SystemExit('the payload was run')",)


@pytest.mark.fault(33)
def test_a_pickle_is_never_loaded(tmp_path: Path) -> None:
    content = pickle.dumps({"weight": _Payload()})
    (tmp_path / "evil.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="not a safetensors file"):
        read_tensors(tmp_path / "evil.safetensors", hashlib.sha256(content).hexdigest())


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(2, 3, 4, 4).to(memory_format=torch.channels_last), "b": torch.tensor(3)}
    sha256 = write_tensors(tmp_path / "t.safetensors", tensors)
    back = read_tensors(tmp_path / "t.safetensors", sha256)
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())
    with pytest.raises(RunError, match="cannot be read"):
        read_tensors(tmp_path / "absent", sha256)


@pytest.mark.fault(75)
@pytest.mark.fault(76)
def test_what_guards_know_of_a_generator_is_in_the_checkpoint(
    make_plan: MakePlan, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.GENERATORS, "small", registry.GeneratorSpec("small", "tiny", {2: (3, 4)}))
    plan = make_plan(batch_size=4, generation=GenerationPlan(pretraining=1))
    state, resumed = (begin_training(plan, 4, 0, machine) for _ in range(2))
    assert state.generation is not None
    assert resumed.generation is not None
    for l1 in (0.4, 0.1, 0.3):
        state.generation.count_update(l1)
    state.generation.alive = ["ranges.scale"]
    save_checkpoint(tmp_path, state)
    load_checkpoint(tmp_path, resumed)
    for one in (state.generation, resumed.generation):
        one.count_update(0.2)
    assert resumed.generation.l1 == state.generation.l1 == pytest.approx(0.25)
    assert resumed.generation.alive == ["ranges.scale"]


def test_a_checkpoint_of_an_older_version_is_refused(make_plan: MakePlan, machine: Machine, tmp_path: Path) -> None:
    state = begin_training(make_plan(), 4, 0, machine)
    save_checkpoint(tmp_path, state)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["checkpoints"][0]["counters"]["rate_factor"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match=r"another version of genseg \(no 'rate_factor'\); start a new run"):
        load_checkpoint(tmp_path, state)
