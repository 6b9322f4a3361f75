"""How long a plan will take: in proportion to its updates."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import pytest

from genseg.config import Plan
from genseg.device import choose_machine
from genseg.training import estimate


@pytest.mark.parametrize("rank", [2, 3])
def test_the_time_of_an_update_is_multiplied_by_the_plan_s_updates(
    rank: int, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(100.0, 3.0)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: next(clock))
    plan = plan_of(rank, updates=50)
    machine = choose_machine("cpu", "float32")
    assert estimate.estimate_seconds(plan, machine) == pytest.approx(3.0 / estimate.MEASURED * 50)
