"""What feedback can turn on the way from real masks to synthetic pairs, beside the generator itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genseg.generators.style import StyleDistribution
from genseg.masks.ranges import MaskRanges

MOST = 2.0
"""Neither gamma nor a pair's weight goes beyond; both begin in the middle, at 1."""


class Knobs(nn.Module):
    """Ranges of the masks, temperature of the styles, weight of each real mask's descendants, and gamma.

    All are stored as unconstrained parameters. cases: how many real masks there are.
    """

    def __init__(self, ranges: MaskRanges, styles: StyleDistribution, cases: int) -> None:
        super().__init__()
        self.ranges = ranges
        self.styles = styles
        self.pair_logits = nn.Parameter(torch.zeros(cases))
        self.gamma_logit = nn.Parameter(torch.zeros(()))

    def gamma(self) -> Tensor:
        """How much synthetic pairs count in stage II beside real ones, in 0..`MOST`."""
        return MOST * self.gamma_logit.sigmoid()

    def pair_weights(self, cases: list[int]) -> Tensor:
        """How much the pairs made from these real masks count among synthetic ones, `(len(cases),)`, in 0..`MOST`."""
        return MOST * self.pair_logits[cases].sigmoid()

    def values(self) -> dict[str, float]:
        """What is said of the knobs in the record."""
        ranges = {f"range_{name}": value.item() for name, value in self.ranges.values().items()}
        weights = MOST * self.pair_logits.detach().sigmoid()
        spread = {"least_pair_weight": weights.min().item(), "largest_pair_weight": weights.max().item()}
        return {**ranges, "temperature": self.styles.temperature.item(), "gamma": self.gamma().item(), **spread}
