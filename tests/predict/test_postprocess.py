"""Masks are mended by rules that helped on held-out cases, and by no others."""

from __future__ import annotations

import numpy as np
import pytest

from genseg.predict.postprocess import Mending, learn_mending, mend


def _square(size: int = 20) -> np.ndarray:
    mask = np.zeros((size, size), np.uint8)
    mask[4:12, 4:12] = 1
    return mask


def test_a_hole_is_filled_but_not_where_another_class_is() -> None:
    mask = _square()
    mask[6, 6], mask[9, 9] = 0, 2
    mended = mend(mask, [Mending(1, "fill-holes", 0.1)])
    assert mended[6, 6] == 1
    assert mended[9, 9] == 2
    assert mask[6, 6] == 0


@pytest.mark.parametrize("rank", [2, 3])
def test_the_largest_object_stays_with_what_touches_it_at_a_corner(rank: int) -> None:
    mask = np.zeros((20,) * rank, np.uint8)
    mask[(slice(4, 12),) * rank] = 1
    mask[(12,) * rank] = 1
    mask[(17,) * rank] = 1
    mended = mend(mask, [Mending(1, "largest-object", 0.1)])
    assert mended[(12,) * rank] == 1
    assert mended[(17,) * rank] == 0


def test_an_absent_class_stays_absent() -> None:
    mask = _square()
    assert np.array_equal(mend(mask, [Mending(2, "largest-object", 0), Mending(2, "fill-holes", 0)]), mask)


def test_a_rule_that_helps_on_every_held_out_case_is_learned() -> None:
    pairs = []
    for number in range(6):
        found = _square()
        found[6 + number % 3, 6:9] = 0
        pairs.append((found, _square()))
    (one,) = learn_mending(pairs, 2)
    assert (one.class_index, one.rule) == (1, "fill-holes")
    assert 0 < one.gain < 0.05


def test_a_rule_that_harms_or_helps_by_chance_is_not() -> None:
    speck = _square()
    speck[17, 17] = 1
    two = _square()
    two[15:18, 15:18] = 1
    assert learn_mending([(speck, _square())] + [(two, two)] * 5, 2) == ()
    assert learn_mending([(speck, _square())] * 2 + [(_square(), _square())] * 6, 2) == ()
    assert learn_mending([], 2) == ()
