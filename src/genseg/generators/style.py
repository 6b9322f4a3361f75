"""Styles: what an image shows beyond its mask, as a few numbers, so that one mask fits many images.

Sources: Zhu et al., BicycleGAN, NeurIPS 2017 (an encoder of real images beside the mask-to-image network); Kingma and
Welling, Auto-Encoding Variational Bayes, ICLR 2014 (sampling and divergence).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from genseg.layers import CONVOLUTION, at_least_float32

WIDTHS = (16, 32, 64)
INITIAL_TEMPERATURE = 0.5


class StyleEncoder(nn.Module):
    """Image to the mean and log variance of its style.

    The last features are averaged over all positions, so that no shape can hide in a style. There is no normalisation,
    which would take away brightness and contrast, the larger part of a style.
    """

    def __init__(self, rank: int, channels: int, style_size: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for above, width in pairwise([channels, *widths]):
            layers += [CONVOLUTION[rank](above, width, 3, stride=2, padding=1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], 2 * style_size)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """`(batch, channel, *spatial)` of any size to mean and log variance, `(batch, style_size)` each."""
        pooled = self.layers(image).flatten(2).mean(2)
        mean, log_variance = at_least_float32(self.head(pooled)).chunk(2, 1)
        return mean, log_variance


def sample_style(mean: Tensor, log_variance: Tensor, generator: torch.Generator) -> Tensor:
    """One style per row from N(mean, exp(log_variance)), differentiable in both; all are `(batch, style_size)`."""
    return mean + (0.5 * log_variance).exp() * _noise(mean, generator)


def style_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence to N(0, I) in nats, mean over the batch: Kingma and Welling, appendix B."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()


class StyleDistribution(nn.Module):
    """Styles for new images: between the codes of two real images, plus noise.

    The noise is as wide as the styles met in training (spread of the codes and of each code's own variance together),
    times `temperature`, the one parameter. The codes are constants: no gradient goes back to the encoder.
    """

    mean: Tensor
    log_variance: Tensor

    def __init__(self, images: int, style_size: int) -> None:
        """images: how many real images there are; their codes come by `learn`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(images, style_size))
        self.register_buffer("log_variance", torch.zeros(images, style_size))
        self.log_temperature = nn.Parameter(torch.tensor(INITIAL_TEMPERATURE).log())

    @property
    def temperature(self) -> Tensor:
        """How much noise there is, > 0; 1 is as much as among real styles."""
        temperature: Tensor = self.log_temperature.exp()
        return temperature

    def learn(self, images: Sequence[int], mean: Tensor, log_variance: Tensor) -> None:
        """Take over the codes of some images, `(len(images), style_size)` each, from `StyleEncoder`."""
        self.mean[list(images)] = mean.detach()
        self.log_variance[list(images)] = log_variance.detach()

    def sample(self, count: int, generator: torch.Generator, images: Sequence[int]) -> Tensor:
        """`(count, style_size)` from the codes of `images`, differentiable in the temperature.

        All draws come from `generator`, on the CPU.
        """
        mean, log_variance = self.mean[list(images)], self.log_variance[list(images)]
        deviation = (mean.var(0, correction=0) + log_variance.exp().mean(0)).sqrt()
        chosen = torch.randint(len(mean), (2, count), generator=generator).to(mean.device)
        share = torch.rand(count, 1, generator=generator).to(mean)
        first, second = mean[chosen]
        mixture: Tensor = share * first + (1 - share) * second
        return mixture + self.temperature * deviation * _noise(mixture, generator)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers; drawn in float32 on the CPU, so that they depend on neither precision nor device."""
    return torch.randn(like.shape, generator=generator).to(like)
