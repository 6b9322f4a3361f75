"""AdamW and its learning rate over the run.

Sources: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019; the same, SGDR, ICLR 2017 (cosine).
"""

from __future__ import annotations

import math

import torch
from torch import nn

from genseg.config import Plan

EPSILON = 1e-6
"""Far below what gradients of any use measure; with PyTorch's 1e-8, weights whose gradient is rounding noise (biases
before normalisation) move as far as all others, and the hypergradient is mostly about them."""


def make_optimiser(segmenter: nn.Module, plan: Plan) -> torch.optim.AdamW:
    """AdamW with weight decay on weights of two dimensions and more, none on biases and normalisation.

    Weights that are frozen are left alone.
    """
    trained = [weight for weight in segmenter.parameters() if weight.requires_grad]
    decayed = [weight for weight in trained if weight.ndim > 1]
    free = [weight for weight in trained if weight.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": free, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=plan.learning_rate, eps=EPSILON, fused=True)


def learning_rate(update: int, plan: Plan) -> float:
    """Linear warm-up to the plan's rate, then half a cosine down to zero at the last update."""
    rising = max(1, round(plan.warm_up * plan.updates))
    if update < rising:
        return plan.learning_rate * (update + 1) / rising
    progress = (update - rising) / max(1, plan.updates - rising)
    return plan.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` in every group from the next update on."""
    for group in optimiser.param_groups:
        group["lr"] = rate
