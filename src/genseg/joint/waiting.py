"""Which cases are held out when: some wait, and join the others patient by patient.

Nobody is held out who has trained before. On a case that the segmenter knows its error says how well it remembers, and
a feedback by it would ask for more of what is remembered: real images instead of synthetic ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from genseg.compute.randomness import generator_for

JUDGED = 8
"""Images, at least, that the held-out error is the mean over; where fewer cases wait, each is changed several times."""


class WaitingCases:
    """Cases that wait are held out until they join the training cases, which they never leave.

    groups: the patient, or whatever must stay together, of each case. share: of the patients that wait at first, one
    at least. until: the update from which on nobody waits; before it their number falls evenly.
    """

    def __init__(self, groups: Sequence[str], share: float, until: int, seed: int) -> None:
        names = sorted(set(groups))
        order = torch.randperm(len(names), generator=generator_for(seed, "waiting cases", 0)).tolist()
        # One patient trains from the start; where there is no other, nobody can wait.
        self.most = min(max(1, round(share * len(names))), len(names) - 1) if until else 0
        """How many patients wait at first."""
        place = {names[position]: number for number, position in enumerate(order)}
        self._places = [place[group] for group in groups]
        self._until = until

    def patients(self, update: int) -> int:
        """How many patients wait in an update; one at least before the last has joined."""
        return math.ceil(self.most * (1 - update / self._until)) if update < self._until else 0

    def held_out(self, update: int) -> list[int]:
        """Cases that no update of the segmenter has seen, and that neither it nor the generator may see now."""
        waiting = self.patients(update)
        return [case for case, place in enumerate(self._places) if place < waiting]

    def training(self, update: int) -> list[int]:
        """All other cases."""
        waiting = self.patients(update)
        return [case for case, place in enumerate(self._places) if place >= waiting]
