"""The gradient is alive or the program stops: what is looked at before feedback is trusted."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
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

GENERATOR_WEIGHTS = "the generator's weights"

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
    elif _is_between_bounds(pairs.plain) and bool((image.detach() == image.detach().round()).all()):
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


def check_gradients(found: Hypergradient, pairs: Pairs, error: float, alive: Collection[str]) -> list[str]:
    """The links that gradients were seen to come through, by name: those of `alive`, and what this feedback shows.

    A gradient that is missing is a link that is cut, and so is one of 0 unless these pairs or this error could give no
    other; such a link is judged by a later feedback. error: on the held-out cases. alive: what earlier feedback showed.
    Raises CutLinkError with every link that is cut.
    """
    gradients = {
        **found.direct,
        **{f"{name} by stage I's step": one for name, one in found.indirect.items()},
        GENERATOR_WEIGHTS: _longest(found.weights.values()),
    }
    problems, seen = [], list(alive)
    for name, gradient in gradients.items():
        if name in alive:
            continue
        if gradient is None:
            problems.append(f"no gradient for {name}")
        elif bool(gradient.any()):
            seen.append(name)
        elif error > 0 and _can_carry(name, gradient, pairs):
            problems.append(f"zero gradient for {name}")
    _stop(problems)
    return seen


def _can_carry(name: str, gradient: Tensor, pairs: Pairs) -> bool:
    """Whether these pairs give a variable a gradient other than 0 wherever no link is cut."""
    if name.startswith("ranges."):
        return any(
            recipe.is_changed and len(mask.argmax(0).unique()) > 1  # a mask of one class has no edge to move
            for recipe, mask in zip(pairs.recipes, pairs.mask, strict=True)
        )
    if name == "pair_logits":
        return len(gradient) > 1  # the weights are 1 on average: one alone stays 1
    if name == "share_logit":
        return True
    return _is_between_bounds(pairs.plain)


def _is_between_bounds(image: Tensor) -> bool:
    """Whether any pixel can still be moved: at -1 and 1 the generator's last function is flat, and values are whole."""
    return bool((image.detach().abs() != 1).any())


def _longest(gradients: Iterable[Tensor | None]) -> Tensor | None:
    """One of these that is not 0 where there is any; None where all are missing."""
    there = [one for one in gradients if one is not None]
    return next((one for one in there if bool(one.any())), there[0] if there else None)


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
    l1: mean absolute distance of generated from real images on real pairs, over several batches.
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
            f"the generator has diverged: L1 error {l1:.4f}, worse than the mean image ({real_diversity:.4f})"
        )


def _stop(problems: list[str]) -> None:
    if problems:
        raise CutLinkError("feedback cannot reach the generator: " + "; ".join(problems))
