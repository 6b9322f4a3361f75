"""Styles: what an image shows beyond its mask, so that one mask fits many images.

A style has fields of codes (`fields`): what the surroundings, each class of object, and the rim of objects look like,
place by place on a coarse grid. An image tells the codes of a class only where the class is seen; from there they are
carried on to all other places. Thereby a style fits any mask: wherever a class comes to lie, its field says what is
there.

Sources: Zhu et al., BicycleGAN, NeurIPS 2017 (an encoder of real images beside the mask-to-image network); Zhu et al.,
SEAN, CVPR 2020 (codes for each region); Park et al., SPADE, CVPR 2019 (modulation that differs from place to place);
Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014 (sampling and divergence); Perez et al., Poisson Image
Editing, SIGGRAPH 2003 (rims brought into other surroundings by their differences).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from genseg.compute.layers import ADAPTIVE_MEAN, CONVOLUTION, at_least_float32
from genseg.generators.fields import centres_of, extend, shares_of, shift, widened

LAYERS = ((16, 2), (32, 1), (32, 1))
"""Width and stride of the encoder's layers: a code knows its cell and a little beyond."""

GRID = {2: 64, 3: 16}
"""Cells along each axis, by spatial rank: fine enough for texture, two pixels of a picture of 128."""

FIRST_LOG_VARIANCE = -4.0
"""Of an untrained encoder's codes: what they say is heard from the start."""

SURENESS = 4
"""Power of a cell's share of a class, by which the cell counts in the class's field: mixed cells hardly do."""

NEARNESS = 0.1
"""How far, in half sizes, the objects of the image that surroundings come from usually lie from the new ones."""


def style_shape(rank: int, classes: int, style_size: int) -> tuple[int, ...]:
    """Shape of one style, `(field, style_size, *cells)`: a field a class, background first, and one for the rim."""
    return classes + 1, style_size, *(GRID[rank],) * rank


