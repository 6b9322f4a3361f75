"""How long a plan will take on this machine: measured, not guessed."""

from __future__ import annotations

import time

import torch

from genseg.config import Plan
from genseg.device import Machine
from genseg.segmenters.learner import begin, make_update

MEASURED = 2
"""Updates that are timed, after one that warms up."""


def estimate_seconds(plan: Plan, machine: Machine) -> float:
    """Seconds that the plan's updates will take, from a few updates on random images; validations come on top."""
    state = begin(plan, 0, machine)
    generator = torch.Generator().manual_seed(0)
    shape = (plan.batch_size, plan.channels, *plan.patch_size)
    image = machine.send(torch.randn(shape, generator=generator))
    mask = torch.randint(0, plan.classes, (plan.batch_size, *plan.patch_size), generator=generator)
    mask = mask.to(machine.device)
    make_update(state, image, mask, plan, 0, machine)
    started = time.perf_counter()
    for _ in range(MEASURED):
        make_update(state, image, mask, plan, 0, machine)
    return (time.perf_counter() - started) / MEASURED * plan.updates
