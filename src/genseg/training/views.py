"""Training batches for a frozen encoder: its features of changed images, computed once and used again and again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from genseg.base.free_memory import GIB
from genseg.batches.draw import Batches
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.prepare.preprocess import Prepared
from genseg.segmenters.readout import feature_values
from genseg.segmenters.registry import segmenter_spec

MOST_VIEWS = 128
"""Changed images whose features are kept, whatever the number of cases."""

BUDGET = GIB
"""Bytes of features to keep; beyond it there are fewer views, though one of each case. Not a share of the machine's
memory, or a run would depend on what else the machine is doing."""

KEPT = torch.bfloat16
"""How features are kept: half of float32, and as wide, for those of channels that nobody scaled may be large."""


@dataclass(frozen=True)
class View:
    """Features of a changed image, each `(1, width, row, column)`, and its mask `(1, row, column)`; on the CPU."""

    features: list[Tensor]
    mask: Tensor


class FeatureBatches:
    """Batches of views by update number; the same number gives the same batch, whatever came before.

    The first updates are made on views that are new, as `Batches` makes them; when there are as many as `view_count`
    says, the following draw from these, each once before any is drawn again.
    """

    def __init__(self, cases: Sequence[Prepared], plan: Plan, seed: int, machine: Machine) -> None:
        self._images = Batches(cases, plan, seed, machine)
        self._plan, self._seed, self._machine = plan, seed, machine
        self._count = view_count(plan, len(cases))
        self._views: dict[int, View] = {}

    def batch(self, update: int, segmenter: nn.Module) -> tuple[list[Tensor], Tensor]:
        """What the segmenter's frozen encoder makes of the update's images, in its order of feature maps, `(batch,
        width, row, column)` float32, and their masks `(batch, row, column)`; on the machine's device.
        """
        views = [self._view(number, segmenter) for number in self._drawn(update)]
        maps = [torch.cat(same) for same in zip(*(view.features for view in views), strict=True)]
        features = [self._machine.send(one).float() for one in maps]
        return features, torch.cat([view.mask for view in views]).to(self._machine.device)

    def _drawn(self, update: int) -> list[int]:
        """Numbers of the views of an update."""
        size = self._plan.batch_size
        order = generator_for(self._seed, "view order", update // (self._count // size))
        first = update * size % self._count
        numbers = range(self._count) if update * size < self._count else torch.randperm(self._count, generator=order)
        return [int(number) for number in numbers[first : first + size]]

    def _view(self, number: int, segmenter: nn.Module) -> View:
        if number not in self._views:
            batch = number // self._plan.batch_size
            pairs = zip(*(part.split(1) for part in self._images[batch]), strict=True)
            made = [View(encode(segmenter, image, self._machine), mask.cpu()) for image, mask in pairs]
            self._views |= dict(enumerate(made, batch * self._plan.batch_size))
        return self._views[number]


def encode(segmenter: nn.Module, image: Tensor, machine: Machine) -> list[Tensor]:
    """Features of one image `(1, channel, row, column)` by the segmenter's frozen encoder, as they are kept."""
    with torch.no_grad(), machine.autocast(image.ndim - 2):
        features: list[Tensor] = segmenter.frozen_features(image)  # type: ignore[operator]
    return [one.to("cpu", KEPT) for one in features]


def view_count(plan: Plan, cases: int) -> int:
    """How many views of a training's cases are made: whole batches of them."""
    wanted = min(MOST_VIEWS, max(cases, BUDGET // view_bytes(plan)))
    return math.ceil(wanted / plan.batch_size) * plan.batch_size


def kept_bytes(plan: Plan, cases: int) -> int:
    """Bytes of all views of a training."""
    return view_count(plan, cases) * view_bytes(plan)


def view_bytes(plan: Plan) -> int:
    """Bytes of a view."""
    return feature_values(plan.patch_size) * KEPT.itemsize + math.prod(plan.patch_size)


def has_views(plan: Plan) -> bool:
    """Whether the plan's segmenter is trained on views, for its encoder is frozen."""
    return segmenter_spec(plan.segmenter, plan.rank).is_frozen
