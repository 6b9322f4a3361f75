"""A problem small enough for finite differences: a segmenter with every kind of trap, a generator, a few cases."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from genseg.compute.device import choose_machine
from genseg.compute.randomness import seed_for
from genseg.config import GenerationPlan, IntensityRule, Plan
from genseg.generators import registry
from genseg.joint.generation import Generation, begin_generation, settings_of
from genseg.joint.loop import JointLoop
from genseg.joint.patches import shown_mask
from genseg.joint.stages import StageOne, synthetic_loss
from genseg.joint.synthesis import synthesise
from genseg.joint.update import Outcome, joint_update
from genseg.prepare.preprocess import Geometry, Prepared
from genseg.segmenters import learner as learner_module
from genseg.segmenters.learner import Learner, begin
from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.optimiser import learning_rate, set_learning_rate

DEVICE = os.environ.get("GENSEG_TEST_DEVICE", "cpu")
"""Where the tests of the joint loop compute."""

CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
DROPOUT = {2: nn.Dropout2d, 3: nn.Dropout3d}


def tiny_segmenter(rank: int, channels: int, classes: int) -> nn.Module:
    """Batch normalisation and dropout, and smooth, so that differences converge.

    No bias where normalisation takes it away again: its gradient would be rounding noise, which Adam blows up.
    """
    return nn.Sequential(
        CONVOLUTION[rank](channels, 4, 3, padding=1, bias=False),
        NORM[rank](4),
        nn.Tanh(),
        DROPOUT[rank](0.3),
        CONVOLUTION[rank](4, 4, 3, padding=1, bias=False),
        NORM[rank](4),
        nn.Softplus(),
        CONVOLUTION[rank](4, classes, 1),
    )


@dataclass
class Problem:
    """A loop, and the two things that it trains."""

    loop: JointLoop
    learner: Learner
    generation: Generation
    plan: Plan
    cases: list[Prepared]

    def step(
        self, learner: Learner | None = None, generation: Generation | None = None, *, is_steered: bool, **plan: Any
    ) -> Outcome:
        """The next joint update of these, or of the problem's own; with stage III wherever it is asked for. plan:
        changes of the generation plan.
        """
        learner, generation = learner or self.learner, generation or self.generation
        batch = self.loop.batch(generation, learner.update, is_steered=is_steered)
        changed = self.plan.model_copy(update={"generation": settings_of(self.plan).model_copy(update=plan)})
        return joint_update(learner, generation, batch, changed, 0, self.loop._machine)


SIZE = {2: 16, 3: 8}


def blob_cases(rank: int, count: int = 4, size: int | None = None) -> list[Prepared]:
    """Bright blobs of various sizes on noise, one channel, float64. size: of every side."""
    size = size or SIZE[rank]
    cases = []
    for number in range(count):
        random = np.random.default_rng(number)
        axes = np.meshgrid(*[np.arange(size) - size / 2 - random.uniform(-0.1, 0.1) * size for _ in range(rank)])
        distance = np.sqrt(sum(axis**2 for axis in axes))
        mask = (distance < random.uniform(0.2, 0.3) * size).astype(np.uint8)
        image = (0.6 * mask - 0.3 + 0.1 * random.normal(size=mask.shape))[None]
        geometry = Geometry(None, mask.shape, mask.shape)
        cases.append(Prepared(f"case{number}", image, mask, geometry, np.flatnonzero(mask)))
    return cases


def band_cases(count: int = 4) -> list[Prepared]:
    """Bands from side to side, as layers of the retina: turned or moved they are unlike any of these."""
    cases = []
    for number in range(count):
        random = np.random.default_rng(number)
        mask = np.zeros((SIZE[2],) * 2, np.uint8)
        for layer in range(2, 16, 4):
            mask[layer : layer + 2] = 1
        image = (0.6 * mask - 0.3 + 0.1 * random.normal(size=mask.shape))[None]
        cases.append(
            Prepared(f"case{number}", image, mask, Geometry(None, mask.shape, mask.shape), np.flatnonzero(mask))
        )
    return cases


WARM_UP = 3
"""Updates before a problem is looked at: Adam's very first step depends on the gradient's signs alone."""

_trained: dict[tuple[Any, ...], tuple[Learner, Generation]] = {}
"""What problems train after their first updates, by what they were made with: it takes most of a short test's time."""


