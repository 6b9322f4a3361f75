"""The training cases as the generator meets them: one patch of each, always the same.

Unlabelled images lend their surroundings to pairs: eight labelled images have eight, however many masks are made.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from genseg.batches.augment import augment_space
from genseg.batches.draw import cut_patch, shrink
from genseg.compute.device import Machine
from genseg.compute.randomness import generator_for
from genseg.config import Plan
from genseg.joint.synthesis import MaskPool
from genseg.masks.plausible import Plausibility
from genseg.prepare.preprocess import Prepared
from genseg.segmenters.loss import one_hot

MOST_SURROUNDINGS = 32
"""Unlabelled images whose surroundings are used, at most: styles of every image are kept, and taken anew again and
again.
"""


class Patches:
    """A patch around the object of each case: the whole picture, or part of a large volume; all of one size.

    Behind the labelled cases come unlabelled ones, which lend their surroundings alone.

    Methods take positions of cases, and give tensors in their order, on the CPU unless they say otherwise.
    """

    def __init__(
        self, cut: Sequence[tuple[Tensor, Tensor]], labelled: int, plan: Plan, seed: int, machine: Machine
    ) -> None:
        """cut: the patch of each case and its mask; see `cut_around_object`. labelled: how many of them are."""
        self._images = [image for image, _ in cut]
        self._masks = [mask for _, mask in cut]
        self._labelled = labelled
        self._plan = plan
        self._seed = seed
        self._machine = machine
        self._plausible: dict[tuple[int, ...], Plausibility] = {}
        self._shrunk: Patches | None = None

    @property
    def size(self) -> tuple[int, ...]:
        """Of every patch."""
        return tuple(self._masks[0].shape)

    def at(self, size: tuple[int, ...]) -> Patches:
        """The same patches at this size, as `Batches` has them; the smaller ones that were asked for last are kept."""
        if size == self.size:
            self._shrunk = None
            return self
        if self._shrunk is None or self._shrunk.size != size:
            smaller = [shrink(*pair, size) for pair in zip(self._images, self._masks, strict=True)]
            self._shrunk = Patches(smaller, self._labelled, self._plan, self._seed, self._machine)
        return self._shrunk

    @property
    def everyone(self) -> list[int]:
        """Every labelled case."""
        return list(range(self._labelled))

    @property
    def surroundings(self) -> list[int]:
        """The unlabelled cases."""
        return list(range(self._labelled, len(self._images)))

    def images(self, cases: Sequence[int]) -> Tensor:
        """`(case, channel, *patch)`."""
        return torch.stack([self._images[case] for case in cases])

    def masks(self, cases: Sequence[int]) -> Tensor:
        """`(case, *patch)` uint8 class indices or `IGNORE`."""
        return torch.stack([self._masks[case] for case in cases])

    def shown(self, masks: Tensor) -> Tensor:
        """See `shown_mask`; on the device."""
        return self._machine.send(shown_mask(self._images[0], masks, self._plan.classes))

    def view(self, cases: Sequence[int], number: int, update: int) -> tuple[Tensor, Tensor]:
        """Images and masks: as they are in view 0, moved at random in any other.

        Not mirrored: pairs are, as a whole, once their image is made; see `masks.make.new_masks`.
        """
        image, mask = self.images(cases), self.masks(cases)
        if number == 0:
            return image, mask
        draws = generator_for(self._seed, f"view {number}", update)
        return augment_space(image, mask, draws, flip_axes=(), spacing=self._plan.spacing)

    def pool(self, cases: Sequence[int]) -> MaskPool:
        """The masks of these labelled cases, and what these alone say of plausible ones."""
        masks, key = [mask.numpy() for mask in self._masks[: self._labelled]], tuple(cases)
        if key not in self._plausible:
            self._plausible[key] = Plausibility.learn([masks[case] for case in cases], self._plan.classes)
        return MaskPool(masks, cases, self._plausible[key], self.surroundings)


def cut_around_object(case: Prepared, plan: Plan, seed: int, number: int) -> tuple[Tensor, Tensor]:
    """The patch `(channel, *patch)` of one case, and its mask. number: tells it from other cases."""
    centred = plan.model_copy(update={"foreground_share": 1.0})
    return cut_patch(case, centred, generator_for(seed, "patch", number))


def surroundings_of(further: Sequence[Prepared]) -> Sequence[Prepared]:
    """The unlabelled cases whose surroundings are used, spread evenly over all of them."""
    step = max(1, -(-len(further) // MOST_SURROUNDINGS))
    return further[::step]


def shown_mask(image: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Masks `(batch, *spatial)` as networks are shown them, `(batch, class, *spatial)` in the type of the images; 0 in
    all classes where `IGNORE`.
    """
    return one_hot(mask, image.new_empty(0, classes))
