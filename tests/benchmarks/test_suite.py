"""Suites: which runs they have, and by what names runs are told apart."""

from __future__ import annotations

import pytest

from benchmarks.accuracy.suite import Run, Suite, suite_names


@pytest.mark.parametrize("name", suite_names())
def test_the_suites_can_be_read_and_their_runs_told_apart(name: str) -> None:
    suite = Suite.read(name)
    names = [run.name for run in suite.runs()]
    assert len(names) == len(set(names)) > 0
    assert {way for pair in suite.compared for way in pair} <= set(suite.ways)
    assert len(suite.seeds) >= 3


def test_what_is_not_usual_is_in_the_name() -> None:
    usual = Run("polyps", "joint", "unet-small", 10, 2)
    assert usual.name == "polyps-joint-unet-small-10-labels-seed2"
    other = Run("polyps", "joint", "unet-small", 10, 2, draw=1, size=96, updates=400)
    assert other.name == "polyps-joint-unet-small-10-labels-96px-400-updates-draw1-seed2"


def test_suites_share_runs_of_one_effort_alone() -> None:
    runs = {name: {run.name for run in Suite.read(name).runs()} for name in suite_names()}
    assert runs["joint"] & runs["foundation"]
    assert not runs["joint"] & runs["labels"]
