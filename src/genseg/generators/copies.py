"""The copy test: is a generated image nearer to a training image than real images are to each other?

The nearest training image of each generated one is searched among small versions of them, and its distance is held
against those that real images of other patients have. Meehan et al., A Non-Parametric Test to Detect Data-Copying in
Generative Models, AISTATS 2020, compare the nearest training images of generated and of held-out images in this way;
theirs is a test of a generator as a whole, this one judges every image.

What it can show: that a generated image, mirrored or not, is as a whole nearly a training image. What it cannot: that
an image is *no* copy. A training image that was turned, shifted, cropped or enlarged is missed, and so is a detail of
one in other surroundings; what is smaller than a sixteenth of a picture's side (an eighth of a volume's) is not seen.
It is no proof of privacy: what an attacker can get out of a generator is shown by Carlini et al., Extracting Training
Data from Diffusion Models, USENIX Security 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from genseg.base.mirroring import ways_to_mirror

SIDE = {2: 16, 3: 8}
"""Pixels along each side of what images are compared by, by spatial rank."""


@dataclass(frozen=True)
class CopyTest:
    """Real images that generated ones are compared with; all as `describe_images` gives them, on the CPU.

    training: `(case, channel, *side)`, at least one. groups: the patient, or whatever may look alike, of each of them.
    held_out: the same of cases that nothing was trained on, none where there are none. flip_axes: spatial axes along
    which images may be mirrored.
    """

    training: Tensor
    groups: Sequence[int]
    held_out: Tensor
    flip_axes: Sequence[int]

    @cached_property
    def threshold(self) -> float:
        """The smallest distance of a real image to the nearest training image of another patient.

        0 where there is one patient alone: then there is nothing to hold a distance against, and nothing is a copy.
        """
        group = torch.tensor(self.groups)
        of_others = self._distances(self.training).masked_fill(group[:, None] == group, torch.inf)
        smallest = min(
            of_others.min().item(), self._distances(self.held_out).min().item() if len(self.held_out) else torch.inf
        )
        return smallest if smallest < torch.inf else 0.0

    def nearest(self, descriptors: Tensor) -> tuple[Tensor, Tensor]:
        """Distance to the nearest training image, and its position, `(image,)` each, for `(image, channel, *side)`.

        A distance is the root mean square difference: 0 for equal images, about 1.4 for images that have nothing to
        do with each other, 2 for an image and its negative; the smallest over all ways to mirror.
        """
        distance, position = self._distances(descriptors).min(1)
        return distance, position

    def _distances(self, descriptors: Tensor) -> Tensor:
        """`(image, training image)`."""
        training = self.training.flatten(1)
        mirrored = [
            torch.cdist(descriptors.flip(way).flatten(1), training, compute_mode="donot_use_mm_for_euclid_dist")
            for way in ways_to_mirror([axis + 2 for axis in self.flip_axes])
        ]
        smallest: Tensor = torch.stack(mirrored).amin(0)
        distances: Tensor = smallest / float(training.shape[1]) ** 0.5
        return distances


def describe_images(image: Tensor) -> Tensor:
    """What images `(batch, channel, *spatial)` are compared by: `(batch, channel, *side)` float32, on the CPU.

    Areas are averaged; then each channel has mean 0 and mean square 1, so that light and contrast do not matter. A
    channel that is the same all over is 0.
    """
    small = functional.interpolate(image.detach().float().cpu(), [SIDE[image.ndim - 2]] * (image.ndim - 2), mode="area")
    axes = tuple(range(2, image.ndim))
    centred = small - small.mean(axes, keepdim=True)
    size = centred.square().mean(axes, keepdim=True).sqrt()
    # What rounding leaves of a channel without contrast is no picture.
    is_flat = size <= 1e-5 * small.abs().amax(axes, keepdim=True).clamp(min=1e-5)
    return torch.where(is_flat, torch.zeros_like(centred), centred / size.masked_fill(is_flat, 1))
