"""Plausibility: real masks pass, what no real mask has does not, and the reason is said."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from genseg.errors import DataError, FaultCode
from genseg.masks.plausible import Plausibility
from genseg.read.case import IGNORE

Mask = NDArray[np.uint8]


def _real(scene, rank: int) -> list[Mask]:
    return [scene(rank, shift) for shift in (-2, -1, 0, 1, 2)]


def _dust(mask: Mask) -> Mask:
    mask[tuple([slice(None, None, 4)] * mask.ndim)] = 1
    return mask


def _elsewhere(mask: Mask) -> Mask:
    return np.roll(mask, mask.shape[1] // 4, axis=1)


def _vanished(mask: Mask) -> Mask:
    mask[mask == 2] = 1
    return mask


def _apart(mask: Mask) -> Mask:
    """Class 2, which lies against class 1 in all real masks, alone."""
    moved = np.where(mask == 2, mask, 0)
    mask[mask == 2] = 0
    mask = np.where(np.roll(moved, -5, axis=1) > 0, 0, mask)
    return mask + np.roll(moved, 1, axis=1)


def _filled(mask: Mask) -> Mask:
    return np.full_like(mask, 1)


def _frayed(mask: Mask) -> Mask:
    edge = (mask == 1) & (np.indices(mask.shape).sum(0) % 2 == 0)
    edge[tuple([slice(len(mask) // 2, None)] * mask.ndim)] = False
    mask[edge] = 0
    return mask


def _cut(mask: Mask) -> Mask:
    return np.roll(np.where(np.indices(mask.shape)[0] > len(mask) // 2, 0, mask), len(mask) // 2, axis=0)


def _faint(mask: Mask) -> Mask:
    mask[mask == 1] = 0
    mask[(len(mask) // 2,) * mask.ndim] = 1
    return mask


@pytest.mark.parametrize("rank", [2, 3])
def test_real_masks_are_plausible(rank: int, scene) -> None:
    masks = _real(scene, rank)
    plausibility = Plausibility.learn(masks, 3)
    assert [plausibility.objections(mask) for mask in masks] == [[]] * len(masks)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_dust, "class 1, pieces"),
        (_dust, "class 1, area of a piece"),
        (_elsewhere, "class 2, centre of a piece along axis 1"),
        (_vanished, "class 2, area"),
        (_apart, "class 2, border with class 1"),
        (_filled, "class 1, area"),
        (_frayed, "class 1, raggedness"),
        (_cut, "class 1, border with the image's edge"),
        (_faint, "class 1, area"),
    ],
)
def test_nonsense_is_not(spoil: Callable[[Mask], Mask], reason: str, rank: int, scene) -> None:
    plausibility = Plausibility.learn(_real(scene, rank), 3)
    objections = plausibility.objections(spoil(scene(rank)).astype(np.uint8))
    assert [text for text in objections if text.startswith(f"{reason}: ")], objections


def test_one_piece_too_many(scene) -> None:
    mask = scene(2)
    plausibility = Plausibility.learn([mask], 3)
    speck = mask[1:6, 1:6]
    assert speck.any()
    mask[-6:-1, 1:6] = speck
    assert any(text.startswith("class 1, pieces: 3; ") for text in plausibility.objections(mask))


def test_centres_are_in_the_middle_of_pixels() -> None:
    mask = np.zeros((10, 20), dtype=np.uint8)
    mask[:, 4:8] = 1
    bounds = Plausibility.learn([mask], 2).bounds[0]
    assert sum(bounds["centre of a piece along axis 0"]) / 2 == pytest.approx(0.5)
    assert sum(bounds["centre of a piece along axis 1"]) / 2 == pytest.approx(0.3)


def test_a_neighbour_that_no_real_mask_has() -> None:
    apart, against = np.zeros((2, 20, 20), dtype=np.uint8)
    apart[3:9, 3:9], apart[12:18, 3:9] = 1, 2
    against[3:9, 3:9], against[9:15, 3:9] = 1, 2
    plausibility = Plausibility.learn([apart], 3)
    assert plausibility.objections(apart) == []
    assert any("border with class 2" in text for text in plausibility.objections(against))
    assert Plausibility.learn([apart, against], 3).objections(against) == []


def test_a_class_that_no_real_mask_has(scene) -> None:
    plausibility = Plausibility.learn([np.minimum(scene(2), 1)], 3)
    assert any("class 2, pieces: no real mask has any" in text for text in plausibility.objections(scene(2)))
    assert plausibility.objections(np.minimum(scene(2), 1)) == []


def test_an_empty_mask_is_as_plausible_as_the_real_ones(scene) -> None:
    empty = np.zeros_like(scene(2))
    assert Plausibility.learn([scene(2)], 3).objections(empty)
    assert Plausibility.learn([scene(2), empty], 3).objections(empty) == []


def test_one_objection_for_each_measure(scene) -> None:
    objections = Plausibility.learn(_real(scene, 2), 3).objections(_dust(scene(2)))
    names = [text.split(":")[0] for text in objections]
    assert len(set(names)) == len(names)


def test_ignored_pixels_are_background(scene) -> None:
    mask = scene(2)
    ignored = np.where(mask == 0, np.uint8(IGNORE), mask)
    assert Plausibility.learn([ignored], 3) == Plausibility.learn([mask], 3)
    assert Plausibility.learn([mask], 3).objections(ignored) == []


def test_survives_json(scene) -> None:
    plausibility = Plausibility.learn(_real(scene, 2), 3)
    assert Plausibility.from_json(json.loads(json.dumps(plausibility.to_json()))) == plausibility


def test_nothing_to_learn_from() -> None:
    with pytest.raises(DataError) as refusal:
        Plausibility.learn([], 2)
    assert [fault.code for fault in refusal.value.faults] == [FaultCode.TOO_FEW_CASES]


def test_every_mask_with_an_unknown_class_is_named(scene) -> None:
    with pytest.raises(DataError) as refusal:
        Plausibility.learn([scene(2), np.minimum(scene(2), 1), scene(2)], 2)
    assert [(fault.code, fault.file) for fault in refusal.value.faults] == [
        (FaultCode.UNEXPECTED_LABEL, "mask 0"),
        (FaultCode.UNEXPECTED_LABEL, "mask 2"),
    ]
