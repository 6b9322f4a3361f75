"""How long a plan will take on this machine: measured, not guessed."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import partial

import torch

from genseg.compute.device import Machine
from genseg.config import TURNS, Plan
from genseg.joint.generation import Generation, begin_generation
from genseg.joint.loop import JointLoop
from genseg.segmenters.learner import Learner, begin, make_update
from genseg.training.dummy import made_up_cases
from genseg.training.views import FeatureBatches, encode, has_views, view_count

MEASURED = 2
"""Updates of a kind that are timed, after one that warms up."""

CASES = 4
"""Made-up cases that a generator is timed on."""


def estimate_seconds(plan: Plan, machine: Machine) -> float:
    """Seconds that the plan's updates will take, from a few of each kind on made-up cases; validations come on top."""
    if plan.generation is not None:
        return _seconds_with_generator(plan, machine)
    learner = begin(plan, 0, machine)
    if has_views(plan):
        return _seconds_on_views(plan, learner, machine)
    sizes = Counter(plan.size_at(update) for update in range(plan.updates))
    return sum(count * _seconds_of_update(learner, size, plan, machine) for size, count in sizes.items())


def _seconds_of_update(learner: Learner, size: tuple[int, ...], plan: Plan, machine: Machine) -> float:
    """An update on real images of this size alone."""
    generator = torch.Generator().manual_seed(0)
    image = machine.send(torch.randn((plan.batch_size, plan.channels, *size), generator=generator))
    mask = torch.randint(0, plan.classes, (plan.batch_size, *size), generator=generator).to(machine.device)
    return _seconds(lambda: make_update(learner, image, mask, plan, 0, machine), MEASURED)


def _seconds_on_views(plan: Plan, state: Learner, machine: Machine) -> float:
    """The features of all views, then updates on those of a few."""
    batches = FeatureBatches(made_up_cases(CASES, plan), plan, 0, machine)
    image = machine.send(torch.zeros(1, plan.channels, *plan.patch_size))
    encoding = _seconds(lambda: encode(state.segmenter, image, machine), MEASURED)
    batch = batches.batch(0, state.segmenter)
    views = min(view_count(plan, CASES), plan.updates * plan.batch_size)
    return views * encoding + plan.updates * _seconds(lambda: make_update(state, *batch, plan, 0, machine), MEASURED)


def _seconds_with_generator(plan: Plan, machine: Machine) -> float:
    """Stage I alone, then updates of stage II with all that comes with some of them."""
    cases = made_up_cases(CASES, plan)
    loop = JointLoop(cases, [case.name for case in cases], plan, 0, machine)
    learner, begun = begin(plan, 0, machine), begin_generation(plan, CASES, 0, machine)
    begun.feedbacks = 1  # further on than feedback that is judged
    total = 0.0
    for size, count in Counter(map(plan.pretraining_size_at, range(plan.pretraining))).items():
        total += count * _seconds(partial(_pretrain_at, size, plan, loop, begun), MEASURED)
    for updates in _kinds(loop, plan):
        # One that takes no styles anew, where there is such a one: the generator is judged with them.
        example = next((update for update in updates if not loop.takes_styles(update)), updates[0])
        total += len(updates) * _seconds(partial(_advance_at, example, loop, learner, begun), MEASURED)
    return total


def _pretrain_at(size: tuple[int, ...], plan: Plan, loop: JointLoop, begun: Generation) -> None:
    """An update of stage I on images of this size, after all that are planned: a generator that has learned nothing is
    not judged there.
    """
    numbers = range(plan.pretraining, 2 * plan.pretraining + len(TURNS))
    begun.pretrained = next(number for number in numbers if plan.pretraining_size_at(number) == size)
    loop.pretrain(begun)


def _kinds(loop: JointLoop, plan: Plan) -> list[list[int]]:
    """The updates of each size with stages I and III, with stage I, and with neither, as far as there are any."""
    kinds: defaultdict[tuple[tuple[int, ...], bool, bool], list[int]] = defaultdict(list)
    for update in range(plan.updates):
        kinds[plan.size_at(update), update in loop.steered, loop.trains_generator(update)].append(update)
    return [kinds[kind] for kind in sorted(kinds, reverse=True)]


def _advance_at(update: int, loop: JointLoop, learner: Learner, begun: Generation) -> None:
    learner.update = update
    loop.advance(learner, begun)


def _seconds(action: Callable[[], object], count: int) -> float:
    """Mean seconds of an action, after one that warms up."""
    action()
    started = time.perf_counter()
    for _ in range(count):
        action()
    return (time.perf_counter() - started) / count
