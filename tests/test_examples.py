"""The examples run as they stand, and print what they promise."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

STEERED = ("share_logit", "ranges.rotation", "ranges.scale", "styles.log_temperature")


def test_one_joint_step_prints_the_held_out_loss_and_its_gradients(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(repository / "examples" / "joint_step.py"))
    first, *lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"held-out loss: [12]\.\d{4}; its gradient with respect to", first)
    found = dict(line.strip().split(": ") for line in lines)
    assert tuple(found) == STEERED
    assert all(float(gradient) != 0 for gradient in found.values())
