"""When to trust a model: what its held-out cases teach about its probabilities, its masks and unusual images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from genseg.base.progress import Progress, silent
from genseg.base.records import Share
from genseg.config import Plan
from genseg.errors import RunError
from genseg.prepare.preprocess import Geometry, Prepared, prepare
from genseg.read.case import IGNORE, Case
from genseg.segmenters.inference import Segmentation, responses, segment
from genseg.segmenters.network import Array, Checked, Network
from genseg.trust.calibration import Calibration, LabelledLogits, calibrate
from genseg.trust.ood import ACCEPTED, OODDetector, distances, fingerprint
from genseg.trust.postprocess import Judged, PostprocessingStep, learn_postprocessing, object_sizes, speck_size
from genseg.trust.suitability import fit_case

MOST_PIXELS = 20_000
"""Pixels of a held-out case that calibration looks at, evenly spread."""

LEAST_HELD_OUT = 3
"""Held-out cases below which no limit of what is usual can be told."""

TRIED = {2: 32, 3: 16}
"""Side of the image that a network is tried on when it is loaded, by spatial rank."""


@dataclass(frozen=True)
class Trust:
    """What was learned from held-out cases; a part is None, or empty, where they were too few.

    lowest_dice: expected Dice (see `Segmentation`) that 95 % of the held-out cases reach. often_empty: whether masks
    without any foreground occur in training.
    """

    calibration: Calibration | None
    ood: Annotated[OODDetector | None, Field(validation_alias="familiarity")]
    postprocessing: Annotated[tuple[PostprocessingStep, ...], Field(validation_alias="mendings")]
    lowest_dice: Share | None
    often_empty: bool

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def to_json(self) -> dict[str, Any]:
        """All as plain dictionaries, lists, numbers and text, by the names that files have had from the first."""
        names = {"ood": "familiarity", "postprocessing": "mendings"}
        content = {**asdict(self), "ood": None if self.ood is None else self.ood.to_json()}
        return {names.get(name, name): value for name, value in content.items()}

    @property
    def of_training_images(self) -> Trust:
        """Without what masks of held-out cases taught: for a model whose masks shall owe nothing to these."""
        return replace(self, calibration=None, postprocessing=(), lowest_dice=None)


UNTESTED = Trust(None, None, (), None, often_empty=False)
"""For a model of which nothing was learned from held-out cases."""


@dataclass(frozen=True)
class Fold:
    """A network, the cases that it was trained on, and those that were held out; all are labelled."""

    network: Network
    training: Sequence[Case]
    held_out: Sequence[Case]


def learn_trust(
    network: Network, training: Sequence[Case], folds: Sequence[Fold], plan: Plan, progress: Progress = silent
) -> Trust:
    """Learn how good probabilities and masks are from held-out cases, and what is usual from training cases too.

    training: labelled cases that the network was trained on. folds: who judges; of a network that has held out cases
    itself, it alone; of one that was trained on every label, the networks of the folds, each on what it held out.

    One case is prepared at a time; held-out ones are segmented twice. Raises RunError where a network's values are not
    finite for one of them.
    """
    try:
        return _learned(network, training, folds, plan, progress)
    except FloatingPointError as error:
        raise RunError(f"the trained {error}; train again, with another --seed or a lower --learning-rate") from error


def _learned(
    network: Network, training: Sequence[Case], folds: Sequence[Fold], plan: Plan, progress: Progress
) -> Trust:
    logits = [labelled_logits(one.network, _prepared(case, plan), plan) for one in folds for case in one.held_out]
    calibration = calibrate(logits) if logits else None
    known = _features(network, training, plan, progress)
    unseen = distances(known, [])
    judged: list[Judged] = []
    dice: list[float | None] = []
    for fold in folds:
        found = [_judge(fold.network, case, plan, calibration) for case in fold.held_out]
        judged += [one.judged for one in found]
        dice += [one.expected_dice for one in found]
        own = known if fold.network is network else _features(fold.network, fold.training, plan, progress)
        further = distances(own, [one.features for one in found])
        unseen = [np.concatenate(pair) for pair in zip(unseen, further, strict=True)]
    sizes = [
        [size for case in training for size in object_sizes(_truth(case), class_index, case.spacing)]
        for class_index in range(1, plan.classes)
    ]
    return Trust(
        calibration=calibration,
        ood=OODDetector.learn(known, unseen),
        postprocessing=learn_postprocessing(judged, plan.classes, [speck_size(own) for own in sizes]),
        lowest_dice=_lowest([one for one in dice if one is not None]),
        often_empty=any(not _truth(case).any() for case in training),
    )


class _Judgement(NamedTuple):
    """What one held-out case tells."""

    judged: Judged
    expected_dice: float | None
    features: tuple[Array, ...]


def _judge(network: Network, case: Case, plan: Plan, calibration: Calibration | None) -> _Judgement:
    prepared = _prepared(case, plan)
    found = segment(network, prepared, plan, 1.0 if calibration is None else calibration.temperature)
    judged = Judged(found.mask, _truth(case), case.spacing)
    return _Judgement(judged, expected_dice(found), ood_features(prepared, found))


def _features(network: Network, cases: Sequence[Case], plan: Plan, progress: Progress) -> list[tuple[Array, ...]]:
    """What the OOD score is computed from, of each case."""
    once = plan.model_copy(update={"mirroring": False})  # mirrored images tell no other features
    features = []
    for number, case in enumerate(cases, 1):
        prepared = _prepared(case, plan)
        features.append(ood_features(prepared, segment(network, prepared, once)))
        progress("Calibrating", number, len(cases))
    return features


def _prepared(case: Case, plan: Plan) -> Prepared:
    return prepare(fit_case(case, plan), plan)


def _truth(case: Case) -> NDArray[np.uint8]:
    return np.zeros(case.spatial, np.uint8) if case.mask is None else case.mask


def ood_features(prepared: Prepared, found: Segmentation) -> tuple[Array, ...]:
    """What the OOD score is computed from: intensities, and the features of each level."""
    return fingerprint(prepared), *found.features


def expected_dice(found: Segmentation) -> float | None:
    """Mean over the classes that were found; None where none was."""
    known = [dice for dice in found.expected_dice if dice is not None]
    return float(np.mean(known)) if known else None


def labelled_logits(network: Network, prepared: Prepared, plan: Plan) -> LabelledLogits:
    """Evenly spread pixels of a case, of those that have a truth."""
    logits = np.concatenate([said.logits[0] for said in responses(network, prepared, plan)], 1)
    truth = np.zeros(0, np.uint8) if prepared.mask is None else prepared.mask.ravel()
    places = np.flatnonzero(truth != IGNORE)
    chosen = places[:: max(1, len(places) // MOST_PIXELS)]
    return LabelledLogits(logits.reshape(len(logits), -1)[:, chosen], truth[chosen])


def _lowest(dice: Sequence[float]) -> float | None:
    """What 95 % reach, if they are normally distributed; see `LEAST_HELD_OUT`."""
    if len(dice) < LEAST_HELD_OUT:
        return None
    return max(0.0, float(np.mean(dice) - ACCEPTED * np.std(dice, ddof=1)))


def check_together(network: Network, plan: Plan, trust: Trust) -> None:
    """Try a network, its plan and what was learned about it on a small image.

    Raises ValueError where they do not go together, FloatingPointError where the network's values are not finite, and
    whatever a runtime raises for an image that it cannot take.
    """
    sides = plan.patch_size if network.is_fixed else tuple(TRIED[plan.rank] for _ in plan.patch_size)
    image = np.linspace(-1, 1, plan.channels * math.prod(sides), dtype=np.float32).reshape(plan.channels, *sides)
    said = Checked(network)(image[None])
    if said.logits.shape != (1, plan.classes, *sides):
        raise ValueError(f"logits of size {said.logits.shape} for {plan.classes} classes and an image of {sides}")
    rules = [one.class_index for one in trust.postprocessing if one.class_index >= plan.classes]
    if rules:
        raise ValueError(f"post-processing for the classes {rules}, but there are {plan.classes}")
    if trust.ood is not None:
        prepared = Prepared("", image, None, Geometry(None, sides, sides), np.zeros(0, np.int64))
        trust.ood.ood_score((fingerprint(prepared), *(level[0] for level in said.features)))
