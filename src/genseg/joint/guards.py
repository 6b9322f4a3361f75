"""The gradient is alive or the program stops: what is looked at before feedback is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import chain

import torch
from torch import Tensor, nn

from genseg.errors import CutLinkError, GeneratorError, NotFiniteError
from genseg.joint.hypergradient import Hypergradient, norm_of
from genseg.joint.steps import Tensors
from genseg.joint.synthesis import Pairs

LEAST_DIVERSITY = 0.02
"""Differences between generated images of one mask, as a share of those among real images, below which a generator
has collapsed."""

LARGEST_L1 = 1.0
"""L1 on real pairs, as a share of what the mean real image scores, from which a generator has diverged."""


def check_pairs(pairs: Pairs, generator: nn.Module) -> None:
    """Raise CutLinkError where generated images are whole numbers, or have no way back to the generator."""
    image = pairs.image
    problems = []
    if not image.is_floating_point():
        problems.append(f"synthetic images are {image.dtype}: whole numbers have no gradient")
    elif not image.requires_grad:
        problems.append("synthetic images have no graph: the generator ran without gradient, or they were detached")
    elif bool((image.detach() == image.detach().round()).all()):
        problems.append("synthetic images hold whole numbers alone: they were rounded")
    if not any(weight.requires_grad for weight in generator.parameters()):
        problems.append("no weight of the generator requires a gradient")
    _stop(problems)


def check_variables(variables: Tensors, optimiser: torch.optim.Optimizer) -> None:
    """Raise CutLinkError where a variable is no leaf that requires a gradient, or the optimiser does not hold it."""
    held = {id(one) for one in chain.from_iterable(group["params"] for group in optimiser.param_groups)}
    problems = [
        f"{name} is {'no leaf' if not one.is_leaf else 'a leaf that requires no gradient'}"
        for name, one in variables.items()
        if not (one.is_leaf and one.requires_grad)
    ]
    problems += [
        f"{name} is not held by stage III's optimiser" for name, one in variables.items() if id(one) not in held
    ]
    _stop(problems)


def check_gradients(found: Hypergradient, variables: Tensors, indirect: Tensors) -> None:
    """Raise CutLinkError where a gradient that must be there is missing or zero.

    variables: all that feedback steers. indirect: those of them that stage I's step depends on.
    """
    problems = [
        f"{name} has no gradient{_kind(found.direct.get(name))}" for name in variables if _dead(found.direct, name)
    ]
    if found.indirect:
        problems += [f"{name} has no indirect gradient" for name in indirect if _dead(found.indirect, name)]
    if all(_dead(found.weights, name) for name in found.weights):
        problems.append("no weight of the generator has a gradient")
    _stop(problems)


def check_finite(found: Hypergradient, error: float, update: int) -> None:
    """Raise NotFiniteError where feedback would put values that are not finite into what it steers."""
    lengths = {name: norm_of(terms).item() for name, terms in vars(found).items()} | {"held-out error": error}
    wrong = [f"{name} {length}" for name, length in lengths.items() if not math.isfinite(length)]
    if wrong:
        raise NotFiniteError(
            f"update {update + 1}: the feedback is not finite: {', '.join(wrong)}; try a lower --learning-rate"
        )


def check_health(generated: Tensor, real: Tensor, l1: float) -> None:
    """Raise GeneratorError where a generator is of no use to a segmenter.

    generated: `(style, channel, *spatial)`, images of one mask in several styles; real: `(batch, channel, *spatial)`;
    l1: mean absolute distance of generated from real images on real pairs.
    """
    if not bool(generated.isfinite().all()):
        raise GeneratorError("the generator has diverged: its images are not finite")
    diversity = (generated - generated.mean(0, keepdim=True)).abs().mean()
    real_diversity = (real - real.mean(0, keepdim=True)).abs().mean()
    if bool(diversity < LEAST_DIVERSITY * real_diversity):
        raise GeneratorError(
            f"the generator has collapsed: images of one mask differ by {diversity:.4f}, "
            f"real images by {real_diversity:.4f}"
        )
    if l1 > LARGEST_L1 * real_diversity.item():
        raise GeneratorError(
            f"the generator has diverged: it misses real images by {l1:.4f}, their mean by {real_diversity:.4f}"
        )


def _dead(gradients: Mapping[str, Tensor | None], name: str) -> bool:
    gradient = gradients.get(name)
    return gradient is None or not bool(gradient.any())


def _kind(gradient: Tensor | None) -> str:
    return "" if gradient is None else ": it is zero"


def _stop(problems: list[str]) -> None:
    if problems:
        raise CutLinkError(
            "the link from the segmenter's held-out error to the generator is cut: " + "; ".join(problems)
        )
