"""Styles: what an image shows beyond its mask, coarsely, so that one mask fits many images.

A style has a code for each foreground class, how its objects look, and one for each cell of a coarse grid, what the
surroundings look like there. Where an object lies it hides the surroundings, and the code of its class stands for them.

Sources: Zhu et al., BicycleGAN, NeurIPS 2017 (an encoder of real images beside the mask-to-image network); Zhu et al.,
SEAN, CVPR 2020 (a code for each region); Park et al., SPADE, CVPR 2019 (modulation that differs from place to place);
Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014 (sampling and divergence).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from genseg.layers import CONVOLUTION, at_least_float32

WIDTHS = (16, 32, 64)
GRID = {2: 8, 3: 4}
"""Cells of the surroundings along each axis, by spatial rank: coarser than objects' outlines, so that these cannot hide
in a style."""

ADAPTIVE_MEAN: dict[int, Callable[..., Tensor]] = {2: functional.adaptive_avg_pool2d, 3: functional.adaptive_avg_pool3d}
ADAPTIVE_MOST: dict[int, Callable[..., Tensor]] = {2: functional.adaptive_max_pool2d, 3: functional.adaptive_max_pool3d}


def codes_of(rank: int, classes: int) -> int:
    """How many codes a style has: one for each class but background, and one for each cell."""
    cells: int = GRID[rank] ** rank
    return classes - 1 + cells


class StyleEncoder(nn.Module):
    """Image and mask to the mean and log variance of the image's style.

    What an object or a hole covers is hidden, to the last cell that it touches: its code is the prior's, mean and log
    variance 0. There is no normalisation, which would take away brightness and contrast, the larger part of a style.
    """

    def __init__(self, rank: int, channels: int, style_size: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        self.rank = rank
        layers: list[nn.Module] = []
        for above, width in pairwise([channels, *widths]):
            layers += [CONVOLUTION[rank](above, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 2 * style_size)

    def forward(self, image: Tensor, mask: Tensor, holes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance, `(batch, style_size, codes)` each.

        image: `(batch, channel, *spatial)` of any size. mask: `(batch, class, *spatial)`, soft. holes: `(batch, 1,
        *spatial)` in 0..1, surroundings to hide as well.
        """
        objects = mask[:, 1:]
        hidden = objects.sum(1, keepdim=True).clamp(max=1)
        hidden = hidden if holes is None else torch.maximum(hidden, holes.to(hidden))
        looks, seen = self._looks(image, objects)
        around = grid_mean(self.layers(image * (1 - hidden)), self.rank).flatten(2)
        visible = torch.cat([seen, 1 - (grid_most(hidden, self.rank) > 0.5).to(seen).flatten(1)], 1)
        codes = self.head(torch.cat([looks, around], 2).transpose(1, 2)).transpose(1, 2)
        mean, log_variance = (at_least_float32(codes) * visible.unsqueeze(1)).chunk(2, 1)
        return mean, log_variance

    def _looks(self, image: Tensor, objects: Tensor) -> tuple[Tensor, Tensor]:
        """Mean features of each class's objects `(batch, width, class)`, and which are there at all, 0 or 1."""
        features = self.layers(image)
        shares = ADAPTIVE_MEAN[self.rank](objects, features.shape[2:]).flatten(2).to(features)
        sizes = shares.sum(2)
        looks = features.flatten(2) @ shares.transpose(1, 2) / sizes.unsqueeze(1).clamp(min=1e-3)
        return looks, (objects.detach().flatten(2).sum(2) >= 1).to(looks)


def grid_mean(values: Tensor, rank: int) -> Tensor:
    """Mean of `(batch, channel, *spatial)` in each cell."""
    return ADAPTIVE_MEAN[rank](values, (GRID[rank],) * rank)


def grid_most(values: Tensor, rank: int) -> Tensor:
    """Largest of `(batch, channel, *spatial)` in each cell."""
    most: Tensor = ADAPTIVE_MOST[rank](values, (GRID[rank],) * rank)
    return most


def lay_out(style: Tensor, mask: Tensor) -> Tensor:
    """A style `(batch, style_size, codes)` over the grid: `(batch, style_size, *cells)`.

    A cell that objects of `mask`, `(batch, class, *spatial)`, touch has the codes of their classes, any other its own.
    """
    rank, objects = mask.ndim - 2, mask.shape[1] - 1
    cover = grid_most(mask[:, 1:], rank)
    looks, around = style[..., :objects], style[..., objects:].unflatten(2, cover.shape[2:])
    shares = cover / cover.sum(1, keepdim=True).clamp(min=1)
    inside: Tensor = (looks @ shares.to(looks).flatten(2)).unflatten(2, cover.shape[2:])
    laid_out: Tensor = inside + (1 - shares.sum(1, keepdim=True)).to(around) * around
    return laid_out


def sample_style(
    mean: Tensor, log_variance: Tensor, generator: torch.Generator, temperature: Tensor | float = 1.0
) -> Tensor:
    """One style per row from N(mean, temperature^2 exp(log_variance)); `(batch, style_size, codes)` all.

    Differentiable in everything that it is made from; the draws come from `generator`, on the CPU.
    """
    # Drawn in float32 on the CPU, so that they depend on neither precision nor device.
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + temperature * (0.5 * log_variance).exp() * noise


def style_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence to N(0, I) in nats per code, mean over the batch: Kingma and Welling, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


class StyleDistribution(nn.Module):
    """Styles for new images: the surroundings of one real image, objects that look like those of another, and noise.

    The noise is as wide as the codes are uncertain, times `temperature`, the one parameter. The codes are constants: no
    gradient goes back to the encoder.
    """

    mean: Tensor
    log_variance: Tensor

    def __init__(self, images: int, rank: int, classes: int, style_size: int) -> None:
        """images: how many real images there are; their codes come by `learn`."""
        super().__init__()
        self.objects = classes - 1
        shape = (images, style_size, codes_of(rank, classes))
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("log_variance", torch.zeros(shape))
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def temperature(self) -> Tensor:
        """How much noise there is, > 0; 1 is as much as in stage I."""
        return self.log_temperature.exp()

    def learn(self, images: Sequence[int], mean: Tensor, log_variance: Tensor) -> None:
        """Take over the codes of some images, `(len(images), style_size, codes)` each, from `StyleEncoder`."""
        self.mean[list(images)] = mean.detach()
        self.log_variance[list(images)] = log_variance.detach()

    def sample(self, count: int, generator: torch.Generator, images: Sequence[int]) -> Tensor:
        """`(count, style_size, codes)` from the codes of `images`, differentiable in the temperature.

        All draws come from `generator`, on the CPU.
        """
        chosen = torch.tensor(list(images))[torch.randint(len(images), (2, count), generator=generator)]
        mean, log_variance = (self._mixed(codes, chosen) for codes in (self.mean, self.log_variance))
        return sample_style(mean, log_variance, generator, self.temperature)

    def _mixed(self, codes: Tensor, chosen: Tensor) -> Tensor:
        """The objects' codes of the first images chosen beside the surroundings of the second."""
        first, second = codes[chosen.to(codes.device)]
        return torch.cat([first[..., : self.objects], second[..., self.objects :]], 2)
