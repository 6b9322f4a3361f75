"""What a training will hold at once is counted before it starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from genseg.base import free_memory as machine_memory
from genseg.base.progress import silent
from genseg.compute.device import Machine
from genseg.config import GenerationPlan, Plan, Settings
from genseg.errors import DeviceError
from genseg.generators import registry, style
from genseg.masks.growth import level_sets
from genseg.segmenters import unet
from genseg.segmenters.registry import build_segmenter, segmenters
from genseg.training import memory_forecast as memory
from genseg.training import rehearsal
from genseg.training.dummy import made_up_cases
from genseg.training.gather import TrainingData, gather
from genseg.training.live_bytes import LiveBytes
from genseg.training.memory_forecast import check_memory, forecast_memory, needed_memory
from genseg.training.rehearsal import Rehearsal, _kinds, rehearse

MIB = 2**20
NETWORKS = [(name, rank) for name, spec in segmenters().items() for rank in spec.ranks]


def test_storages_are_counted_once_and_while_they_are_needed() -> None:
    with LiveBytes() as live:
        first = torch.zeros(MIB)
        view = first[10:].view(-1)
        assert live.now == 4 * MIB
        second = first + 1
        assert live.now == 8 * MIB
        del first
        assert live.now == 8 * MIB
        del view, second
    assert (live.now, live.peak) == (0, 8 * MIB)


def test_what_was_made_before_is_counted_where_it_is_held() -> None:
    weight = torch.zeros(MIB)
    live = LiveBytes()
    live.hold([weight, weight[1:]])
    assert live.now == 4 * MIB


@pytest.fixture
def _one_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of one level, and a coarse grid of styles: a rehearsal's time is that of the number of operations."""
    monkeypatch.setattr(unet, "SMALL", {2: [4]})
    monkeypatch.setitem(registry.GENERATORS, "small", registry.GeneratorSpec("small", "tiny", {2: (4,)}))
    monkeypatch.setattr(style, "GRID", {2: 4})


@pytest.mark.parametrize(("name", "rank"), NETWORKS)
def test_every_segmenter_can_be_rehearsed(
    plan_of: Callable[..., Plan], machine: Machine, monkeypatch: pytest.MonkeyPatch, name: str, rank: int
) -> None:
    # All that stays is there after one update; see the next test.
    monkeypatch.setattr(rehearsal, "ROUNDS", 1)
    plan = plan_of(rank, segmenter=name, patch_size=(32,) * rank, channels=3 if rank == 2 else 1)
    found = rehearse(plan, 4, machine)
    weights = list(build_segmenter(name, rank, plan.channels, plan.classes).parameters())
    held, trained = sum(one.nbytes for one in weights), sum(one.nbytes for one in weights if one.requires_grad)
    # The weights and their average; a gradient and two moments of those that are trained; statistics of normalisation.
    expected = 2 * held + 3 * trained
    assert expected <= found.state < 1.06 * expected
    assert found.peak > found.state


@pytest.mark.usefixtures("_one_level")
def test_all_that_stays_is_there_after_one_update_and_the_second_holds_more(
    plan_of: Callable[..., Plan], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(2)
    found = []
    for rounds in (1, 2):
        monkeypatch.setattr(rehearsal, "ROUNDS", rounds)
        found.append(rehearse(plan, 4, machine))
    assert found[0].state == found[1].state
    assert found[0].peak < found[1].peak


@pytest.mark.usefixtures("_one_level")
def test_arms_take_the_more_the_more_they_do_and_nothing_stays_that_has_no_memory(
    plan_of: Callable[..., Plan], machine: Machine
) -> None:
    alone = plan_of(2, batch_size=4)
    generating = [GenerationPlan(method=method, pretraining=2, batch_size=4) for method in ("separate", "joint")]
    plans = [alone, *(alone.model_copy(update={"generation": one}) for one in generating)]
    peaks = [rehearse(plan, 4, machine).peak for plan in plans]
    assert peaks == sorted(set(peaks))
    mask = made_up_cases(1, alone)[0].mask
    assert mask is not None
    assert type(level_sets(mask, alone.classes, (1.0, 1.0)).distances) is torch.Tensor


@pytest.mark.parametrize(
    ("method", "growing", "expected"),
    [
        ("joint", 0.0, [((64, 64), True)]),
        ("joint", 0.9, [((48, 48), True), ((64, 64), False)]),  # the search is over before images are whole
        ("joint", 0.6, [((64, 64), True)]),
        ("separate", 0.9, [((64, 64), False)]),
    ],
)
def test_feedback_is_counted_at_the_largest_size_that_it_comes_with(
    plan_of: Callable[..., Plan], method: str, growing: float, expected: list[tuple[tuple[int, ...], bool]]
) -> None:
    generation = GenerationPlan.model_validate({"method": method, "pretraining": 2})
    plan = plan_of(2, patch_size=(64, 64), updates=100, growing=growing, generation=generation)
    assert [(one.patch_size, is_steered) for one, is_steered in _kinds(plan)] == expected


@pytest.mark.usefixtures("_one_level")
def test_activations_grow_with_the_batch(plan_of: Callable[..., Plan], machine: Machine) -> None:
    peaks = [rehearse(plan_of(2, batch_size=batch, patch_size=(64, 64)), 4, machine).peak for batch in (8, 16, 32)]
    assert peaks[2] - peaks[1] == pytest.approx(2 * (peaks[1] - peaks[0]), rel=0.05)


@pytest.fixture(scope="module")
def _rehearsed_once() -> Iterator[None]:
    """Forecasts of the same plan rehearse it once: `rehearse` gives the same numbers whenever it is asked."""
    known: dict[tuple[str, int], Rehearsal] = {}

    def once(plan: Plan, cases: int, machine: Machine) -> Rehearsal:
        key = plan.model_dump_json(), cases
        if key not in known:
            known[key] = rehearse(plan, cases, machine)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "rehearse", once)
        yield


