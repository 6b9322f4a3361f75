"""Which cases are held out when: every label is held out in turn (cross-fitting), a patient's all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genseg.randomness import generator_for


class RotatingFolds:
    """Parts of the training cases that take turns in being held out.

    groups: the patient, or whatever must stay together, of each case. folds: how many parts, fewer where there are
    fewer groups. every: updates until the next part's turn. until: the update from which on nobody is held out.
    """

    def __init__(self, groups: Sequence[str], folds: int, every: int, until: int, seed: int) -> None:
        names = sorted(set(groups))
        order = torch.randperm(len(names), generator=generator_for(seed, "rotating folds", 0)).tolist()
        count = min(folds, len(names))
        fold_of = {names[position]: place % count for place, position in enumerate(order)}
        self._folds = [[case for case, group in enumerate(groups) if fold_of[group] == fold] for fold in range(count)]
        self._every = every
        self._until = until

    def __len__(self) -> int:
        return len(self._folds)

    def turn(self, update: int) -> int:
        """Whose turn it is in an update: the number of a part; 0 once nobody is held out."""
        return update // self._every % len(self._folds) if update < self._until else 0

    def held_out(self, update: int) -> list[int]:
        """Cases that no update of segmenter or generator may see now."""
        return self._folds[self.turn(update)] if update < self._until else []

    def training(self, update: int) -> list[int]:
        """All other cases."""
        held_out = self.held_out(update)
        return sorted(case for fold in self._folds for case in fold if case not in held_out)