def make_problem(
    rank: int = 2,
    optimiser: str = "adamw",
    cases: list[Prepared] | None = None,
    batch_size: int = 4,
    seed: int = 0,
    growing: float = 0.0,
    updates: int = 12,
    **changes: Any,
) -> Problem:
    """In float64, after stage I's pretraining and a few updates. changes: of the generation plan.

    growing: as in the plan; images are then twice as large in the end as they are otherwise.
    """
    settings = GenerationPlan(
        **{"pretraining": 3, "batch_size": 3, "held_out": 0.5, "refresh": 8, "every": 1, "search": 1, **changes}
    )
    key = (rank, optimiser, batch_size, seed, growing, updates, *sorted(changes.items()))
    is_usual = cases is None
    cases = cases or blob_cases(rank, size=2 * SIZE[rank] if growing else None)
    plan = Plan(
        rank=2 if rank == 2 else 3,
        channels=1,
        class_names=("background", "blob"),
        intensity=(IntensityRule(rule="z-score" if rank == 3 else "eight-bit"),),
        spacing=(1.0, 1.0, 1.0) if rank == 3 else None,
        patch_size=cases[0].image.shape[1:],
        segmenter="tiny",
        batch_size=batch_size,
        updates=updates,
        growing=growing,
        learning_rate=1e-2,
        augmentation="strong",
        flip_axes=(0,),
        generation=settings,
    )
    if not is_usual:
        return _warmed_up(cases, plan, optimiser, seed)
    if key not in _trained:
        problem = _warmed_up(cases, plan, optimiser, seed)
        _trained[key] = problem.learner, problem.generation
    # All that a loop draws depends on the update's number alone, so a new one goes on as the old one would.
    return Problem(_loop(cases, plan, seed), *copy.deepcopy(_trained[key]), plan, cases)


def _loop(cases: list[Prepared], plan: Plan, seed: int) -> JointLoop:
    return JointLoop(cases, [case.name for case in cases], plan, seed, choose_machine(DEVICE, "float32"))


def _warmed_up(cases: list[Prepared], plan: Plan, optimiser: str, seed: int) -> Problem:
    machine, settings = choose_machine(DEVICE, "float32"), settings_of(plan)
    with tiny_networks():
        loop = _loop(cases, plan, seed)
        learner, generation = begin(plan, seed, machine), begin_generation(plan, len(cases), seed, machine)
    for module in (learner.segmenter, learner.average, generation.translator, generation.discriminator):
        module.double()
    generation.steered.double()
    if optimiser == "sgd":
        learner.optimiser = torch.optim.SGD(learner.segmenter.parameters(), lr=0.05)  # type: ignore[assignment]
    problem = Problem(loop, learner, generation, plan, cases)
    with patch("genseg.joint.guards.check_health"):  # it has learned next to nothing
        for _ in range(settings.pretraining):
            loop.pretrain(generation)
        for _ in range(WARM_UP):
            problem.step(is_steered=False)
    return problem


@contextmanager
def tiny_networks() -> Iterator[None]:
    """Make every segmenter `tiny_segmenter`, and the small generator one of a few hundred weights."""
    spec = registry.GeneratorSpec("small", "tiny", {2: (3, 4), 3: (2, 3)})
    with (
        patch.dict(registry.GENERATORS, {"small": spec}),
        patch.object(learner_module, "build_segmenter", lambda _, *shape: tiny_segmenter(*shape)),
    ):
        yield


