"""The segmentation loss: cross-entropy plus soft Dice, of every image by itself.

Sources: Milletari et al., V-Net, 3DV 2016 (soft Dice); Isensee et al., nnU-Net, Nature Methods 2021 (the sum). Dice is
taken image by image, as it is in the scores, so that an image with a small object counts as much as one with a large
object.

Empty classes: each Dice is smoothed by one pixel, `(2 overlap + 1) / (sizes + 1)`. A class that an image does not hold
is perfect where it is not predicted either, and costs up to 1 where it is; a class that is predicted nowhere in an
image that holds it costs nearly 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from genseg.compute.layers import at_least_float32

SMOOTHING = 1.0
"""Pixels added to both sides of the fraction that Dice is."""


def segmentation_loss(logits: Tensor, mask: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean over images of cross-entropy + (1 - soft Dice), a scalar; half precisions are raised to float32.

    logits: `(batch, class, *spatial)`. mask: `(batch, *spatial)` class indices, `IGNORE` where nothing counts; or
    `(batch, class, *spatial)` shares of the classes in 0..1, which sum to 1, where the loss has to have a derivative
    with respect to the mask. weight: `(batch,)`, how much each image counts; 1 where None.
    """
    logits = at_least_float32(logits)
    truth = mask.to(logits) if mask.ndim == logits.ndim else one_hot(mask, logits)
    # Spelled out, because the forward derivatives of log_softmax and logsumexp cannot be differentiated once more.
    shifted = logits - logits.detach().amax(1, keepdim=True)
    odds = shifted.exp()
    total = odds.sum(1, keepdim=True)
    counted = truth.flatten(1).sum(1).clamp(min=1)
    entropy = (truth * (total.log() - shifted)).flatten(1).sum(1) / counted
    losses = entropy + soft_dice_losses(odds / total, truth)
    return losses.mean() if weight is None else (weight.to(losses) * losses).mean()


def soft_dice_losses(probabilities: Tensor, truth: Tensor) -> Tensor:
    """1 - soft Dice, the mean over foreground classes, of each image: `(batch,)`.

    probabilities, truth: `(batch, class, *spatial)`; where the truth is 0 in all classes, nothing counts.
    """
    counted = truth.sum(1, keepdim=True)
    overlap = (probabilities * truth).flatten(2).sum(2)[:, 1:]
    sizes = (probabilities * counted + truth).flatten(2).sum(2)[:, 1:]
    return (1 - (2 * overlap + SMOOTHING) / (sizes + SMOOTHING)).mean(1)


def one_hot(mask: Tensor, like: Tensor) -> Tensor:
    """Class indices `(batch, *spatial)` as `(batch, class, *spatial)`, typed as `like`; 0 in all where `IGNORE`."""
    classes = torch.arange(like.shape[1], device=mask.device).view(-1, *[1] * (mask.ndim - 1))
    return (mask.unsqueeze(1) == classes).to(like)
