"""nnU-Net's recipe trains on what genseg trains on, and is scored as genseg is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks.accuracy.recipe import FEATURES, build, deep_loss, fit_recipe
from genseg.config import Plan, Settings
from genseg.segmenters.loss import segmentation_loss


@pytest.mark.parametrize(
    ("patch", "levels"),
    [((128, 128), 6), ((64, 128), 6), ((112, 144), 5), ((16, 16), 3), ((40, 56, 40), 4), ((16, 16, 16), 3)],
)
def test_it_is_as_deep_as_sides_of_four_allow(
    plan_of: Callable[..., Plan], patch: tuple[int, ...], levels: int
) -> None:
    plan = plan_of(len(patch), patch_size=patch)
    network = build(plan)
    assert list(network.filters) == list(FEATURES[plan.rank][:levels])
    with torch.no_grad():
        made = network.train()(torch.randn(2, 1, *patch))
    assert made.shape == (2, 1 + max(1, levels - 3), 2, *patch)


def test_each_level_counts_half_of_the_finer_one() -> None:
    torch.manual_seed(0)
    levels, mask = torch.randn(2, 3, 2, 8, 8), torch.randint(0, 2, (2, 8, 8))
    one, other, last = (segmentation_loss(level, mask) for level in levels.unbind(1))
    assert deep_loss(levels, mask).item() == pytest.approx((4 * one + 2 * other + last).item() / 7)


def test_it_leaves_what_a_record_is_made_of(
    rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FEATURES, 2, (4, 8, 8))
    settings = Settings(size=32, updates=3, batch_size=2, device="cpu", precision="float32")
    model = fit_recipe(rgb_phantoms, tmp_path / "run", settings)
    assert json.loads((model.run / "validation" / "scores.json").read_text())["count"] == 2
    assert json.loads((model.run / "split.json").read_text())["train"]
    assert model.evaluate(rgb_phantoms).to_json()["count"] == 3
    again = fit_recipe(rgb_phantoms, tmp_path / "again", settings)
    scores = [json.loads((one.run / "validation" / "scores.json").read_text()) for one in (model, again)]
    assert scores[0]["dice_by_case"] == scores[1]["dice_by_case"]
