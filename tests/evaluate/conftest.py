"""Scores made up for the tests of what is done with scores."""

from __future__ import annotations

import pytest

from genseg.evaluate.metrics import CaseScores, SurfaceTolerance
from genseg.evaluate.summary import EvaluationSummary, summarise


@pytest.fixture
def cases() -> list[CaseScores]:
    """Four cases of two classes: class 2 is missed in "b", invented in "c", and nothing is in "d"."""
    mm = SurfaceTolerance(1.0, "mm")
    return [
        CaseScores("a", (0.8, 0.6), (0.7, 0.5), (2.0, 4.0), (0.9, 0.8), (10, 20), (11, 21), mm),
        CaseScores("b", (0.9, 0.0), (0.8, 0.0), (1.0, None), (0.9, 0.0), (10, 20), (11, 0), mm),
        CaseScores("c", (0.7, 0.0), (0.6, 0.0), (3.0, None), (0.9, 0.0), (10, 0), (11, 5), mm),
        CaseScores("d", (1.0, 1.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), (0, 0), (0, 0), mm),
    ]


@pytest.fixture
def summary(cases: list[CaseScores]) -> EvaluationSummary:
    """The four cases drawn together."""
    return summarise(cases, ("background", "liver", "tumour"), {"model": "unet", "seed": 0}, ("Look twice.",))
