"""Recombination: whole objects, with all their classes, in front of what was there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from genseg.masks.compose import drop_object, keep_object, paste
from genseg.masks.growth import level_sets, soft_mask
from genseg.read.case import IGNORE


@pytest.mark.parametrize("rank", [2, 3])
def test_keeping_and_dropping_share_the_mask_out(rank: int, scene) -> None:
    mask = scene(rank)
    kept = [keep_object(mask, number) for number in (0.0, 0.49, 0.51, 1.0)]
    assert [set(np.unique(one)) for one in kept] == [{0, 1}, {0, 1}, {0, 1, 2}, {0, 1, 2}]
    for number, one in zip((0.0, 0.49, 0.51, 1.0), kept, strict=True):
        np.testing.assert_array_equal(one + drop_object(mask, number), mask)


def test_a_mask_without_objects_stays_as_it_is() -> None:
    empty = np.zeros((6, 6), dtype=np.uint8)
    assert not keep_object(empty, 0.5).any()
    assert not drop_object(empty, 0.5).any()


def test_ignored_pixels_are_no_object() -> None:
    mask = np.zeros((6, 6), dtype=np.uint8)
    mask[0], mask[3, 2:4] = IGNORE, 1
    for number in (0.0, 1.0):
        np.testing.assert_array_equal(keep_object(mask, number), mask == 1)


@pytest.mark.parametrize("rank", [2, 3])
def test_pasted_objects_cover_the_host(rank: int, scene) -> None:
    host, pasted = np.flip(scene(rank)), keep_object(scene(rank), 1.0)
    step = (1.0,) * rank
    sets = paste(level_sets(host, 3, step).distances, level_sets(pasted, 3, step).distances)
    np.testing.assert_array_equal(sets.argmax(0).numpy(), np.where(pasted > 0, pasted, host))
    soft = soft_mask(sets)
    torch.testing.assert_close(soft.sum(0), torch.ones(host.shape))


def test_no_background_shows_between_pasted_and_host() -> None:
    host, pasted = np.zeros((2, 20, 20), dtype=np.uint8)
    host[4:16, 4:16], pasted[7:12, 7:12] = 1, 2
    sets = paste(level_sets(host, 3, (1.0, 1.0)).distances, level_sets(pasted, 3, (1.0, 1.0)).distances)
    assert float(soft_mask(sets)[0, 6:13, 6:13].max()) < 1e-3


def test_pasting_nothing_changes_nothing(scene) -> None:
    host = level_sets(scene(2), 3, (1.0, 1.0)).distances
    nothing = level_sets(np.zeros_like(scene(2)), 3, (1.0, 1.0)).distances
    torch.testing.assert_close(soft_mask(paste(host, nothing)), soft_mask(host))
