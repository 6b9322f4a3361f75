"""Masks are post-processed by rules that helped on held-out cases, and by no others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from genseg.trust.postprocess import (
    LEAST_HELD_OUT,
    Judged,
    PostprocessingStep,
    learn_postprocessing,
    object_sizes,
    postprocess,
    speck_size,
)

SPACING = (1.0, 1.0)


def _square(size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[4:12, 4:12] = 1
    return mask


def test_a_hole_is_filled_but_not_where_another_class_is() -> None:
    mask = _square()
    mask[6, 6], mask[9, 9] = 0, 2
    result = postprocess(mask, [PostprocessingStep(1, "fill-holes", 0.1)], SPACING)
    assert result[6, 6] == 1
    assert result[9, 9] == 2
    assert mask[6, 6] == 0


@pytest.mark.parametrize("rank", [2, 3])
def test_the_largest_object_stays_with_what_touches_it_at_a_corner(rank: int) -> None:
    mask = np.zeros((20,) * rank, np.uint8)
    mask[(slice(4, 12),) * rank] = 1
    mask[(12,) * rank] = 1
    mask[(17,) * rank] = 1
    result = postprocess(mask, [PostprocessingStep(1, "largest-object", 0.1)], (1.0,) * rank)
    assert result[(12,) * rank] == 1
    assert result[(17,) * rank] == 0


def test_an_absent_class_stays_absent() -> None:
    mask = _square()
    assert np.array_equal(
        postprocess(
            mask, [PostprocessingStep(2, "largest-object", 0), PostprocessingStep(2, "fill-holes", 0)], SPACING
        ),
        mask,
    )


def test_a_rule_that_helps_on_every_held_out_case_is_learned() -> None:
    pairs = []
    for number in range(LEAST_HELD_OUT):
        found = _square()
        found[6 + number % 3, 6:9] = 0
        pairs.append(Judged(found, _square(), SPACING))
    (one,) = learn_postprocessing(pairs, 2, [0.0])
    assert (one.class_index, one.rule) == (1, "fill-holes")
    assert 0 < one.gain < 0.05
    assert learn_postprocessing(pairs[1:], 2, [0.0]) == ()


def test_a_rule_that_harms_or_helps_by_chance_is_not() -> None:
    speck = _square()
    speck[17, 17] = 1
    two = _square()
    two[15:18, 15:18] = 1
    good, spoiled = Judged(speck, _square(), SPACING), Judged(two, two, SPACING)
    assert learn_postprocessing([good] + [spoiled] * 5, 2, [0.0]) == ()
    assert learn_postprocessing([good] * 2 + [Judged(_square(), _square(), SPACING)] * 6, 2, [0.0]) == ()
    assert learn_postprocessing([], 2, [0.0]) == ()


def test_specks_are_what_is_smaller_than_experts_objects() -> None:
    mask = _square()
    mask[15:17, 15:17] = 1
    mask[18, 18] = 1
    sizes = object_sizes(mask, 1, SPACING)
    assert sorted(sizes) == [1 / 400, 4 / 400, 64 / 400]
    least = speck_size([4 / 400] * 30)
    result = postprocess(mask, [PostprocessingStep(1, "no-specks", 0.1, least)], SPACING)
    assert result[18, 18] == 0
    assert result[15:17, 15:17].all()
    assert result[4:12, 4:12].all()
    (one,) = learn_postprocessing([Judged(mask, result, SPACING)] * LEAST_HELD_OUT, 2, [least])
    assert (one.rule, one.least) == ("no-specks", least)
    assert speck_size([]) == 0


def test_specks_of_volumes_are_measured_in_the_body() -> None:
    mask = np.zeros((6, 6, 6), np.uint8)
    mask[1:3, 1:3, 1:3] = 1
    assert object_sizes(mask, 1, (1.0, 2.0, 0.5)) == [8.0]
    specks = [PostprocessingStep(1, "no-specks", 0.1, 8.5)]
    assert not postprocess(mask, specks, (1.0, 2.0, 0.5)).any()
    assert postprocess(mask, specks, (1.0, 2.0, 0.6)).any()


@pytest.mark.parametrize("shape", [(24, 31), (9, 12, 10), (1, 7)])
def test_holes_are_those_that_scipy_fills(shape: tuple[int, ...]) -> None:
    for number, share in enumerate((0.3, 0.6, 0.9, 1.0)):
        mask = (np.random.default_rng(number).random(shape) < share).astype(np.uint8)
        result = postprocess(mask, [PostprocessingStep(1, "fill-holes", 0.1)], (1.0,) * len(shape))
        assert np.array_equal(result == 1, ndimage.binary_fill_holes(mask))
