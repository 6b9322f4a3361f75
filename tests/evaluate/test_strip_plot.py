from __future__ import annotations

import pytest

from genseg.evaluate.metrics import CaseScores, SurfaceTolerance
from genseg.evaluate.strip_plot import LEFT, RIGHT, STRIP_HEIGHT, strip_plot
from genseg.evaluate.summary import EvaluationSummary, summarise


def test_a_strip_per_class_and_one_for_all(summary: EvaluationSummary) -> None:
    plot = strip_plot(summary)
    assert [strip.name for strip in plot.strips] == ["liver", "tumour", "all classes"]
    assert [len(strip.dots) for strip in plot.strips] == [4, 4, 4]
    assert plot.strips[0].dots[0].x == pytest.approx(LEFT + 0.8 * (RIGHT - LEFT))
    assert plot.strips[2].dots[1].label == "b: 0.450"
    low, mean, high = plot.strips[0].low, plot.strips[0].mean, plot.strips[0].high
    assert LEFT < low < mean < high < RIGHT  # type: ignore[operator]


def test_equal_dots_do_not_hide_each_other_nor_leave_their_strip() -> None:
    pixels = SurfaceTolerance(2.0, "px")
    cases = [CaseScores(f"{k}", (1.0,), (1.0,), (0.0,), (1.0,), (5,), (5,), pixels) for k in range(60)]
    plot = strip_plot(summarise(cases, ("background", "lesion"), {}))
    (strip,) = plot.strips
    heights = {dot.y for dot in strip.dots}
    assert len(heights) == 60
    assert max(abs(y - strip.y) for y in heights) < STRIP_HEIGHT / 2
