"""From a prepared case to its segmentation, in the case's own size and voxel order. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from genseg.config import MULTIPLE, Plan
from genseg.prepare.preprocess import Geometry, Prepared, restore
from genseg.segmenters.network import Array, Checked, Mirrored, Network, Response, softmax
from genseg.segmenters.resample import resampled
from genseg.segmenters.tiles import in_tiles

WHOLE = 2.0
"""A volume of up to this many patches' voxels goes through the network in one piece; a larger one in tiles."""


@dataclass(frozen=True)
class Segmentation:
    """What a network finds in a case.

    mask: `(*spatial)` uint8, the most probable class. confidence: `(*spatial)` uint8, its probability in percent.
    expected_dice: for each foreground class the Dice to be expected if the probabilities are right and pixels
    independent: twice the probability within the mask, over the mask's size plus all probability; None where the mask
    has none of it. features: `(feature,)` of each level, see `Response`. is_in_pieces: whether memory was too small for
    pieces of the usual size, so that the network saw less around each pixel.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    expected_dice: tuple[float | None, ...]
    features: tuple[Array, ...]
    is_in_pieces: bool = False


def segment(
    network: Network, prepared: Prepared, plan: Plan, temperature: float = 1.0, tile_batch: int = 1
) -> Segmentation:
    """Segment one prepared case, with memory for one row of tiles and for the result.

    temperature: what logits are divided by before they become probabilities (see `genseg.trust.calibration`).
    tile_batch: tiles of a large volume that go through the network at once. Where memory runs out the case is segmented
    once more, in smaller pieces; raises MemoryError where it runs out again, FloatingPointError where the network's
    values are not finite.
    """
    try:
        said = responses(network, prepared, plan, tile_batch)
        return assemble(said, prepared.geometry, plan.classes, temperature)
    except MemoryError:
        if network.is_fixed:
            raise
    said = in_tiles(_as_planned(network, plan), prepared.image[None], _smaller_tile(prepared, plan))
    return replace(assemble(said, prepared.geometry, plan.classes, temperature), is_in_pieces=True)


def assemble(said: Iterable[Response], geometry: Geometry, classes: int, temperature: float = 1.0) -> Segmentation:
    """The segmentation that a network's responses to a prepared case, rows of it at a time, amount to."""
    mask, confidence = (np.empty(geometry.oriented, np.uint8) for _ in range(2))
    within, probable, size = (np.zeros(classes) for _ in range(3))
    features: list[tuple[Array, ...]] = []
    done = 0

    def pieces() -> Iterator[Array]:
        for response in said:
            features.append(response.features)
            yield response.logits[0]

    for logits in resampled(pieces(), geometry.worked, geometry.oriented):
        rows = slice(done, done + logits.shape[1])
        probabilities = softmax(logits / np.float32(temperature))
        chosen, highest = _most_probable(probabilities)
        mask[rows] = chosen
        confidence[rows] = np.rint(100 * highest)
        within += np.bincount(chosen.ravel(), highest.ravel(), classes)
        size += np.bincount(chosen.ravel(), minlength=classes)
        probable += probabilities.reshape(classes, -1).sum(1, dtype=np.float64)
        done = rows.stop
    dice = np.where(size > 0, 2 * within / (size + probable), np.nan)
    return Segmentation(
        restore(mask, geometry),
        restore(confidence, geometry),
        tuple(None if np.isnan(one) else float(one) for one in dice[1:]),
        tuple(np.concatenate(level).mean(0) for level in zip(*features, strict=True)),
    )


def _most_probable(probabilities: Array) -> tuple[NDArray[np.uint8], Array]:
    """The class of each pixel, the first of equals, and its probability.

    As `argmax` and `max` over the first axis, of which numpy's `argmax` is slow along an axis that is so short.
    """
    chosen, highest = np.zeros(probabilities.shape[1:], np.uint8), probabilities[0].copy()
    for class_index, own in enumerate(probabilities[1:], 1):
        np.copyto(chosen, np.uint8(class_index), where=own > highest)
        np.maximum(highest, own, out=highest)
    return chosen, highest


def predict_mask(network: Network, prepared: Prepared, plan: Plan) -> NDArray[np.uint8]:
    """The most probable class of every pixel, `(*spatial)` uint8, in the case's own size and voxel order.

    Raises FloatingPointError as `segment`.
    """
    return segment(network, prepared, plan).mask


def responses(network: Network, prepared: Prepared, plan: Plan, tile_batch: int = 1) -> Iterator[Response]:
    """What the network says of a prepared case, rows of the prepared image at a time; together they are all of it.

    Where the plan says so, logits are means over all ways to mirror the image. Raises FloatingPointError where values
    are not finite.
    """
    image = prepared.image[None]
    whole = image.shape[2:] == plan.patch_size or (
        math.prod(image.shape[2:]) <= WHOLE * math.prod(plan.patch_size) and not network.is_fixed
    )
    network = _as_planned(network, plan)
    if whole:
        yield network(image)
    else:
        yield from in_tiles(network, image, plan.patch_size, tile_batch)


def _as_planned(network: Network, plan: Plan) -> Network:
    return Checked(Mirrored(network, plan.flip_axes) if plan.mirroring else network)


def _smaller_tile(prepared: Prepared, plan: Plan) -> tuple[int, ...]:
    """The patch that was trained on, or half of it where that is the whole image."""
    if prepared.image.shape[1:] != plan.patch_size:
        return plan.patch_size
    return tuple(max(min(side, MULTIPLE), side // 2 // MULTIPLE * MULTIPLE) for side in plan.patch_size)
