"""From the error on held-out scans back to everything that a synthetic pair was made from.

Stage II takes a step `S' = step(S, g)` with `g = grad_S L(S; x)`, where x are the inputs of the loss that somebody
upstream can change: synthetic images, their masks, weights and share. With `v = grad_S' L_val(S')` the chain rule is

    dL_val/dx = d/dx <u, grad_S L(S; x)>,   u = (d step / d g)^T v                                              (1)

one product of the mixed second derivative of L with a vector: the gradient that unrolls the step that was taken
(Maclaurin et al., Gradient-based Hyperparameter Optimization through Reversible Learning, ICML 2015; Liu et al., DARTS,
ICLR 2019, equation 7, is the case of plain gradient descent, u = -rate * v). From x it goes on to masks, styles and
generator by plain reverse differentiation: the direct term.

Stage I's step `W' = step(W, grad_W L_I(W; A))` has the same form. With p = dL_val/dW', which the differentiation of the
direct term gives as well, (1) with W for S, A for x and p for v is the indirect term of the architecture A.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd import forward_ad

from genseg.choices import Method
from genseg.joint.steps import Step, Tensors

REACH_EXPONENT = 0.4
"""A central difference's step is this power of the type's precision, as a share of the weights' length: longer ones
meet the kinks of rectifiers, shorter ones the rounding of the type."""

Gradients = dict[str, Tensor | None]
"""Gradients by name; None where nothing depends on the variable."""


@dataclass(frozen=True)
class Unrolled:
    """A step that was taken, to be differentiated with respect to some inputs of the loss that it went down.

    step: see `Step`. loss: from weights to the part of the step's loss that depends on `inputs`; equal for equal
    weights, for all that is random in it is fixed. inputs: leaves that require a gradient. slopes: for scalar inputs
    that the rest of the step's loss is linear in, by how much the gradient of that rest grows with the input.
    """

    step: Step
    loss: Callable[[Tensors], Tensor]
    inputs: Tensors
    slopes: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def pull_back(self, cotangent: Tensors, method: Method) -> Gradients:
        """Equation (1): from a gradient with respect to the weights after the step to one for each input."""
        direction, inputs = self.step.pull_back(cotangent), list(self.inputs.values())
        products = mixed_product(self.loss, self.step.before, direction, inputs, method)
        found = dict(zip(self.inputs, products, strict=True))
        for name, slope in self.slopes.items():
            rest = torch.stack([(direction[weight] * one).sum() for weight, one in slope.items()]).sum()
            found[name] = _together(found[name], rest)
        return found


@dataclass(frozen=True)
class Hypergradient:
    """Gradients of the held-out error: `direct` and `indirect` of every variable, and `weights` of W after stage I."""

    direct: Gradients
    indirect: Gradients
    weights: Gradients

    def total(self, name: str) -> Tensor | None:
        """Both terms of a variable together."""
        return _together(self.direct.get(name), self.indirect.get(name))


def _together(*terms: Tensor | None) -> Tensor | None:
    there = [term for term in terms if term is not None]
    return torch.stack(there).sum(0) if there else None


def hypergradient(
    cotangent: Tensors,
    stage_two: Unrolled,
    made: Mapping[str, Tensor],
    variables: Tensors,
    weights: Tensors,
    stage_one: Unrolled | None = None,
    method: Method = "exact",
) -> Hypergradient:
    """The gradient of the held-out error with respect to all that synthetic pairs were made from.

    cotangent: v, of the held-out error at the segmenter's weights after stage II's step. made: what stage II's inputs
    were detached from, by the same names, with the graph that leads to `variables` and to `weights`, the generator's W
    after stage I's step. stage_one: that step, its inputs some of `variables`; None where none was taken, and there is
    no indirect term.
    """
    products = stage_two.pull_back(cotangent, method)
    ends = [name for name, product in products.items() if product is not None and made[name].requires_grad]
    targets = [*variables.values(), *weights.values()]
    reached: Sequence[Tensor | None] = [None] * len(targets)
    if ends:
        cotangents = [products[name] for name in ends]
        reached = torch.autograd.grad([made[name] for name in ends], targets, cotangents, allow_unused=True)
    direct = dict(zip(variables, reached, strict=False))
    of_weights = dict(zip(weights, reached[len(variables) :], strict=True))
    indirect: Gradients = {}
    if stage_one is not None:
        known = {name: of_weights.get(name) for name in stage_one.step.before}
        p = {name: torch.zeros_like(stage_one.step.before[name]) if one is None else one for name, one in known.items()}
        indirect = stage_one.pull_back(p, method)
    return Hypergradient(direct, indirect, of_weights)


def mixed_product(
    loss: Callable[[Tensors], Tensor],
    weights: Tensors,
    direction: Tensors,
    inputs: Sequence[Tensor],
    method: Method = "exact",
) -> Sequence[Tensor | None]:
    """`d/dx <direction, grad_S loss(S; x)>` for each x of `inputs`, at S = `weights`; None where x has no part."""
    return _METHODS[method](loss, weights, direction, inputs)


def _exact(
    loss: Callable[[Tensors], Tensor], weights: Tensors, direction: Tensors, inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """How `grad_x L` changes along the direction: forward over reverse. Source: Pearlmutter, Neural Comput. 1994."""
    with forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(weight, direction[name]) for name, weight in weights.items()}
        gradients = torch.autograd.grad(loss(duals), inputs, allow_unused=True)
        return [None if one is None else forward_ad.unpack_dual(one).tangent for one in gradients]


def _double_backward(
    loss: Callable[[Tensors], Tensor], weights: Tensors, direction: Tensors, inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
    gradient = torch.autograd.grad(loss(leaves), list(leaves.values()), create_graph=True)
    slopes = [(one * direction[name]).sum() for name, one in zip(leaves, gradient, strict=True)]
    return torch.autograd.grad(torch.stack(slopes).sum(), inputs, allow_unused=True)


def _central_difference(
    loss: Callable[[Tensors], Tensor], weights: Tensors, direction: Tensors, inputs: Sequence[Tensor]
) -> Sequence[Tensor | None]:
    """`(grad_x L(S + e u) - grad_x L(S - e u)) / 2e`. Source: Liu et al., DARTS, ICLR 2019, equation 8."""
    length = norm_of(weights)
    reach = torch.finfo(length.dtype).eps ** REACH_EXPONENT * length / norm_of(direction).clamp(min=1e-30)
    sides = []
    for sign in (1, -1):
        moved = {name: weight + sign * reach * direction[name] for name, weight in weights.items()}
        sides.append(torch.autograd.grad(loss(moved), inputs, allow_unused=True))
    return [
        None if above is None or below is None else (above - below) / (2 * reach)
        for above, below in zip(*sides, strict=True)
    ]


_METHODS = {"exact": _exact, "double-backward": _double_backward, "central-difference": _central_difference}


def norm_of(tensors: Mapping[str, Tensor | None]) -> Tensor:
    """Length of all tensors together."""
    squares = [one.square().sum() for one in tensors.values() if one is not None]
    return torch.stack(squares).sum().sqrt() if squares else torch.zeros(())
