"""Whether an image suits a model, and the little that is done to make it suit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genseg.config import Plan
from genseg.errors import DataError, Fault, FaultCode
from genseg.examine.cases import too_large_values
from genseg.examine.channels import EIGHT_BIT, called
from genseg.read.case import Case

LUMA = (0.299, 0.587, 0.114)
"""Of red, green and blue. Source: ITU-R BT.601."""


def fit_case(case: Case, plan: Plan) -> Case:
    """The case itself; a grey picture as RGB, or one in RGB as grey, where the model wants it.

    Raises DataError for other dimensions, channels or, with 8-bit pictures, values than the model was trained on, and
    for a volume of unknown voxel size where that of the training images was known, or the other way round.
    """
    if len(case.spatial) != plan.rank:
        found, expected = f"an image of {len(case.spatial)} dimensions", f"{plan.rank}, as in training"
        cure = "Give the kind of image that the model was trained on."
        raise DataError([Fault(FaultCode.MIXED_DIMENSIONS, case.name, found, expected, cure)])
    if plan.rank == 3 and case.spacing_unit != plan.spacing_unit:
        raise DataError([_other_unit(case, plan)])
    channels, image = case.image.shape[0], case.image
    if channels == 1 and plan.is_colour:
        image = np.repeat(image, 3, axis=0)
    elif channels == 3 and plan.channels == 1 and plan.rank == 2:
        image = in_grey(image)
    elif channels != plan.channels:
        found, expected = f"{channels} channels", f"{plan.channels}, as in training"
        cure = "Give images with the same channels, in the same order, as in training."
        raise DataError([Fault(FaultCode.CHANNEL_MISMATCH, case.name, found, expected, cure)])
    beyond = _beyond_eight_bits(image, plan)
    if beyond:
        cure = "Use 8-bit images, exported like the training images."
        expected = f"0 to {EIGHT_BIT}, as in training"
        raise DataError([Fault(FaultCode.UNSUPPORTED_PIXELS, case.name, "; ".join(beyond), expected, cure)])
    return replace(case, image=image)


def _other_unit(case: Case, plan: Plan) -> Fault:
    if plan.spacing_unit == "mm":
        found, expected = "a volume that does not state its voxel size", "a voxel size, as in training"
        cure = "Write the voxel size into a copy of the file."
    else:
        found, expected = "a volume that states its voxel size", "none: the training images had none"
        cure = "Train on volumes that state their voxel size."
    return Fault(FaultCode.BAD_SPACING, case.name, found, expected, cure)


def _beyond_eight_bits(image: NDArray[np.generic], plan: Plan) -> list[str]:
    """The channels whose values no 8-bit picture has, where those of the training had such values."""
    return [
        f"{f'{called(number, rule.channel)}: ' * (plan.channels > 1)}values {channel.min()} to {channel.max()}"
        for number, (channel, rule) in enumerate(zip(image, plan.intensity, strict=True))
        if rule.rule == "eight-bit" and not (channel.min() >= 0 and channel.max() <= EIGHT_BIT)
    ]


def flat_channels(image: NDArray[np.float32], plan: Plan) -> list[str]:
    """What to say of channels of a network input `(channel, *spatial)` in which nothing can be seen.

    Nothing of a colour picture, or of an image of one channel: such a picture is what it is.
    """
    if plan.is_colour or plan.channels == 1:
        return []
    flat = [called(n, rule.channel) for n, rule in enumerate(plan.intensity) if np.ptp(image[n]) == 0]
    return [f"{', '.join(flat)} has the same value everywhere once scaled, so nothing is seen in it"] if flat else []


def in_grey(image: NDArray[np.generic]) -> NDArray[np.generic]:
    """`(3, row, column)` RGB to `(1, row, column)` by luma; values stay where all channels are equal."""
    grey = np.tensordot(np.array(LUMA), image.astype(np.float64), 1)[None]
    return (np.rint(grey) if image.dtype.kind in "iu" else grey).astype(image.dtype)


def is_in_colour(image: NDArray[np.generic]) -> bool:
    """Whether channels of `(channel, *spatial)` differ."""
    return len(image) > 1 and bool((image != image[:1]).any())


def case_of_array(pixels: NDArray[np.generic], spacing: Sequence[float] | None, plan: Plan) -> Case:
    """The case that an array `(channel, *spatial)` or `(*spatial)` stands for; of a volume in RAS+ voxel order.

    spacing: mm along each spatial axis; the plan's where None, and unknown for pictures.
    Raises DataError, with all faults, for another number of axes, an array without pixels or with values that are no
    finite real numbers or too large, and a spacing that is not one positive number an axis.
    """
    if pixels.ndim == plan.rank:
        pixels = pixels[None]
    steps = tuple(float(step) for step in (plan.spacing or (1.0,) * plan.rank if spacing is None else spacing))
    faults = [*_pixel_faults(pixels, plan.rank)]
    if len(steps) != plan.rank or not all(np.isfinite(step) and step > 0 for step in steps):
        expected = f"{plan.rank} positive numbers (mm)"
        faults.append(_fault(FaultCode.BAD_SPACING, f"spacing {steps}", expected, "Give one for each spatial axis."))
    if faults:
        raise DataError(faults)
    affine = np.diag([*steps, 1.0]) if plan.rank == 3 else None
    unit = "px" if spacing is None and plan.rank == 2 else "mm" if spacing is not None else plan.spacing_unit
    return Case("array", pixels, None, steps, affine, "", "", "", spacing_unit=unit)


def _pixel_faults(pixels: NDArray[np.generic], rank: int) -> list[Fault]:
    if pixels.ndim != rank + 1 or 0 in pixels.shape:
        expected = f"(channel, *spatial) with {rank} spatial axes"
        return [_fault(FaultCode.MIXED_DIMENSIONS, f"shape {pixels.shape}", expected, "Reshape the array.")]
    if pixels.dtype.kind not in "biuf":
        cure = "Convert the array."
        return [_fault(FaultCode.UNSUPPORTED_PIXELS, f"type {pixels.dtype}", "real numbers", cure)]
    if not np.isfinite(pixels).all():
        cure = "Replace them, for instance by the smallest finite value."
        return [_fault(FaultCode.NOT_FINITE, "NaN or infinite values", "finite numbers", cure)]
    return too_large_values(pixels, "array")


def _fault(code: FaultCode, found: str, expected: str, cure: str) -> Fault:
    return Fault(code, "array", found, expected, cure)
