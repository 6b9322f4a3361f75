"""From a case in its own geometry to network input, and exactly back.

Pictures are fitted whole into the plan's patch size, aspect kept, and padded at the right and below. Volumes are
straightened where they lean, turned to RAS+ voxel order, brought to the plan's spacing, and padded up to the patch
size. `restore` undoes each step in reverse order, so that a prediction has the input's own size and voxel order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.base.free_memory import GIB, free_memory
from genseg.config import IntensityRule, Plan, Rule
from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import IGNORE, Case
from genseg.read.geometry import spacing_of
from genseg.read.source import memory_for
from genseg.read.tilt import Tilt, straight_affine, tilt_of

_BESIDE = 2
"""Arrays of the size of a channel that are in memory beside all channels, at least, while an image is prepared."""


@dataclass(frozen=True)
class Geometry:
    """What `restore` needs to go back.

    orientation: nibabel's (axis, flip) pairs from the file's voxel order to RAS+, or None for pictures.
    oriented: spatial size after that. worked: spatial size after resampling, before padding. tilt: how the volume leant
    before all that.
    """

    orientation: NDArray[np.float64] | None
    oriented: tuple[int, ...]
    worked: tuple[int, ...]
    tilt: Tilt | None = None


@dataclass(frozen=True)
class Prepared:
    """A case as a network sees it.

    image: `(channel, *spatial)` float32. mask: `(*spatial)` uint8 class indices with `IGNORE` in the padding, or None.
    foreground: flat indices of up to 2,000 foreground voxels, evenly sampled, for centring patches.
    """

    name: str
    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    geometry: Geometry
    foreground: NDArray[np.int64]

    @property
    def nbytes(self) -> int:
        """Bytes of image and mask."""
        return self.image.nbytes + (0 if self.mask is None else self.mask.nbytes)


def prepare(case: Case, plan: Plan) -> Prepared:
    """Bring `case` to the plan's orientation, spacing or size, and intensities.

    Raises:
        DataError: TOO_LARGE where it would take more memory than there is, as with metres taken for millimetres.
    """
    with memory_for(case.name):
        return _prepare(case, plan)


def _prepare(case: Case, plan: Plan) -> Prepared:
    straight, tilt = _straightened(case)
    image, mask, spacing, orientation = _orient(straight)
    worked = _worked_size(image.shape[1:], spacing, plan)
    _check_size(case, worked)
    geometry = Geometry(orientation, tuple(image.shape[1:]), worked, tilt)
    # One channel at a time: as floating-point numbers, a large picture is several times as large.
    pairs = zip(image, plan.intensity, strict=True)
    channels = [_resize(scale_channel(channel, rule), worked) for channel, rule in pairs]
    resized = _pad(np.stack(channels), plan.patch_size, None)
    resized_mask = None if mask is None else _pad(_resize_mask(mask, worked), plan.patch_size, IGNORE)
    return Prepared(case.name, resized, resized_mask, geometry, _foreground(resized_mask))


def restore(class_index: NDArray[np.uint8], geometry: Geometry) -> NDArray[np.uint8]:
    """Turn a label map of the oriented size back into the file's own voxel order."""
    if geometry.orientation is None:
        return class_index
    from nibabel.orientations import apply_orientation, axcodes2ornt, ornt_transform

    back = ornt_transform(axcodes2ornt("RAS"), geometry.orientation)
    turned = apply_orientation(class_index, back)
    return np.ascontiguousarray(turned if geometry.tilt is None else geometry.tilt.lean(turned))


def scale_channel(channel: NDArray[np.generic], intensity: IntensityRule) -> NDArray[np.float32]:
    """Stored values `(*spatial)` of one channel to float32 network input by the channel's rule."""
    values: NDArray[np.float32] = channel.astype(np.float32)
    scaled: NDArray[np.float32] = values
    if intensity.rule == "eight-bit":
        scaled = values / 127.5
        scaled -= 1
    elif intensity.rule == "window":
        scaled = (np.clip(values, intensity.low, intensity.high) - intensity.mean) / intensity.std
    elif intensity.rule == "z-score":
        mean, deviation = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
        scaled = (values - mean) / (deviation or 1.0)
    elif intensity.rule != "unchanged":
        low, high = _bounds(values, intensity.rule)
        scaled = (np.clip(values, low, high) - low) / ((high - low) or 1.0) * 2 - 1
    return scaled


def unscale_channel(channel: NDArray[np.float32], intensity: IntensityRule) -> NDArray[np.generic]:
    """What `scale_channel` would have been given: uint8 by the rule "eight-bit", float32 by the others.

    By the rules that scale each image by itself there is no way back, and none is needed: the channel stays as it is.
    """
    if intensity.rule == "eight-bit":
        bytes_: NDArray[np.uint8] = np.clip(np.rint((channel + 1) * 127.5), 0, 255).astype(np.uint8)
        return bytes_
    stored: NDArray[np.float32] = channel.astype(np.float32)
    if intensity.rule == "window":
        stored = stored * np.float32(intensity.std) + np.float32(intensity.mean)
    return stored


def unscale_intensity(image: NDArray[np.float32], intensity: Sequence[IntensityRule]) -> NDArray[np.generic]:
    """Network input `(channel, *spatial)` back to values as they are stored, each channel by its own rule."""
    return np.stack([unscale_channel(channel, rule) for channel, rule in zip(image, intensity, strict=True)])