class StyleEncoder(nn.Module):
    """Image and mask to the mean and log variance of the image's style.

    Objects and rim are read from the image as it is, the surroundings from one in which these and holes are hidden.
    There is no normalisation, which would take away brightness and contrast, the larger part of a style.
    """

    def __init__(self, rank: int, channels: int, style_size: int) -> None:
        super().__init__()
        self.rank = rank
        layers: list[nn.Module] = []
        above = channels
        for width, stride in LAYERS:
            layers += [CONVOLUTION[rank](above, width, 3, stride=stride, padding=1), nn.LeakyReLU(0.2)]
            above = width
        head = CONVOLUTION[rank](above, 2 * style_size, 1)
        nn.init.constant_(head.get_parameter("bias").data[style_size:], FIRST_LOG_VARIANCE)
        self.layers = nn.Sequential(*layers, head)

    def forward(self, image: Tensor, mask: Tensor, holes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log variance, `(batch, field, style_size, *cells)` each.

        image: `(batch, channel, *spatial)` of any size. mask: `(batch, class, *spatial)`, soft. holes: `(batch, 1,
        *spatial)` in 0..1, surroundings to hide as well.
        """
        hidden = mask[:, 1:].sum(1, keepdim=True).clamp(max=1)
        hidden = widened(hidden if holes is None else torch.maximum(hidden, holes.to(hidden)))
        around = extend(self._codes(image * (1 - hidden)), self._sureness(1 - hidden))
        codes, sureness = self._codes(image), self._sureness(shares_of(mask)[:, 1:])
        looks = [extend(codes, one) for one in sureness.split(1, 1)]
        mean, log_variance = torch.stack([around, *looks], 1).chunk(2, 2)
        return mean, log_variance

    def _codes(self, image: Tensor) -> Tensor:
        return at_least_float32(self._pooled(self.layers(image)))

    def _sureness(self, shares: Tensor) -> Tensor:
        """How much each cell counts for each field, 0..1; the cell with most of a field counts in full."""
        cover = self._pooled(shares)
        most = cover.flatten(2).amax(2).clamp(min=1e-3).view(*cover.shape[:2], *(1,) * self.rank)
        return (cover / most) ** SURENESS

    def _pooled(self, values: Tensor) -> Tensor:
        return ADAPTIVE_MEAN[self.rank](values, (GRID[self.rank],) * self.rank)


def sample_style(
    mean: Tensor, log_variance: Tensor, generator: torch.Generator, temperature: Tensor | float = 1.0
) -> Tensor:
    """One style per row from N(mean, temperature^2 exp(log_variance)), of the shape of both.

    Differentiable in everything that it is made from; the draws come from `generator`, on the CPU.
    """
    # Drawn in float32 on the CPU, so that they depend on neither precision nor device.
    noise = torch.randn(mean.shape, generator=generator).to(mean)
    return mean + temperature * (0.5 * log_variance).exp() * noise


def style_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence to N(0, I) in nats, the mean over all numbers: Kingma and Welling, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()


class StyleDistribution(nn.Module):
    """Styles for new images: the surroundings of one view of a real image, objects that look like those of another.

    A view is a real image as it is or moved at random. The noise is as wide as the codes are uncertain, times
    `temperature`, the one parameter. The codes are constants: no gradient goes back to the encoder.
    """

    mean: Tensor
    log_variance: Tensor
    centres: Tensor

    def __init__(self, images: int, views: int, rank: int, classes: int, style_size: int) -> None:
        """images: how many real images there are, each in so many views; their codes come by `learn`."""
        super().__init__()
        self.views = views
        shape = (images, views, *style_shape(rank, classes, style_size))
        # In half precision, for they are many: far finer than the noise that is added to them.
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float16))
        self.register_buffer("log_variance", torch.zeros(shape, dtype=torch.float16))
        self.register_buffer("centres", torch.zeros(images, views, classes, rank))
        self.log_temperature = nn.Parameter(torch.zeros(()))

    @property
    def temperature(self) -> Tensor:
        """How much noise there is, > 0; 1 is as much as in stage I."""
        return self.log_temperature.exp()

    def learn(self, images: Sequence[int], view: int, mean: Tensor, log_variance: Tensor, mask: Tensor) -> None:
        """Take over the codes of one view of some images from `StyleEncoder`, and from its mask where objects lie."""
        self.mean[list(images), view] = mean.detach().to(self.mean)
        self.log_variance[list(images), view] = log_variance.detach().to(self.log_variance)
        self.centres[list(images), view] = centres_of(mask).detach()

    def sample(self, mask: Tensor, objects: Sequence[int], images: Sequence[int], generator: torch.Generator) -> Tensor:
        """Styles for new masks `(batch, class, *spatial)`: `(batch, field, style_size, *cells)`.

        objects: the image of each mask whose objects and rims it shows, brought to where the mask has them. images:
        those that surroundings are drawn from, the likelier the nearer their objects lie to the mask's, and moved so
        that the mask's come to lie where theirs were: where one lay, one may lie. Rims are brought over by how they
        differ from the surroundings that they had, so that they blend into the new ones. Differentiable in temperature
        and masks, but for the choice of surroundings. All draws come from `generator`, on the CPU.
        """
        looks = torch.tensor(list(objects)), torch.randint(self.views, (len(mask),), generator=generator)
        here = centres_of(mask)
        around = self._surroundings(here[:, 0].detach(), list(images), generator)
        mean, log_variance = (
            torch.cat([codes[around][:, :1], codes[looks][:, 1:]], 1).to(mask)
            for codes in (self.mean, self.log_variance)
        )
        style = sample_style(mean, log_variance, generator, self.temperature)
        rim = style[:, -1:] - self.mean[looks][:, :1].to(style)
        there = torch.cat([self.centres[around][:, :1], self.centres[looks][:, 1:], self.centres[looks][:, :1]], 1)
        offset = torch.cat([here, here[:, :1]], 1) - there  # the last is the rim's: that of all objects together
        moved = shift(torch.cat([style[:, :-1], rim], 1), offset)
        return torch.cat([moved[:, :-1], moved[:, :1] + moved[:, -1:]], 1)

    def _surroundings(self, wanted: Tensor, images: list[int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images and views whose foreground lies near the centres `wanted`, `(batch, rank)`."""
        there = self.centres[images, :, 0].flatten(0, 1).to(wanted)
        likelihood = (-0.5 * (torch.cdist(wanted, there) / NEARNESS).square()).softmax(1)
        chosen = torch.multinomial(likelihood.float().cpu(), 1, generator=generator).squeeze(1)
        return torch.tensor(images)[chosen // self.views], chosen % self.views
