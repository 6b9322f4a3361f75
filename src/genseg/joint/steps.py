"""Optimiser steps as pure functions of the gradient, so that the step that is really taken can be differentiated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Tensors = dict[str, Tensor]
"""Tensors by the name of the weight that they belong to."""


@dataclass(frozen=True)
class Step:
    """One optimiser step as it was taken.

    before: weights before it. gradient: of the loss there, before clipping. move: from a gradient to the weights after
    the step; differentiable.
    """

    before: Tensors
    gradient: Tensors
    move: Callable[[Tensors], Tensors]

    def pull_back(self, cotangent: Tensors) -> Tensors:
        """`(d weights after / d gradient)^T cotangent` at the gradient of the step."""
        pull: Callable[[Tensors], tuple[Tensors]] = torch.func.vjp(self.move, self.gradient)[1]
        return pull(cotangent)[0]


def record_step(module: nn.Module, optimiser: torch.optim.Optimizer, largest_norm: float | None = None) -> Step:
    """The step that `optimiser`, AdamW or plain SGD, is about to take on `module` after clipping at `largest_norm`.

    To be called between `backward` and clipping. Everything is copied, for the step changes it in place. Weights
    without a gradient do not move and are left out.
    """
    groups = {id(weight): group for group in optimiser.param_groups for weight in group["params"]}
    moved = {
        name: weight for name, weight in module.named_parameters() if id(weight) in groups and weight.grad is not None
    }
    gradient = {name: weight.grad.clone() for name, weight in moved.items() if weight.grad is not None}
    before = {name: weight.detach().clone() for name, weight in moved.items()}
    make = _adamw_move if isinstance(optimiser, torch.optim.AdamW) else _sgd_move
    moves = {
        name: make(before[name], groups[id(weight)], dict(optimiser.state.get(weight, {})))
        for name, weight in moved.items()
    }

    def move(gradient: Tensors) -> Tensors:
        clipped = gradient if largest_norm is None else clip(gradient, largest_norm)
        return {name: moves[name](clipped[name]) for name in moves}

    return Step(before, gradient, move)


def clip(gradient: Tensors, largest_norm: float) -> Tensors:
    """`torch.nn.utils.clip_grad_norm_` as a function. Source: Pascanu et al., ICML 2013, algorithm 1."""
    # A root has no derivative at 0; a gradient of 0 stays as it is either way.
    norm = torch.stack([one.square().sum() for one in gradient.values()]).sum().clamp(min=1e-30).sqrt()
    factor = (largest_norm / (norm + 1e-6)).clamp(max=1.0)
    return {name: one * factor for name, one in gradient.items()}


def _sgd_move(before: Tensor, group: dict[str, Any], _: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """`S' = S - rate * g`."""
    rate = group["lr"]
    return lambda gradient: before - rate * gradient


def _adamw_move(before: Tensor, group: dict[str, Any], state: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    """AdamW's step of one weight. Source: Loshchilov and Hutter, ICLR 2019, algorithm 2, lines 6 to 12."""
    rate, decay, epsilon = group["lr"], group["weight_decay"], group["eps"]
    slow, slower = group["betas"]
    count = int(state.get("step", 0)) + 1
    first_before = state["exp_avg"].clone() if state else torch.zeros_like(before)
    second_before = state["exp_avg_sq"].clone() if state else torch.zeros_like(before)

    def move(gradient: Tensor) -> Tensor:
        first = slow * first_before + (1 - slow) * gradient
        second = slower * second_before + (1 - slower) * gradient.square()
        # Where no gradient ever came the second moment is 0, and a root has no derivative there.
        spread = (second / (1 - slower**count)).clamp(min=1e-30).sqrt() + epsilon
        after: Tensor = before * (1 - rate * decay) - rate * first / (1 - slow**count) / spread
        return after

    return move