@pytest.fixture
def gathered(_rehearsed_once: None, rgb_phantoms: Path, rgb_settings: Settings, machine: Machine) -> TrainingData:
    """Pictures that are ready to be trained on."""
    return gather(rgb_phantoms, rgb_settings, None, machine, silent)


@pytest.mark.fault(35)
def test_the_forecast_holds_what_the_process_has_and_what_it_will_need(
    gathered: TrainingData, machine: Machine
) -> None:
    forecast = forecast_memory(gathered, machine)
    assert forecast.held > 100 * MIB
    assert memory.REMAINDER < forecast.more < 1024 * MIB
    assert forecast.fits


@pytest.mark.fault(35)
def test_what_cannot_fit_is_refused_and_the_cure_is_named(
    gathered: TrainingData, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 160 * MIB)
    with pytest.raises(DeviceError, match=r"0\.2 GiB are free on cpu; lower --batch-size \(now 2, 1 should fit\)"):
        check_memory(gathered, machine)
    monkeypatch.setattr(memory, "free_memory", lambda: 10 * MIB)
    with pytest.raises(DeviceError, match=r"lower --size \(now 32 x 32\), or free some memory"):
        check_memory(gathered, machine)


@pytest.mark.fault(35)
def test_nothing_is_counted_where_there_is_plenty(
    gathered: TrainingData, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "forecast_memory", lambda *_: pytest.fail("counted"))
    monkeypatch.setattr(memory, "free_memory", lambda: 2**40)
    check_memory(gathered, machine)
    assert re.fullmatch(r"less than 2\.[0-9] GiB; 1024\.0 GiB are free", needed_memory(gathered, machine))


@pytest.mark.fault(35)
def test_the_bound_is_above_the_forecast_and_the_forecast_is_told_where_it_may_matter(
    gathered: TrainingData, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = needed_memory(gathered, machine)
    monkeypatch.setattr(memory, "free_memory", lambda: 160 * MIB)
    forecast = forecast_memory(gathered, machine)
    assert needed_memory(gathered, machine).endswith("more than now")
    assert float(told.split()[2]) * 1024 * MIB > forecast.more


@pytest.mark.fault(35)
@pytest.mark.parametrize(
    ("folder", "names", "cached"),
    [
        (".", ("memory.max", "memory.current"), "inactive_file"),
        ("memory", ("memory.limit_in_bytes", "memory.usage_in_bytes"), "total_inactive_file"),
    ],
)
def test_a_container_has_what_its_limit_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str, names: tuple[str, str], cached: str
) -> None:
    monkeypatch.setattr(machine_memory, "GROUPS", tmp_path)
    assert machine_memory.free_memory() > 300 * MIB
    group = tmp_path / folder
    group.mkdir(exist_ok=True)
    for name, content in zip(
        (*names, "memory.stat"), (f"{300 * MIB}", f"{250 * MIB}", f"anon 5\n{cached} {MIB}"), strict=True
    ):
        (group / name).write_text(content + "\n")
    assert machine_memory.free_memory() == 51 * MIB
    (group / names[0]).write_text("max\n")
    assert machine_memory.free_memory() > 300 * MIB
