"""What a model says of one image, and what a person should know about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from genseg.config import Plan
from genseg.errors import DataError, Fault, FaultCode
from genseg.prepare.preprocess import Geometry, prepare
from genseg.read.case import Case
from genseg.segmenters.inference import assemble, segment
from genseg.segmenters.network import Array, Network, Response
from genseg.trust.postprocess import postprocess
from genseg.trust.suitability import fit_case, flat_channels, is_in_colour
from genseg.trust.trust import Trust, expected_dice, ood_features

IN_PIECES = "memory ran out: segmented in smaller tiles, with less context around each pixel"

IN_GREY = "colour image: converted to grey, like the training images"


@dataclass(frozen=True)
class Prediction:
    """A mask, and how far it can be trusted.

    mask: `(*spatial)` uint8 class indices. confidence: `(*spatial)` uint8, the probability of each pixel's class in
    percent. expected_dice: the Dice expected from these probabilities, mean over the classes found; None if none was
    found. ood_score: how far the image differs from the training images, in standard deviations; None if there were too
    few of them. notes: reasons to review the mask, in words; empty if there is none. features: `(feature,)` of each
    level of the encoder, finest first: images that the network sees as alike have similar ones.
    """

    mask: NDArray[np.uint8]
    confidence: NDArray[np.uint8]
    expected_dice: float | None
    ood_score: float | None
    notes: tuple[str, ...]
    features: tuple[Array, ...] = ()


def predict_case(case: Case, network: Network, plan: Plan, trust: Trust, tile_batch: int = 1) -> Prediction:
    """Segment a case in its own size and voxel order.

    Raises DataError for one that the model cannot take, whose values overflow in it, or that memory is too small for.
    """
    prepared = prepare(fit_case(case, plan), plan)
    try:
        found = segment(network, prepared, plan, trust.temperature, tile_batch)
    except MemoryError as error:
        size = f"{' x '.join(map(str, case.spatial))} pixels: out of memory, even in small tiles"
        fault = Fault(FaultCode.TOO_LARGE, case.name, size, "fewer", "Free some memory, or use --device cpu.")
        raise DataError([fault]) from error
    except FloatingPointError as error:
        raise DataError([_overflow(case)]) from error
    ood_score = None if trust.ood is None else trust.ood.ood_score(ood_features(prepared, found))
    dice = expected_dice(found)
    mask = postprocess(found.mask, trust.postprocessing, case.spacing)
    notes = _notes(mask, dice, ood_score, trust) + ((IN_PIECES,) if found.is_in_pieces else ())
    inside = (slice(None), *map(slice, prepared.geometry.worked))
    notes += tuple(flat_channels(prepared.image[inside], plan))
    if plan.channels == 1 and is_in_colour(case.image):
        notes += (IN_GREY,)
    return Prediction(mask, found.confidence, dice, ood_score, notes, found.features)


def mask_of_logits(
    logits: Array, geometry: Geometry, spacing: Sequence[float], plan: Plan, trust: Trust
) -> NDArray[np.uint8]:
    """The mask that `predict_case` makes of a network's logits `(1, class, *spatial)` for a whole prepared image."""
    mask = assemble([Response(logits, ())], geometry, plan.classes, trust.temperature).mask
    return postprocess(mask, trust.postprocessing, spacing)


def _overflow(case: Case) -> Fault:
    """The network gave finite values when the model was loaded: it is the image's values that it cannot take."""
    found = (
        f"values from {case.image.min():.3g} to {case.image.max():.3g}, for which the network's output is not finite"
    )
    cure = "Check the original for damage or missing-value markers; replace those with the background value."
    return Fault(FaultCode.OVERFLOW, case.name, found, "values like those of the training images", cure)


def _notes(mask: NDArray[np.uint8], dice: float | None, ood_score: float | None, trust: Trust) -> tuple[str, ...]:
    notes = []
    if trust.ood is not None and ood_score is not None and ood_score > trust.ood.highest:
        usual = trust.ood.highest
        notes.append(f"differs from the training images (OOD score {ood_score:.1f}, expected up to {usual:.1f})")
    if not mask.any() and not trust.often_empty:
        notes.append("empty mask, although every training image had foreground")
    if trust.lowest_dice is not None and dice is not None and dice < trust.lowest_dice:
        notes.append(f"uncertain mask (predicted Dice {dice:.2f}, expected at least {trust.lowest_dice:.2f})")
    return tuple(notes)
