"""Which cases are held out when: every label is held out in turn (cross-fitting), a patient's all at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genseg.randomness import generator_for


class RotatingFolds:
    """Parts of the training cases that take turns in being held out.

    groups: the patient, or whatever must stay together, of each case. folds: how many parts, fewer where there are
    fewer groups. every: updates until the next part's turn.
    """

    def __init__(self, groups: Sequence[str], folds: int, every: int, seed: int) -> None:
        names = sorted(set(groups))
        order = torch.randperm(len(names), generator=generator_for(seed, "rotating folds", 0)).tolist()
        count = min(folds, len(names))
        fold_of = {names[position]: place % count for place, position in enumerate(order)}
        self._folds = [[case for case, group in enumerate(groups) if fold_of[group] == fold] for fold in range(count)]
        self._every = every

    def __len__(self) -> int:
        return len(self._folds)

    def turn(self, update: int) -> int:
        """Whose turn it is in an update: the number of a part."""
        return update // self._every % len(self._folds)

    def held_out(self, update: int) -> list[int]:
        """Cases that no update of segmenter or generator may see now."""
        return self._folds[self.turn(update)]

    def training(self, update: int) -> list[int]:
        """All other cases."""
        held_out = set(self.held_out(update))
        return [case for fold in self._folds for case in fold if case not in held_out]