def _bounds(values: NDArray[np.float32], rule: Rule) -> tuple[float, float]:
    """The values of a channel that become -1 and 1 by the rules "percentile" and "min-max"."""
    if rule == "percentile":
        low, high = (float(value) for value in np.percentile(values, (0.5, 99.5)))
        if low < high:
            return low, high
        # Nearly all pixels are equal: what there is to see lies outside of the percentiles.
    return float(values.min()), float(values.max())


def _straightened(case: Case) -> tuple[Case, Tilt | None]:
    """The case on a straight grid, and how it leant; None where it did not, and is as it was.

    Beyond its slices the image is as dark as it gets, and the mask is `IGNORE`.
    """
    if case.affine is None or len(case.spatial) != 3:
        return case, None
    tilt = tilt_of(case.affine, case.spatial)
    if tilt is None:
        return case, None
    pixels = case.image.astype(np.float32)
    image = np.stack([tilt.straighten(channel, float(channel.min()), interpolate=True) for channel in pixels])
    mask = None if case.mask is None else tilt.straighten(case.mask, IGNORE, interpolate=False)
    affine = straight_affine(case.affine, tilt)
    return replace(case, image=image, mask=mask, affine=affine, spacing=spacing_of(affine)), tilt


def _orient(
    case: Case,
) -> tuple[NDArray[np.generic], NDArray[np.uint8] | None, tuple[float, ...], NDArray[np.float64] | None]:
    if case.affine is None or len(case.spatial) != 3:
        return case.image, case.mask, case.spacing, None
    from nibabel.orientations import apply_orientation, io_orientation

    orientation = io_orientation(case.affine)
    image = np.stack([apply_orientation(channel, orientation) for channel in case.image])
    mask = None if case.mask is None else apply_orientation(case.mask, orientation)
    spacing = tuple(case.spacing[axis] for axis in axis_order(orientation))
    return image, mask, spacing, orientation


def axis_order(orientation: NDArray[np.float64]) -> list[int]:
    """Which of a file's voxel axes comes first, second and third in RAS+; `orientation` as nibabel gives it."""
    return [int(axis) for axis in np.argsort(orientation[:, 0])]


def _worked_size(spatial: Sequence[int], spacing: Sequence[float], plan: Plan) -> tuple[int, ...]:
    if plan.spacing is not None:
        ratios = [own / target for own, target in zip(spacing, plan.spacing, strict=True)]
    else:
        ratios = [min(target / size for size, target in zip(spatial, plan.patch_size, strict=True))] * len(spatial)
    return tuple(max(1, round(size * ratio)) for size, ratio in zip(spatial, ratios, strict=True))


def _check_size(case: Case, worked: tuple[int, ...]) -> None:
    needed = np.dtype(np.float32).itemsize * math.prod(worked) * (len(case.image) + _BESIDE)
    if needed <= free_memory():
        return
    size, spacing = (" x ".join(f"{number:.4g}" for number in numbers) for numbers in (worked, case.spacing))
    found = f"{size} voxels at the voxel size of training; its own is {spacing} {case.spacing_unit}"
    expected = f"a size that fits in memory; this one takes {needed / GIB:.0f} GiB"
    cure = "See whether the unit of its voxel size is right; else crop it."
    raise DataError([Fault(FaultCode.TOO_LARGE, case.name, found, expected, cure)])


def _resize(channel: NDArray[np.float32], worked: tuple[int, ...]) -> NDArray[np.float32]:
    """Linear interpolation on pixel centres, averaging where it shrinks."""
    if channel.shape == worked:
        return channel
    if channel.ndim == 2:
        from PIL import Image

        rows, columns = worked
        picture = Image.fromarray(channel).resize((columns, rows), Image.Resampling.BILINEAR)
        return np.asarray(picture, dtype=np.float32)
    from skimage.transform import resize

    return np.asarray(resize(channel, worked, order=1, mode="edge", anti_aliasing=True), dtype=np.float32)


def _resize_mask(mask: NDArray[np.uint8], worked: tuple[int, ...]) -> NDArray[np.uint8]:
    """Each class is resized as an image is, and the one with the largest share of a pixel gets it."""
    if mask.shape == worked:
        return mask
    values = np.unique(mask)
    best, chosen = np.full(worked, -1.0, np.float32), np.zeros(worked, np.uint8)
    for value in values:
        share = _resize((mask == value).astype(np.float32), worked)
        chosen[share > best] = value
        best = np.maximum(best, share)
    return chosen


def _pad(array: NDArray[Any], patch_size: Sequence[int], value: int | None) -> NDArray[Any]:
    """Pad the last axes at their ends up to `patch_size`, with `value`, or by repeating the edge where it is None."""
    lead = array.ndim - len(patch_size)
    widths = [(0, 0)] * lead + [
        (0, max(0, wanted - size)) for size, wanted in zip(array.shape[lead:], patch_size, strict=True)
    ]
    if not any(after for _, after in widths):
        return np.ascontiguousarray(array)
    return np.pad(array, widths, mode="edge") if value is None else np.pad(array, widths, constant_values=value)


def _foreground(mask: NDArray[np.uint8] | None, most: int = 2000) -> NDArray[np.int64]:
    if mask is None:
        return np.zeros(0, np.int64)
    indices = np.flatnonzero((mask > 0) & (mask != IGNORE))
    return indices[:: max(1, -(-len(indices) // most))]
