"""Which cases, and which patch of each, make up the batch of a given update."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor
from torch.nn import functional

from genseg.batches.augment import augment, augment_space
from genseg.batches.mix import mix_pairs
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.prepare.preprocess import Prepared

Changes = Literal["plan", "space"]
"""How patches are changed at random: as the plan says, or moved but not recoloured."""


class Batches:
    """Training batches by update number; the same number gives the same batch, whatever came before.

    Every case is seen once before any is seen again. Cases are decoded and resized once, before; patches are cut and
    changed on the way to the network: as the plan says, or, with `changes="space"`, moved but not recoloured.

    purpose: keeps the draws of one use of the cases apart from those of another. size: of the images, each of which is
    shrunk as a whole; as the plan has it for the update of that number where None.
    """

    def __init__(
        self,
        cases: Sequence[Prepared],
        plan: Plan,
        seed: int,
        machine: Machine,
        *,
        batch_size: int | None = None,
        purpose: str = "batch",
        changes: Changes = "plan",
        size: tuple[int, ...] | None = None,
    ) -> None:
        self._cases = list(cases)
        self._plan = plan
        self._seed = seed
        self._machine = machine
        self._batch_size = batch_size or plan.batch_size
        self._purpose = purpose
        self._changes = changes
        self._size = size

    def __getitem__(self, update: int) -> tuple[Tensor, Tensor]:
        """Images `(batch, channel, *size)` float32 and masks `(batch, *size)` uint8 on the machine's device."""
        generator = generator_for(self._seed, self._purpose, update)
        cut = [cut_patch(self._cases[index], self._plan, generator) for index in self.indices(update)]
        size = self._size or self._plan.size_at(update)
        pairs = [shrink(image, mask, size) for image, mask in cut]
        image = self._machine.send(torch.stack([image for image, _ in pairs]))
        mask = torch.stack([mask for _, mask in pairs]).to(self._machine.device)
        if self._plan.augmentation == "none" and self._changes == "plan":
            return image, mask
        axes, spacing = self._plan.flip_axes, self._plan.spacing
        if self._changes == "space":
            image, mask = augment_space(image, mask, generator, flip_axes=axes, spacing=spacing)
            return self._machine.send(image), mask
        is_colour = self._plan.is_colour
        image, mask = augment(image, mask, generator, flip_axes=axes, spacing=spacing, is_colour=is_colour)
        mix = self._plan.augmentation
        if mix == "copy-paste" or mix == "cutmix":
            image, mask = mix_pairs(image, mask, mix, generator)
        return self._machine.send(image), mask

    def indices(self, update: int) -> list[int]:
        """Numbers of the cases in the batch of an update."""
        count, size = len(self._cases), self._batch_size
        positions = range(update * size, (update + 1) * size)
        rounds = {position // count for position in positions}
        orders = {
            number: torch.randperm(
                count, generator=generator_for(self._seed, f"{self._purpose} order", number)
            ).tolist()
            for number in rounds
        }
        return [orders[position // count][position % count] for position in positions]


def unlabelled_images(plan: Plan, count: int) -> int:
    """How many of so many real images of an update are unlabelled: the plan's share, but never all."""
    return min(round(plan.unlabelled_share * count), count - 1)


def joined(one: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Two batches of images and masks of one size as one."""
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])


def cut_patch(case: Prepared, plan: Plan, generator: Generator) -> tuple[Tensor, Tensor]:
    """A random patch `(channel, *patch)` and its mask; the plan's share of them is centred near foreground."""
    spatial, patch = case.image.shape[1:], plan.patch_size
    if case.mask is None:
        raise ValueError("a case without mask cannot be trained on")
    draw = torch.rand(len(patch) + 2, generator=generator).tolist()
    room = [size - wanted for size, wanted in zip(spatial, patch, strict=True)]
    start = [int(share * (free + 1)) for share, free in zip(draw, room, strict=False)]
    if len(case.foreground) and draw[-2] < plan.foreground_share and any(room):
        centre = np.unravel_index(case.foreground[int(draw[-1] * len(case.foreground))], spatial)
        start = [
            min(max(int(middle) - wanted // 2, 0), free)
            for middle, wanted, free in zip(centre, patch, room, strict=True)
        ]
    window = tuple(slice(first, first + wanted) for first, wanted in zip(start, patch, strict=True))
    image = np.ascontiguousarray(case.image[(slice(None), *window)])
    return torch.from_numpy(image), torch.from_numpy(np.ascontiguousarray(case.mask[window]))


def shrink(image: Tensor, mask: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """A picture `(channel, *spatial)` and its mask `(*spatial)` at a smaller size: averaged, and by nearest pixels."""
    if mask.shape == tuple(size):
        return image, mask
    smaller = functional.interpolate(image[None], tuple(size), mode="bilinear", antialias=True)[0]
    nearest = functional.interpolate(mask[None, None], tuple(size), mode="nearest-exact")[0, 0]
    return smaller, nearest
