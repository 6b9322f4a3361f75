"""New training pairs from two real ones of a batch: part of one image, and of its mask, comes from the other.

copy-paste: the other's objects, as they lie (Ghiasi et al., Simple Copy-Paste is a Strong Data Augmentation Method for
Instance Segmentation, CVPR 2021). cutmix: a box (Yun et al., CutMix, ICCV 2019).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor

from genseg.read.case import IGNORE

Mix = Literal["copy-paste", "cutmix"]

PROBABILITY = 0.5
"""How often an image is mixed; the others stay as they are."""


def mix_pairs(image: Tensor, mask: Tensor, mix: Mix, generator: Generator) -> tuple[Tensor, Tensor]:
    """Mix each image with the one before it in the batch, whose order is random.

    image: `(batch, channel, *spatial)`. mask: `(batch, *spatial)` class indices or `IGNORE`. Every draw comes from
    `generator`, on the CPU. Returns new tensors of the same shapes.
    """
    other_image, other_mask = image.roll(1, 0), mask.roll(1, 0)
    chosen = (torch.rand(len(image), generator=generator) < PROBABILITY).to(mask.device)
    if mix == "copy-paste":
        region = (other_mask > 0) & (other_mask != IGNORE)
    else:
        region = torch.stack([_box(mask.shape[1:], generator) for _ in mask]).to(mask.device)
    region &= chosen.reshape(-1, *[1] * (mask.ndim - 1))
    return torch.where(region[:, None], other_image, image), torch.where(region, other_mask, mask)


def _box(size: torch.Size, generator: Generator) -> Tensor:
    """`(*spatial)` bool: a box of an evenly drawn share of the size around an evenly drawn place; cut at the border."""
    share, *centre = torch.rand(1 + len(size), generator=generator).tolist()
    box = torch.ones(size, dtype=torch.bool)
    for axis, (length, middle) in enumerate(zip(size, centre, strict=True)):
        distance = (torch.arange(length) + 0.5 - middle * length).abs()
        inside = distance <= share ** (1 / len(size)) * length / 2
        box &= inside.reshape([-1 if other == axis else 1 for other in range(len(size))])
    return box
