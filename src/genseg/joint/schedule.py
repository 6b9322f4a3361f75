"""When what happens: which cases are held out until when, and which updates stage III follows.

Held-out cases join the training cases patient by patient. Nobody is held out who has trained before. On a case that
the segmenter knows its error says how well it remembers, and a feedback by it would ask for more of what is remembered:
real images instead of synthetic ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.joint.generation import settings_of

JUDGED = 8
"""Images, at least, that the held-out error is the mean over; fewer held-out cases are each changed several times."""


def search_end(plan: Plan) -> int:
    """The update from which on nobody is held out and nothing is steered; 0 where the generator is frozen, for that
    needs nobody held out.
    """
    settings = settings_of(plan)
    return 0 if settings.method == "separate" else max(1, round(settings.search * plan.updates))


def steered_updates(plan: Plan) -> range:
    """The updates that end with stage III: every so many of those in which cases are held out, one at least.

    None before the rate has risen: the segmenter's running statistics are hardly those of images until then, it cannot
    predict, and its error says nothing of the pairs.
    """
    settings, end = settings_of(plan), search_end(plan)
    if settings.method != "joint":
        return range(0)
    first = min(math.ceil(plan.warm_up * plan.updates / settings.every), (end - 1) // settings.every)
    return range(first * settings.every, end, settings.every)


class HeldOutSchedule:
    """Held-out cases stay so until they join the training cases, which they never leave.

    groups: the patient, or whatever must stay together, of each case. share: of the patients that are held out at
    first, one at least. until: the update from which on nobody is; before it their number falls evenly.
    """

    def __init__(self, groups: Sequence[str], share: float, until: int, seed: int) -> None:
        names = sorted(set(groups))
        order = torch.randperm(len(names), generator=generator_for(seed, "waiting cases", 0)).tolist()
        # One patient trains from the start; where there is no other, nobody can be held out.
        self.most = min(max(1, round(share * len(names))), len(names) - 1) if until else 0
        """How many patients are held out at first."""
        place = {names[position]: number for number, position in enumerate(order)}
        self._places = [place[group] for group in groups]
        self._until = until

    def patients(self, update: int) -> int:
        """How many patients are held out in an update; one at least before the last has joined."""
        return math.ceil(self.most * (1 - update / self._until)) if update < self._until else 0

    def held_out(self, update: int) -> list[int]:
        """Cases that no update of the segmenter has seen, and that neither it nor the generator may see now."""
        held_out = self.patients(update)
        return [case for case, place in enumerate(self._places) if place < held_out]

    def training(self, update: int) -> list[int]:
        """All other cases."""
        held_out = self.patients(update)
        return [case for case, place in enumerate(self._places) if place >= held_out]
