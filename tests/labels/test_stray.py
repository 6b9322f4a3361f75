"""Values that repair would erase, against the rule written out."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from genseg.labels.stray import distance, erased_values, is_lossless


def _written_out(counts: dict[Any, int], shapes: dict[Any, tuple[int, int]], kept: list[Any]) -> list[Any]:
    """The rule of `erased_values`, each value held against every other."""
    erased = []
    for value in (one for one in counts if one not in kept):
        around = sum(plain for other, (_, plain) in shapes.items() if distance(value, other) <= 8)
        far = all(distance(value, other) > 16 for other in kept)
        is_solid = shapes.get(value, (0, 0))[0] >= 4
        if (far and around >= 4) or (is_lossless(counts, [shapes]) and is_solid):
            erased.append(value)
    return erased


@pytest.mark.parametrize("draw", [lambda rand, most: rand.randrange(most), lambda rand, most: _colour(rand, most)])
def test_what_repair_would_erase_is_told_by_its_rule(draw: Callable[[random.Random, int], Any]) -> None:
    rand, found = random.Random(0), 0
    for most in (20, 80, 255) * 20:
        counts = {draw(rand, most): rand.randint(1, 50) for _ in range(rand.randint(1, 150))}
        shapes = {
            one: (rand.choice([0, 0, 1, 5]), rand.choice([0, 0, 1, 2, 6])) for one in counts if rand.random() < 0.7
        }
        kept = rand.sample(list(counts), min(len(counts), rand.randint(0, 4)))
        erased = erased_values(counts, shapes, kept)
        assert erased == _written_out(counts, shapes, kept)
        found += len(erased)
    assert found > 100


def _colour(rand: random.Random, most: int) -> tuple[int, int, int]:
    return rand.randrange(most), rand.randrange(most), rand.randrange(most)
