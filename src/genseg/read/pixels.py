"""Rules for pixel values that every format shares: number types, finite values, label values."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.options import ReadOptions

Pixels = NDArray[Any]

LABEL_TOLERANCE = 1e-3
"""A label stored as a fraction may differ from a whole number by this much."""

_LARGEST_LABEL = np.iinfo(np.int32).max


def native(pixels: Pixels) -> Pixels:
    """C-ordered writable pixels in this machine's byte order; fractions as float32, truth values as 0 and 1."""
    special: dict[str, np.dtype[Any]] = {"f": np.dtype(np.float32), "b": np.dtype(np.uint8)}
    dtype = special.get(pixels.dtype.kind, pixels.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite and is reported as such
        return np.require(pixels, dtype, ["C", "W"])


def picture_modality(channels: int) -> str:
    """ "rgb" for three channels, "gray" for one, "" (unknown) for any other count."""
    return {1: "gray", 3: "rgb"}.get(channels, "")


def invert(pixels: Pixels, lowest: int, highest: int) -> Pixels:
    """Integer pixels with white and black exchanged within `lowest..highest`; same dtype."""
    return (highest - (np.clip(pixels, lowest, highest).astype(np.int64) - lowest)).astype(pixels.dtype)


def inverted_warning(name: str, tag: str) -> Fault:
    """The warning that bright and dark were exchanged because the file says so."""
    return Fault(
        FaultCode.INVERTED_BY_TAG,
        name,
        f"the tag {tag}: large stored values are dark",
        "bright pixels with large values",
        "It was inverted on reading; look at it in the contact sheet.",
        stops=False,
    )


def finite(pixels: Pixels, name: str, options: ReadOptions) -> tuple[Pixels, tuple[Fault, ...]]:
    """The pixels `(channel, *spatial)` without NaN and infinity, and a warning where some were replaced.

    Raises:
        DataError: NOT_FINITE with the voxel count, unless `options.nan_to` is "min" and each channel has some finite
            value.
    """
    if pixels.dtype.kind != "f":
        return pixels, ()
    is_finite = np.isfinite(pixels)
    count = int(pixels.size - np.count_nonzero(is_finite))
    if count == 0:
        return pixels, ()
    axes = tuple(range(1, pixels.ndim))
    replace = options.nan_to == "min" and bool(is_finite.any(axis=axes).all())
    fault = Fault(
        FaultCode.NOT_FINITE,
        name,
        f"{count} of {pixels.size} voxels are NaN or infinite",
        "finite numbers",
        "They became the smallest finite value of their channel."
        if replace
        else "Repair the file, or use the smallest value: --nan-to min.",
        stops=not replace,
    )
    if not replace:
        raise DataError([fault])
    smallest = pixels.min(axis=axes, keepdims=True, where=is_finite, initial=np.inf)
    return np.where(is_finite, pixels, smallest), (fault,)


def label_values(pixels: Pixels, name: str) -> Pixels:
    """Mask pixels as integers: fractions within `LABEL_TOLERANCE` of a whole number are rounded to int32.

    Raises:
        DataError: MASK_NOT_INTEGER with the count of voxels that are no labels.
    """
    if pixels.dtype.kind != "f":
        return pixels
    rounded = np.rint(pixels)
    wrong = (np.abs(pixels - rounded) > LABEL_TOLERANCE) | (np.abs(rounded) > _LARGEST_LABEL)
    if not wrong.any():
        return rounded.astype(np.int32)
    fault = Fault(
        FaultCode.MASK_NOT_INTEGER,
        name,
        f"{np.count_nonzero(wrong)} of {pixels.size} voxels hold fractions",
        f"whole numbers within {LABEL_TOLERANCE}",
        "Export the mask as labels, not as probabilities, and resample it by nearest neighbour.",
    )
    raise DataError([fault])


def mask_channels(pixels: Pixels, name: str) -> Pixels:
    """One channel where all channels of a picture say the same, else its three 8-bit colours.

    Raises:
        DataError: CHANNEL_MISMATCH where the pixels are neither one label nor one 8-bit RGB colour each.
    """
    if len(pixels) == 3 and pixels.ndim == 3 and np.all(pixels == pixels[:1]):
        return pixels[:1]
    if len(pixels) == 1 or (len(pixels) == 3 and pixels.ndim == 3 and pixels.dtype == np.uint8):
        return pixels
    fault = Fault(
        FaultCode.CHANNEL_MISMATCH,
        name,
        f"a mask of {len(pixels)} channels of {pixels.dtype}",
        "one channel of labels, or an 8-bit RGB image",
        "Save the mask with one label per pixel.",
    )
    raise DataError([fault])