def perturb(variable: Tensor, direction: Tensor, size: float) -> None:
    """Move a variable in place."""
    with torch.no_grad():
        variable += size * direction


def unrolled_by_autograd(problem: Problem) -> dict[str, Tensor]:
    """The gradient of the held-out error in every variable, by plain automatic differentiation.

    Nothing of `hypergradient` or `steps` is used: both steps are written out and their graph is kept.
    """
    plan, machine, settings = problem.plan, problem.loop._machine, settings_of(problem.plan)
    learner, generation = copy.deepcopy((problem.learner, problem.generation))
    update = learner.update
    batch = problem.loop.batch(generation, update, is_steered=True)
    assert batch.to_generate is not None
    assert batch.held_out is not None
    image, mask = batch.to_generate
    styles = seed_for(0, "stage I styles", generation.updates)
    shown = shown_mask(image, mask, plan.classes)
    stage = StageOne(generation.translator, generation.discriminator, image, shown, settings, styles)
    gradient = _gradient(stage.loss()[0], generation.weights())
    moved = _stepped(generation.weights(), gradient, generation.translator_optimiser, settings.clip_norm)

    generator = generation.translator.generator
    prefix = "generator."
    weights = {name.removeprefix(prefix): one for name, one in moved.items() if name.startswith(prefix)}

    def moved_generator(mask: Tensor, style: Tensor) -> Tensor:
        return functional_call(generator, weights, (mask, style))

    pairs = synthesise(moved_generator, generation.steered, batch.new_masks, plan, machine, batch.draws)  # type: ignore[arg-type]
    segmenter = learner.segmenter.train()
    seed = seed_for(0, "synthetic dropout", update)
    parameters = dict(segmenter.named_parameters())
    torch.manual_seed(seed_for(0, "dropout", update))
    image, mask = batch.real
    real = segmentation_loss(segmenter(image), mask)
    loss = 2 * (1 - pairs.share) * real + synthetic_loss(segmenter, seed, parameters, **pairs.made())
    set_learning_rate(learner.optimiser, learning_rate(update, plan))
    after = _stepped(parameters, _gradient(loss, parameters), learner.optimiser, plan.clip_norm)
    image, mask = batch.held_out
    error = segmentation_loss(functional_call(segmenter.eval(), after, (image,)), mask)
    return _gradient(error, generation.variables(), create_graph=False)


def _gradient(loss: Tensor, weights: dict[str, Tensor], create_graph: bool = True) -> dict[str, Tensor]:
    gradient = torch.autograd.grad(loss, list(weights.values()), create_graph=create_graph)
    return dict(zip(weights, gradient, strict=True))


def _stepped(
    weights: dict[str, Tensor], gradient: dict[str, Tensor], optimiser: torch.optim.Optimizer, largest: float
) -> dict[str, Tensor]:
    """SGD's or AdamW's step after clipping, as the papers have it, in operations that keep the graph."""
    length = torch.cat([one.flatten() for one in gradient.values()]).norm()
    factor = torch.clamp(largest / (length + 1e-6), max=1)
    after = {}
    for group in optimiser.param_groups:
        for name, weight in weights.items():
            if not any(weight is one for one in group["params"]):
                continue
            g, state, rate = factor * gradient[name], optimiser.state[weight], group["lr"]
            if isinstance(optimiser, torch.optim.SGD):
                after[name] = weight - rate * g
                continue
            (b1, b2), count = group["betas"], state["step"].item() + 1
            m = (b1 * state["exp_avg"] + (1 - b1) * g) / (1 - b1**count)
            v = (b2 * state["exp_avg_sq"] + (1 - b2) * g**2) / (1 - b2**count)
            spread = v.clamp(min=1e-30) ** 0.5 + group["eps"]  # the root of 0 has no derivative
            after[name] = weight - rate * group["weight_decay"] * weight - rate * m / spread
    return after
