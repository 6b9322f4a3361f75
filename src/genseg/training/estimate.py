"""How long a plan will take on this machine: measured, not guessed."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from genseg.config import GenerationPlan, Plan
from genseg.device import Machine
from genseg.joint.generation import begin_generation
from genseg.joint.loop import JointLoop
from genseg.segmenters.learner import begin, make_update
from genseg.training.made_up import made_up_cases

MEASURED = 2
"""Updates of a kind that are timed, after one that warms up."""

CASES = 4
"""Made-up cases that a generator is timed on."""


def estimate_seconds(plan: Plan, machine: Machine) -> float:
    """Seconds that the plan's updates will take, from a few of each kind on made-up cases; validations come on top."""
    if plan.generation is not None:
        return _seconds_with_generator(plan, plan.generation, machine)
    state = begin(plan, 0, machine)
    generator = torch.Generator().manual_seed(0)
    shape = (plan.batch_size, plan.channels, *plan.patch_size)
    image = machine.send(torch.randn(shape, generator=generator))
    mask = torch.randint(0, plan.classes, (plan.batch_size, *plan.patch_size), generator=generator)
    mask = mask.to(machine.device)
    return plan.updates * _seconds(lambda: make_update(state, image, mask, plan, 0, machine), MEASURED)


def _seconds_with_generator(plan: Plan, generation: GenerationPlan, machine: Machine) -> float:
    """Stage I alone, and the loop from one stage III to the next."""
    cases = made_up_cases(CASES, plan)
    loop = JointLoop(cases, [case.name for case in cases], plan, generation, 0, machine)
    learner, begun = begin(plan, 0, machine), begin_generation(plan, generation, CASES, 0, machine)
    # Further on than any generator that is judged, for this one has learned nothing.
    begun.pretrained = plan.pretraining
    alone = _seconds(lambda: loop.pretrain(begun), MEASURED)
    together = _seconds(lambda: loop.advance(learner, begun), generation.every)
    return plan.pretraining * alone + plan.updates * together


def _seconds(action: Callable[[], object], count: int) -> float:
    """Mean seconds of an action, after one that warms up."""
    action()
    started = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - started) / count
