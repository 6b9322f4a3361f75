"""Masks that styles are tried on."""

from __future__ import annotations

import torch


def square(rank: int, start: int, size: int = 64, classes: int = 2) -> torch.Tensor:
    """A mask whose first foreground class has an object of 16 pixels' edge from `start` on."""
    mask = torch.zeros(1, classes, *(size,) * rank)
    mask[:, 0] = 1
    place = (slice(None), slice(None), *(slice(start, start + 16),) * rank)
    mask[place] = 0
    mask[:, 1][place[:1] + place[2:]] = 1
    return mask
