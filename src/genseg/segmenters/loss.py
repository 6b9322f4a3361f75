"""The segmentation loss: cross-entropy plus soft Dice.

Source: Milletari et al., V-Net, 3DV 2016 (soft Dice); Isensee et al., nnU-Net, Nature Methods 2021 (the sum, and Dice
over the whole batch).

Empty classes: Dice is pooled over the batch, foreground classes only. A class that no pixel of the batch's truth
holds has no defined overlap and is left out of the Dice mean; predicting it falsely is still punished by
cross-entropy. If no foreground class is present at all, the loss is cross-entropy alone.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from genseg.data.case import IGNORE
from genseg.segmenters.blocks import at_least_float32


def segmentation_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Cross-entropy + (1 - soft Dice), a scalar; half precisions are raised to float32.

    logits: `(batch, class, *spatial)`; mask: `(batch, *spatial)` class indices, `IGNORE` where nothing counts.
    """
    logits = at_least_float32(logits)
    truth = mask.long()
    counted = truth != IGNORE
    entropy = functional.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="sum") / counted.sum().clamp(min=1)
    return entropy + soft_dice_loss(logits.softmax(1), truth, counted)


def soft_dice_loss(probabilities: Tensor, truth: Tensor, counted: Tensor) -> Tensor:
    """1 - mean soft Dice over the foreground classes present in the batch; 0 where none is present.

    probabilities: `(batch, class, *spatial)`; truth: `(batch, *spatial)` int64; counted: the same, bool.
    """
    classes = probabilities.shape[1]
    one_hot = functional.one_hot(torch.where(counted, truth, 0), classes).movedim(-1, 1).to(probabilities)
    weight = counted.unsqueeze(1).to(probabilities)
    one_hot, probabilities = one_hot * weight, probabilities * weight
    axes = (0, *range(2, probabilities.ndim))
    overlap = (probabilities * one_hot).sum(axes)[1:]
    total = (probabilities + one_hot).sum(axes)[1:]
    present = (one_hot.sum(axes)[1:] > 0).to(probabilities)
    dice = 2 * overlap / total.clamp(min=1e-6)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)
