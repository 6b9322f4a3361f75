"""How far new masks may be from real ones, as parameters that a gradient can move."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genseg.errors import SettingsError, unknown


@dataclass(frozen=True)
class Reach:
    """Where a range starts, and what it stays below."""

    initial: float
    limit: float


REACHES: dict[int, dict[str, Reach]] = {
    2: {
        "rotation": Reach(math.pi, 1.5 * math.pi),
        "scale": Reach(0.2, 0.6),
        "shear": Reach(0.1, 0.5),
        "translation": Reach(0.1, 0.3),
        "elastic": Reach(0.06, 0.15),
        "growth": Reach(0.15, 0.6),
        "contour": Reach(0.1, 0.5),
    },
    3: {
        "rotation": Reach(math.pi / 8, math.pi / 2),
        "scale": Reach(0.1, 0.6),
        "shear": Reach(0.1, 0.5),
        "translation": Reach(0.1, 0.3),
        "elastic": Reach(0.04, 0.15),
        "growth": Reach(0.1, 0.6),
        "contour": Reach(0.08, 0.5),
    },
}
"""By spatial rank. The limit of `elastic` keeps the deformation free of folds; see `spatial`."""

UPRIGHT: dict[str, float] = {"rotation": math.pi / 12}
"""First values for pictures that have an upper and a lower side and may not be flipped, such as chest X-rays."""


class MaskRanges(nn.Module):
    """Ranges within which the changes of real masks are drawn, each evenly from -value to value.

    rotation: radians, about each axis in 3D. scale: natural logarithm of the factor. shear: mm sideways per mm, for
    each pair of axes. translation: share of the size, along each axis. elastic: largest displacement, in half sizes.
    growth: share of its own inner radius by which an object grows or shrinks. contour: the same, but to another extent
    from place to place along the contour.

    Each is stored as an unconstrained parameter; its value is `limit * sigmoid(parameter)`, above 0 and below the
    limit in `REACHES`, so that any optimiser's step leaves it possible.
    """

    def __init__(self, rank: int, initial: Mapping[str, float] | None = None) -> None:
        """rank: 2 or 3. initial: first values of some ranges, in place of those in `REACHES`.

        Raises SettingsError where `initial` names no range or a value is not between 0 and the range's limit.
        """
        super().__init__()
        self._reaches = REACHES[rank]
        chosen = {name: reach.initial for name, reach in self._reaches.items()} | dict(initial or {})
        self._check(chosen)
        for name, value in chosen.items():
            self.register_parameter(name, nn.Parameter(torch.logit(torch.tensor(value / self._reaches[name].limit))))

    def values(self) -> dict[str, Tensor]:
        """Every range by its name: scalars that carry the gradient to the parameters."""
        return {name: reach.limit * getattr(self, name).sigmoid() for name, reach in self._reaches.items()}

    def _check(self, chosen: Mapping[str, float]) -> None:
        strangers = sorted(set(chosen) - set(self._reaches))
        if strangers:
            raise SettingsError("; ".join(unknown("mask range", name, self._reaches) for name in strangers))
        wrong = [
            f"{name} = {chosen[name]:g} (between 0 and {reach.limit:g})"
            for name, reach in self._reaches.items()
            if not 0 < chosen[name] < reach.limit
        ]
        if wrong:
            raise SettingsError(f"mask ranges out of bounds: {', '.join(wrong)}")
