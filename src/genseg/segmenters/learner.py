"""What training changes from update to update, and one update of it: prepare, descend, take the step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from genseg.compute.device import Machine
from genseg.compute.randomness import seed_for
from genseg.config import Plan
from genseg.errors import NotFiniteError, TrainingError
from genseg.segmenters.loss import segmentation_loss
from genseg.segmenters.optimiser import learning_rate, make_optimiser, set_learning_rate
from genseg.segmenters.registry import build_segmenter


@dataclass
class Learner:
    """Segmenter, its moving average (the one that is delivered), optimiser, and how many updates were made."""

    segmenter: nn.Module
    average: AveragedModel
    optimiser: torch.optim.AdamW
    update: int = 0
    rate_factor: float = 1.0
    """By which the planned learning rate is multiplied; below 1 after the loss was not finite once."""


def begin(plan: Plan, seed: int, machine: Machine) -> Learner:
    """A segmenter as it is before the first update; random weights depend on `seed` alone."""
    torch.manual_seed(seed_for(seed, "weights", 0))
    segmenter = build_segmenter(plan.segmenter, plan.rank, plan.channels, plan.classes)
    segmenter = machine.place(segmenter, plan.rank)
    average = AveragedModel(segmenter, multi_avg_fn=get_ema_multi_avg_fn(plan.average_decay), use_buffers=True)
    return Learner(segmenter, average, make_optimiser(segmenter, plan))


def make_update(
    state: Learner, image: Tensor | Sequence[Tensor], mask: Tensor, plan: Plan, seed: int, machine: Machine
) -> dict[str, float]:
    """One optimiser update on one batch of real pairs; returns loss, gradient norm and learning rate.

    For image, mask and errors see `batch_loss` and `take_step`.
    """
    prepare_update(state, plan, seed)
    loss = descend(batch_loss(state, image, mask, machine))
    return take_step(state, loss, plan, machine)


def prepare_update(state: Learner, plan: Plan, seed: int) -> None:
    """Seed the dropout, set the planned learning rate, and clear the gradient."""
    torch.manual_seed(seed_for(seed, "dropout", state.update))
    set_learning_rate(state.optimiser, state.rate_factor * learning_rate(state.update, plan))
    state.segmenter.train()
    state.optimiser.zero_grad(set_to_none=True)


def batch_loss(state: Learner, image: Tensor | Sequence[Tensor], mask: Tensor, machine: Machine) -> Tensor:
    """The mean loss of one batch, a scalar.

    image: `(batch, channel, *spatial)`, or what a segmenter's frozen encoder makes of such images
    (`SegmenterSpec.is_frozen`). mask: see `segmentation_loss`. Raises TrainingError when the batch is too small to be
    normalised over.
    """
    return segmentation_loss(_forward(state, image, mask.shape[1:], machine), mask)


def descend(loss: Tensor) -> Tensor:
    """Add a loss's gradient to that of the weights; its value, without the graph."""
    loss.backward()
    return loss.detach()


def take_step(state: Learner, loss: Tensor, plan: Plan, machine: Machine) -> dict[str, float]:
    """Clip the gradient, take the optimiser's step down it, and move the average; ends what `prepare_update` began.

    loss: a scalar, whose gradient the weights hold. Returns loss, gradient norm and learning rate. Raises
    NotFiniteError when loss or gradient is not finite; then nothing has moved.
    """
    norm = nn.utils.clip_grad_norm_(state.segmenter.parameters(), plan.clip_norm)
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        cure = "try a lower --learning-rate" + _or_float32(machine, plan.rank)
        raise NotFiniteError(
            f"update {state.update + 1}: the loss is {loss.item()} (gradient norm {norm.item()}); {cure}"
        )
    state.optimiser.step()
    state.average.update_parameters(state.segmenter)
    state.update += 1
    rate = float(state.optimiser.param_groups[0]["lr"])
    return {"loss": loss.item(), "gradient_norm": norm.item(), "learning_rate": rate}


def _or_float32(machine: Machine, rank: int) -> str:
    return "" if machine.dtype_for(rank) == torch.float32 else " or --precision float32"


def _forward(state: Learner, image: Tensor | Sequence[Tensor], spatial: torch.Size, machine: Machine) -> Tensor:
    try:
        with machine.autocast(len(spatial)):
            if isinstance(image, Tensor):
                logits: Tensor = state.segmenter(image)
            else:
                logits = state.segmenter.read(image, spatial)  # type: ignore[operator]
    except ValueError as error:  # batch normalisation over a single value
        cure = "try a larger --batch-size or --size"
        raise TrainingError(f"update {state.update + 1}: the batch is too small ({error}); {cure}") from error
    return logits
