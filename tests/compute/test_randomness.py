"""Draws depend on seed, purpose and position, and on nothing else."""

from __future__ import annotations

import torch

from genseg.compute.randomness import generator_for, seed_for


def test_seeds_differ_by_seed_purpose_and_position() -> None:
    wheres = [
        (seed, purpose, position) for seed in (0, 1, 11) for purpose in ("batch", "order") for position in (0, 1, 11)
    ]
    seeds = [seed_for(*where) for where in wheres]
    assert len(set(seeds)) == len(wheres)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_seeds_stay_what_they_were_so_that_old_runs_can_be_repeated() -> None:
    assert seed_for(0, "batch", 0) == 5_278_119_267_937_101_927


def test_draws_leave_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    drawn = torch.rand(3, generator=generator_for(0, "batch", 1))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(drawn, torch.rand(3, generator=generator_for(0, "batch", 1)))
