"""Post-processing of masks, learned on held-out cases: each rule is kept only where it is sure to help.

Source of the rules and of keeping only what helps: Isensee et al., nnU-Net, Nature Methods 2021, online methods,
"postprocessing".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genseg.base.records import Share
from genseg.measure.objects import number_objects

Mask = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Rule = Literal["fill-holes", "no-specks", "largest-object"]

LEAST_HELD_OUT = 8
"""Held-out cases below which no rule is learned: of two, both become better by chance in one of four trials, and then
every draw of the bootstrap says so. A rule that was learned so cost 8 Dice points on 90 other images of polyps.
"""

SPECK_PERCENTILE = 5
"""Objects smaller than all but so many percent of the experts' are specks."""


@dataclass(frozen=True)
class PostprocessingStep:
    """A rule for one class. gain: what it brought on the held-out cases, in Dice. least: size of an object that is no
    speck, as a share of the picture or in mm^3 of a volume.
    """

    class_index: Annotated[int, Field(ge=1)]
    rule: Rule
    gain: Share
    least: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


@dataclass(frozen=True)
class Judged:
    """A held-out case: predicted and true mask `(*spatial)`, and the spacing in mm."""

    found: Mask
    truth: Mask
    spacing: tuple[float, ...]


def postprocess(mask: Mask, steps: Sequence[PostprocessingStep], spacing: Sequence[float]) -> Mask:
    """`(*spatial)` class indices after the rules, one after the other; pixels taken from a class become background.

    A hole is filled only where nothing but background is in it. spacing: mm along each axis. Where there are no rules
    it is the very mask that was given.
    """
    result = mask.copy() if steps else mask  # the mask of a whole slide is large
    for one in steps:
        own = result == one.class_index
        changed = _RULES[one.rule](own, one.least / voxel_size(mask.shape, spacing))
        result[own & ~changed] = 0
        result[changed & (result == 0)] = one.class_index
    return result


def learn_postprocessing(
    held_out: Sequence[Judged], classes: int, specks: Sequence[float]
) -> tuple[PostprocessingStep, ...]:
    """The rules whose gain in Dice, mean over classes, has a 95 % interval above 0 over the held-out cases.

    None where these are fewer than `LEAST_HELD_OUT`. specks: `PostprocessingStep.least` of each foreground class.
    """
    from genseg.evaluate import paired_bootstrap
    from genseg.evaluate.metrics import dice_scores

    if len(held_out) < LEAST_HELD_OUT:
        return ()

    def scores(steps: Sequence[PostprocessingStep]) -> list[float]:
        processed = [(one.truth, postprocess(one.found, steps, one.spacing)) for one in held_out]
        return [float(np.mean(dice_scores(truth, mask, classes))) for truth, mask in processed]

    kept: list[PostprocessingStep] = []
    for class_index, rule in product(range(1, classes), get_args(Rule)):
        tried = PostprocessingStep(class_index, rule, 0.0, specks[class_index - 1] if rule == "no-specks" else 0.0)
        gain = paired_bootstrap(scores([*kept, tried]), scores(kept))
        if gain.difference is not None and gain.low is not None and gain.low > 0:
            kept.append(PostprocessingStep(class_index, rule, gain.difference, tried.least))
    return tuple(kept)


def object_sizes(mask: Mask, class_index: int, spacing: Sequence[float]) -> list[float]:
    """Sizes of the objects of a class, in the unit of `PostprocessingStep.least`."""
    _, sizes = _objects(mask == class_index)
    return [float(size) * voxel_size(mask.shape, spacing) for size in sizes[1:]]


def speck_size(sizes: Sequence[float]) -> float:
    """`PostprocessingStep.least` from the sizes of objects in expert masks; 0 where there are none."""
    return float(np.percentile(sizes, SPECK_PERCENTILE)) if sizes else 0.0


def voxel_size(shape: Sequence[int], spacing: Sequence[float]) -> float:
    """Of a picture the share that a pixel is; of a volume mm^3."""
    return 1 / math.prod(shape) if len(shape) == 2 else math.prod(spacing)


def _filled(own: Flags, _: float) -> Flags:
    """With what no path through faces of voxels joins to the edge of the image."""
    from scipy.ndimage import label

    regions, count = label(~own)
    is_outside = np.zeros(count + 1, np.bool_)
    for axis, end in product(range(own.ndim), (0, -1)):
        is_outside[regions.take(end, axis)] = True
    is_outside[0] = False
    filled: Flags = ~is_outside[regions]
    return filled


def _without_specks(own: Flags, least: float) -> Flags:
    objects, sizes = _objects(own)
    keeps = sizes >= least
    keeps[0] = False
    kept: Flags = keeps[objects]
    return kept


def _largest(own: Flags, _: float) -> Flags:
    objects, sizes = _objects(own)
    sizes[0] = 0
    largest: Flags = own & (objects == sizes.argmax())
    return largest


def _objects(own: Flags) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Numbers of connected objects, 0 outside, and the voxels of each number."""
    objects, _ = number_objects(own)
    return objects, np.bincount(objects.ravel())


_RULES: dict[Rule, Callable[[Flags, float], Flags]] = {
    "fill-holes": _filled,
    "no-specks": _without_specks,
    "largest-object": _largest,
}
