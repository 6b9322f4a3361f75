"""What feedback can turn on the way from real masks to synthetic pairs, beside the generator itself."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from genseg.config import LARGEST_SHARE
from genseg.generators.style import StyleDistribution
from genseg.masks.ranges import MaskRanges


class Knobs(nn.Module):
    """Ranges of the masks, temperature of the styles, weight of each real mask's descendants, share of the pairs.

    All are stored as unconstrained parameters. cases: how many real masks there are. share: where the share begins,
    below `LARGEST_SHARE`.
    """

    def __init__(self, ranges: MaskRanges, styles: StyleDistribution, cases: int, share: float) -> None:
        super().__init__()
        self.ranges = ranges
        self.styles = styles
        self.pair_logits = nn.Parameter(torch.zeros(cases))
        self.share_logit = nn.Parameter(torch.logit(torch.tensor(share / LARGEST_SHARE)))

    def share(self) -> Tensor:
        """How much synthetic pairs count in stage II, as a share of all images, in 0..`LARGEST_SHARE`."""
        return LARGEST_SHARE * self.share_logit.sigmoid()

    def pair_weights(self, cases: list[int]) -> Tensor:
        """How much the pairs made from these real masks count among synthetic ones, `(len(cases),)`; 1 on average."""
        return (len(self.pair_logits) * self.pair_logits.softmax(0))[cases]

    def values(self) -> dict[str, float]:
        """What is said of the knobs in the record."""
        ranges = {f"range_{name}": value.item() for name, value in self.ranges.values().items()}
        weights = self.pair_weights(list(range(len(self.pair_logits)))).detach()
        spread = {"least_pair_weight": weights.min().item(), "largest_pair_weight": weights.max().item()}
        return {**ranges, "temperature": self.styles.temperature.item(), "share": self.share().item(), **spread}
