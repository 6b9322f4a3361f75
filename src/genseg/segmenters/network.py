"""What prediction asks of a trained network, whatever computes it: PyTorch, ONNX Runtime or OpenVINO. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genseg.base.mirroring import ways_to_mirror

Array = NDArray[np.float32]

LARGEST = 1e30
"""Logits and features stay below it, or their sums and squares might not be finite."""


@dataclass(frozen=True)
class Response:
    """What a network says of some images.

    logits: `(batch, class, *spatial)`. features: `(batch, feature)` of each level of the encoder, finest first, their
    means over each image; they tell how like the training images an image is.
    """

    logits: Array
    features: tuple[Array, ...]


class Network(Protocol):
    """Images `(batch, channel, *spatial)` float32 in, logits and features out.

    is_fixed: whether it takes images of the plan's patch size alone.
    """

    @property
    def is_fixed(self) -> bool: ...

    def __call__(self, image: Array) -> Response: ...


@dataclass(frozen=True)
class Mirrored:
    """Mean over all ways to mirror the image along `axes` (0 is the first spatial one).

    Source: Simonyan and Zisserman, ICLR 2015, section 3.2.
    """

    network: Network
    axes: Sequence[int]

    @property
    def is_fixed(self) -> bool:
        """As the network's own."""
        return self.network.is_fixed

    def __call__(self, image: Array) -> Response:
        """As `Network`; the features are those of the image as it is."""
        own = self.network(image)
        logits = [own.logits]
        for way in ways_to_mirror([axis + 2 for axis in self.axes])[1:]:
            logits.append(np.flip(self.network(np.flip(image, way)).logits, way))
        return Response(mean_of(logits), own.features)


@dataclass(frozen=True)
class Checked:
    """A network whose numbers are looked at: what is not finite, or nearly so, would become an empty mask."""

    network: Network

    @property
    def is_fixed(self) -> bool:
        """As the network's own."""
        return self.network.is_fixed

    def __call__(self, image: Array) -> Response:
        """As `Network`. Raises FloatingPointError where arithmetic has overflowed."""
        said = self.network(image)
        # A NaN makes the comparison false as well.
        if not all(np.abs(part).max(initial=0) < LARGEST for part in (said.logits, *said.features)):
            raise FloatingPointError("the network gives values that are not finite")
        return said


@dataclass(frozen=True)
class Ensemble:
    """Mean of the logits of several networks; the features are those of the first."""

    networks: Sequence[Network]

    @property
    def is_fixed(self) -> bool:
        """Whether any of the networks is."""
        return any(network.is_fixed for network in self.networks)

    def __call__(self, image: Array) -> Response:
        """As `Network`."""
        said = [network(image) for network in self.networks]
        return Response(mean_of([one.logits for one in said]), said[0].features)


def mean_of(arrays: Sequence[Array]) -> Array:
    """Mean of arrays of one shape, without a copy of all of them."""
    total = arrays[0] if len(arrays) == 1 else arrays[0].copy()
    for array in arrays[1:]:
        total += array
    return total if len(arrays) == 1 else total / np.float32(len(arrays))


def softmax(logits: Array) -> Array:
    """Probabilities over the first axis."""
    probabilities: Array = logits - logits.max(0)
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(0)
    return probabilities
