"""What training changes from update to update, and one update of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    state: Learner,
    image: Tensor | Sequence[Tensor],
    mask: Tensor,
    plan: Plan,
    seed: int,
    machine: Machine,
    *,
    weight: float = 1.0,
    more_loss: Callable[[], Tensor] | None = None,
    before_step: Callable[[], None] | None = None,
) -> dict[str, float]:
    """One optimiser update on one batch; returns loss, gradient norm and learning rate.

    image: `(batch, channel, *spatial)`, or what a segmenter's frozen encoder makes of such images
    (`SegmenterSpec.is_frozen`). weight: by which the batch's loss is multiplied. more_loss: another scalar to add,
    computed when the gradient of the batch's own is there. before_step: called when the whole gradient is there and
    nothing has moved yet. Raises NotFiniteError when the loss is not finite, TrainingError when the batch is too small
    to be normalised over.
    """
    torch.manual_seed(seed_for(seed, "dropout", state.update))
    rate = state.rate_factor * learning_rate(state.update, plan)
    set_learning_rate(state.optimiser, rate)
    state.segmenter.train()
    state.optimiser.zero_grad(set_to_none=True)
    loss = _descend(weight * segmentation_loss(_forward(state, image, mask.shape[1:], machine), mask))
    if more_loss is not None:
        loss = loss + _descend(more_loss())
    if before_step is not None:
        before_step()
    norm = nn.utils.clip_grad_norm_(state.segmenter.parameters(), plan.clip_norm)
    if not bool(torch.isfinite(loss) & torch.isfinite(norm)):
        cure = "try a lower --learning-rate" + _or_float32(machine, plan.rank)
        raise NotFiniteError(
            f"update {state.update + 1}: the loss is {loss.item()} (gradient norm {norm.item()}); {cure}"
        )
    state.optimiser.step()
    state.average.update_parameters(state.segmenter)
    state.update += 1
    return {"loss": loss.item(), "gradient_norm": norm.item(), "learning_rate": rate}


def _or_float32(machine: Machine, rank: int) -> str:
    return "" if machine.dtype_for(rank) == torch.float32 else " or --precision float32"


def _descend(loss: Tensor) -> Tensor:
    """Add a loss's gradient to that of the weights; its value, without the graph."""
    loss.backward()
    return loss.detach()


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
