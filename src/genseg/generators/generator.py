"""What a network that makes images from masks offers to the joint loop, whoever wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from genseg.compute.layers import at_least_float32
from genseg.errors import SettingsError
from genseg.generators.cells import MixedConvolution
from genseg.generators.fields import lay_out


class ImageGenerator(nn.Module):
    """A network from soft masks and styles to images; see `genseg.generators.registry`.

    bounded: for each channel, or for all, whether its values are put into [-1, 1] by tanh, as suits eight-bit pictures;
    they are free otherwise, as suits z-scored ones. Raises ValueError where they are not as many as the channels.
    """

    def __init__(self, rank: int, classes: int, channels: int, bounded: bool | Sequence[bool]) -> None:
        super().__init__()
        self.rank, self.classes, self.channels = rank, classes, channels
        self.bounded = [bounded] * channels if isinstance(bounded, bool) else list(bounded)
        if len(self.bounded) != channels:
            raise ValueError(f"{channels} channels and {len(self.bounded)} statements about their bounds")

    def within_bounds(self, image: Tensor) -> Tensor:
        """`(batch, channel, *spatial)` with tanh on the channels that are bounded."""
        if all(self.bounded) or not any(self.bounded):
            return image.tanh() if any(self.bounded) else image
        pairs = zip(image.split(1, 1), self.bounded, strict=True)
        return torch.cat([channel.tanh() if bounded else channel for channel, bounded in pairs], 1)

    def cells(self) -> list[MixedConvolution]:
        """All searchable cells, in the order in which data meet them; none where the architecture is fixed."""
        return [module for module in self.modules() if isinstance(module, MixedConvolution)]

    def architecture(self) -> list[nn.Parameter]:
        """The logits of the cells; empty after `discretise`."""
        return [cell.logits for cell in self.cells() if cell.logits is not None]

    def weights(self) -> list[nn.Parameter]:
        """All parameters that are not architecture."""
        logits = {id(parameter) for parameter in self.architecture()}
        return [parameter for parameter in self.parameters() if id(parameter) not in logits]

    def architecture_entropy(self) -> Tensor:
        """Mean entropy of the cells, 1 = undecided, 0 = decided or none. A differentiable scalar."""
        cells = self.cells()
        return torch.stack([cell.entropy() for cell in cells]).mean() if cells else torch.zeros(())

    def discretise(self) -> None:
        """Keep the strongest candidate of every cell, in place. Optimisers must be made anew afterwards."""
        for cell in self.cells():
            cell.discretise()

    def describe(self) -> dict[str, Any]:
        """What `restore_generator` builds this generator from, as JSON values; the weights are in `state_dict`."""
        names = ("rank", "classes", "channels", "bounded")
        return {name: getattr(self, name) for name in names} | {"kernels": [cell.kernels for cell in self.cells()]}


class RegisteredGenerator(ImageGenerator):
    """A network of someone else's, registered as `name`; see `genseg.register_generator`.

    It is given the style as it lies under the mask, pixel by pixel, and its image is bounded here.
    """

    def __init__(
        self, name: str, network: nn.Module, rank: int, classes: int, channels: int, bounded: bool | Sequence[bool]
    ) -> None:
        super().__init__(rank, classes, channels, bounded)
        self.name = name
        self.network = network

    def forward(self, mask: Tensor, style: Tensor) -> Tensor:
        """Soft mask `(batch, class, *spatial)` and style `(batch, field, style_size, *cells)` to an image.

        Raises SettingsError where the network gives anything but `(batch, channel, *spatial)`.
        """
        image: Tensor = self.network(mask, lay_out(style, mask))
        expected = (len(mask), self.channels, *mask.shape[2:])
        if image.shape != expected:
            raise SettingsError(
                f"generator {self.name!r}: image of shape {tuple(image.shape)} found; expected {expected}, "
                f"(batch, channel, *spatial) for a mask of shape {tuple(mask.shape)}"
            )
        return self.within_bounds(at_least_float32(image))

    def describe(self) -> dict[str, Any]:
        """As of every generator, with the name that it was registered by."""
        return {"registered": self.name, **super().describe()}
