"""Mending of masks, learned on held-out cases: each rule is kept only where it is sure to help.

Source of the rules and of keeping only what helps: Isensee et al., nnU-Net, Nature Methods 2021, online methods,
"postprocessing".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Rule = Literal["fill-holes", "largest-object"]


@dataclass(frozen=True)
class Mending:
    """A rule for one class. gain: what it brought on the held-out cases, in Dice."""

    class_index: int
    rule: Rule
    gain: float


def mend(mask: Mask, mendings: Sequence[Mending]) -> Mask:
    """`(*spatial)` class indices after the rules, one after the other; pixels taken from a class become background.

    A hole is filled only where nothing but background is in it.
    """
    mended = mask.copy()
    for one in mendings:
        own = mended == one.class_index
        changed = _RULES[one.rule](own)
        mended[own & ~changed] = 0
        mended[changed & (mended == 0)] = one.class_index
    return mended


def learn_mending(pairs: Sequence[tuple[Mask, Mask]], classes: int) -> tuple[Mending, ...]:
    """The rules whose gain in Dice, mean over classes, has a 95 % interval above 0 over the held-out cases.

    pairs: predicted and true masks.
    """
    from genseg.evaluate import paired_bootstrap
    from genseg.evaluate.metrics import dice_scores

    def scores(mendings: Sequence[Mending]) -> list[float]:
        return [float(np.mean(dice_scores(truth, mend(mask, mendings), classes))) for mask, truth in pairs]

    kept: list[Mending] = []
    for class_index, rule in product(range(1, classes), get_args(Rule)):
        gain = paired_bootstrap(scores([*kept, Mending(class_index, rule, 0.0)]), scores(kept))
        if gain.difference is not None and gain.low is not None and gain.low > 0:
            kept.append(Mending(class_index, rule, gain.difference))
    return tuple(kept)


def _filled(own: Flags) -> Flags:
    from scipy.ndimage import binary_fill_holes

    filled: Flags = binary_fill_holes(own)
    return filled


def _largest(own: Flags) -> Flags:
    from scipy.ndimage import generate_binary_structure, label

    objects, count = label(own, generate_binary_structure(own.ndim, own.ndim))
    if count < 2:
        return own
    sizes = np.bincount(objects.ravel())
    sizes[0] = 0
    largest: Flags = objects == sizes.argmax()
    return largest


_RULES: dict[Rule, Callable[[Flags], Flags]] = {"fill-holes": _filled, "largest-object": _largest}
