"""An exported model against the one that it was made from, on the run's own cases."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from genseg.errors import RunError
from genseg.evaluate.metrics import dice_scores
from genseg.models.model import Model
from genseg.predict.prediction import mask_of_logits
from genseg.prepare.preprocess import Prepared, prepare
from genseg.read.case import Case
from genseg.segmenters.inference import responses
from genseg.segmenters.network import Array, Network, Response
from genseg.trust.suitability import fit_case

LEAST_AGREEMENT = 0.9999
"""Share of pixels that must get the same class where arithmetic is as exact as before."""

MOST_LOSS = 0.01
"""Dice that held-out cases may lose where arithmetic is coarser."""


@dataclass(frozen=True)
class Parity:
    """How near an exported model comes to the original.

    agreement: share of pixels with the same class. logit_difference: the largest. dice_before, dice_after: mean over
    cases and classes, against the experts' masks.
    """

    cases: int
    agreement: float
    logit_difference: float
    dice_before: float
    dice_after: float

    def to_json(self) -> dict[str, Any]:
        """The figures by name."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{100 * self.agreement:.4f} % of the pixels of {self.cases} cases get the same class; logits differ by up "
            f"to {self.logit_difference:.2g}; Dice {self.dice_before:.4f} before, {self.dice_after:.4f} after"
        )


@dataclass(frozen=True)
class Fixed:
    """A network that is given patches alone, as the exported one is."""

    network: Network
    is_fixed: bool = True

    def __call__(self, image: Array) -> Response:
        """As `Network`."""
        return self.network(image)


def measure_parity(original: Model, exported: Model, cases: Iterable[Case]) -> Parity:
    """Compare two models on labelled cases; both by tiles where the exported one takes nothing else."""
    if exported.network.is_fixed:
        original = replace(original, network=Fixed(original.network))
    equal = pixels = count = 0
    difference = 0.0
    dice: list[tuple[float, float]] = []
    for case in cases:
        prepared = prepare(fit_case(case, original.plan), original.plan)
        logits = [_logits(model, prepared) for model in (original, exported)]
        difference = max(difference, float(np.abs(logits[0] - logits[1]).max()))
        before, after = (
            mask_of_logits(own, prepared.geometry, case.spacing, model.plan, model.trust)
            for own, model in zip(logits, (original, exported), strict=True)
        )
        equal += int((before == after).sum())
        pixels += before.size
        if case.mask is not None:
            scores = [float(np.mean(dice_scores(case.mask, mask, original.plan.classes))) for mask in (before, after)]
            dice.append((scores[0], scores[1]))
        count += 1
    means = np.mean(dice, axis=0)
    return Parity(count, equal / pixels, difference, float(means[0]), float(means[1]))


def _logits(model: Model, prepared: Prepared) -> Array:
    """`(1, class, *spatial)` of a case. Raises RunError where they are not finite."""
    try:
        return np.concatenate([one.logits for one in responses(model.network, prepared, model.plan)], 2)
    except FloatingPointError as error:
        raise RunError(f"nothing was written: {prepared.name}: {error}; choose a finer --precision") from error


def require_parity(parity: Parity, *, exact: bool) -> None:
    """Raise RunError where an exported model is not as good as the original. exact: whether it computes as exactly."""
    if exact and parity.agreement < LEAST_AGREEMENT:
        raise RunError(f"nothing was written: the exported model gives different masks: {parity}")
    if parity.dice_after < parity.dice_before - MOST_LOSS:
        cure = "choose a finer --precision"
        raise RunError(f"nothing was written: the exported model is worse than the original: {parity}; {cure}")
