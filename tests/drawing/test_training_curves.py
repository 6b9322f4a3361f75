from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from genseg.drawing.training_curves import draw_curves


def steps(first: int, last: int, loss: float = 2.0) -> list[dict[str, Any]]:
    return [{"event": "step", "step": k, "loss": loss / (k + 1), "learning_rate": 1e-3} for k in range(first, last, 10)]


def validations(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"event": "validation", "step": k, "dice": k / 200, "dice_by_class": {"lung": k / 150, "heart": k / 300}}
        for k in range(first, last, 20)
    ]


def drawn(events: list[dict[str, Any]], folder: Path) -> np.ndarray:
    draw_curves(events, folder / "curves.png")
    assert [path.name for path in folder.iterdir()] == ["curves.png"]
    with Image.open(folder / "curves.png") as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB")).astype(int)


def test_both_panels_show_their_events(tmp_path: Path) -> None:
    full, empty = drawn(steps(0, 100) + validations(0, 100), tmp_path), drawn([], tmp_path)
    assert full.shape == empty.shape
    half = full.shape[1] // 2
    only_loss, only_dice = drawn(steps(0, 100), tmp_path), drawn(validations(0, 100), tmp_path)
    assert (only_loss[:, half:] == empty[:, half:]).mean() > 0.95
    assert (only_loss[:, :half] != empty[:, :half]).any()
    assert (only_dice[:, half:] != empty[:, half:]).any()


def feedbacks(first: int, last: int, share: float) -> list[dict[str, Any]]:
    """The share goes from a half to `share`, all else stays."""
    places = range(first, last, 8)
    shares = np.linspace(0.5, share, len(places))
    others = {"held_out_loss": 1.0, "temperature": 1.0, "range_scale": 0.2, "range_growth": 0.1}
    return [{"event": "feedback", "step": k, "share": one, **others} for k, one in zip(places, shares, strict=True)]


def test_a_third_panel_shows_what_feedback_has_steered(tmp_path: Path) -> None:
    events = steps(0, 100) + validations(0, 100)
    two, three = drawn(events, tmp_path), drawn(events + feedbacks(0, 100, 0.2), tmp_path)
    assert three.shape[1] == pytest.approx(1.5 * two.shape[1], abs=2)
    third = 2 * three.shape[1] // 3
    reversed_share = drawn(events + feedbacks(0, 100, 0.2)[:1] + feedbacks(0, 100, 0.8)[1:], tmp_path)
    assert reversed_share.shape == three.shape
    assert (reversed_share[:, third:] != three[:, third:]).any()


def test_a_resumed_run_is_drawn_like_an_unbroken_one(tmp_path: Path) -> None:
    unbroken = steps(0, 100) + validations(0, 100)
    resumed = [{"event": "start"}, *steps(0, 70, loss=9.0), *validations(0, 60), {"event": "resume"}, *unbroken]
    np.testing.assert_array_equal(drawn(unbroken, tmp_path), drawn(resumed, tmp_path))


@pytest.mark.parametrize("loss", [float("inf"), 0.0, -1.0])
def test_a_loss_that_no_log_axis_can_show_leaves_a_gap(loss: float, tmp_path: Path) -> None:
    whole, gap, events = steps(0, 200), steps(0, 200), steps(0, 200)
    gap[7]["loss"], events[7]["loss"] = float("nan"), loss
    np.testing.assert_array_equal(drawn(events, tmp_path), drawn(gap, tmp_path))
    assert (drawn(gap, tmp_path) != drawn(whole, tmp_path)).any()


def test_the_order_of_the_log_does_not_matter(tmp_path: Path) -> None:
    events = steps(0, 100) + validations(0, 100)
    np.testing.assert_array_equal(drawn(events, tmp_path), drawn(events[3:] + events[:3], tmp_path))


def test_one_class_is_drawn_once(tmp_path: Path) -> None:
    events = validations(0, 100)
    for event in events:
        event["dice_by_class"] = {"lung": event["dice"]}
    without = [event | {"dice_by_class": {}} for event in events]
    np.testing.assert_array_equal(drawn(events, tmp_path), drawn(without, tmp_path))


def test_smoothing_follows_a_noisy_loss(tmp_path: Path) -> None:
    """Where the loss jumps up and down around a constant, the dark smoothed line stays in the middle."""
    events = [{"event": "step", "step": k, "loss": 1.0 + 0.9 * (-1) ** k, "learning_rate": 1e-3} for k in range(400)]
    pixels = drawn(events, tmp_path)[:, : 1210 // 2]
    dark = (pixels[..., 0] < 60) & (pixels[..., 2] > 150)
    rows = np.flatnonzero(dark.sum(axis=1) > 200)
    assert rows.size > 0
    assert rows.max() - rows.min() < pixels.shape[0] / 10


def test_no_global_figure_is_left() -> None:
    code = (
        "import sys, tempfile, pathlib; from genseg.drawing.training_curves import draw_curves;"
        "assert 'matplotlib' not in sys.modules;"
        "draw_curves([], pathlib.Path(tempfile.mkdtemp(), 'c.png')); print('matplotlib.pyplot' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "False"
