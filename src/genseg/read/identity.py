"""Images told apart by their pixels, whatever their files are called and in whichever lossless format they are.

What is kept of the images that a model was trained on are hashes with a salt of its dataset: the images cannot be had
from them, and hashes of two datasets cannot be compared. They do tell somebody who has an image and the model whether
the model was trained on it; that is what they are for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genseg.read.case import Case, Scan

Use = Literal["trained on", "held out"]
"""What an image was used for in training. Held-out images trained no weight, but the model was judged by them."""

Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


@dataclass(frozen=True)
class SeenImages:
    """The images that one training has seen, as salted hashes; each tuple is sorted, so that no order is told."""

    salt: Hash
    trained_on: tuple[Hash, ...]
    held_out: tuple[Hash, ...]

    def use_of(self, pixels_hash: str) -> Use | None:
        """What the image of a `pixels_hash` was used for; None where this training has not seen it."""
        found = salted(pixels_hash, self.salt)
        if found in self.trained_on:
            return "trained on"
        return "held out" if found in self.held_out else None


def seen_images(
    hashes: Mapping[str, str], fingerprints: Mapping[str, str], train: tuple[str, ...], validation: tuple[str, ...]
) -> SeenImages:
    """What a training keeps of its images. hashes: `pixels_hash` by case. fingerprints: of images and masks, by case.

    The salt is made from the fingerprints of the whole dataset: the same run has the same salt when it is repeated.
    """
    salt = hashlib.sha256("".join(fingerprints[name] for name in sorted(fingerprints)).encode()).hexdigest()
    parts = [tuple(sorted(salted(hashes[name], salt) for name in names)) for names in (train, validation)]
    return SeenImages(salt, *parts)


def salted(pixels_hash: str, salt: str) -> str:
    """The hash that is kept."""
    return hashlib.sha256(f"{salt}{pixels_hash}".encode()).hexdigest()


def pixels_hash(image: Case | Scan) -> str:
    """SHA-256 of what an image shows: size and values as float32, of volumes in RAS+ voxel order.

    Equal for an image under another name, in another lossless format or type of number, with other metadata, with its
    voxel axes turned, or in grey and as grey RGB; not after resizing, cropping or lossy compression.
    """
    pixels = image.pixels if isinstance(image, Scan) else image.image
    if len(pixels) > 1 and all(np.array_equal(pixels[0], channel) for channel in pixels[1:]):
        pixels = pixels[:1]
    found = hashlib.sha256()
    for channel in pixels:
        turned = _in_ras(channel, image.affine)
        found.update(repr(turned.shape).encode())
        for rows in turned:  # one row or slice at a time: as float32 a volume may be four times as large
            with np.errstate(over="ignore"):  # a double beyond float32 becomes infinite, here and in its copies
                found.update((np.ascontiguousarray(rows, "<f4") + np.float32(0)).tobytes())  # -0.0 is 0.0
    return found.hexdigest()


def _in_ras(channel: NDArray[np.generic], affine: NDArray[np.float64] | None) -> NDArray[np.generic]:
    if affine is None or channel.ndim != 3:
        return channel
    from nibabel.orientations import apply_orientation, io_orientation

    turned: NDArray[np.generic] = apply_orientation(channel, io_orientation(affine))
    return turned
