"""Ranges: what they start at, what they stay below, what they refuse."""

from __future__ import annotations

import pytest
import torch

from genseg.errors import SettingsError
from genseg.masks.ranges import REACHES, UPRIGHT, MaskRanges


@pytest.mark.parametrize("rank", [2, 3])
def test_first_values_are_the_stated_ones(rank: int) -> None:
    values = MaskRanges(rank).values()
    assert {name: pytest.approx(reach.initial, rel=1e-5) for name, reach in REACHES[rank].items()} == {
        name: value.item() for name, value in values.items()
    }


def test_a_caller_can_choose_some_of_them() -> None:
    values = MaskRanges(2, UPRIGHT).values()
    assert values["rotation"].item() == pytest.approx(UPRIGHT["rotation"])
    assert values["scale"].item() == pytest.approx(REACHES[2]["scale"].initial)


@pytest.mark.parametrize("size", [-8.0, 8.0])
def test_any_parameter_gives_a_possible_value(size: float) -> None:
    ranges = MaskRanges(2)
    with torch.no_grad():
        for parameter in ranges.parameters():
            parameter.fill_(size)
    for name, value in ranges.values().items():
        assert 0 < value.item() < REACHES[2][name].limit


def test_every_range_is_a_parameter_that_its_value_depends_on() -> None:
    ranges = MaskRanges(3)
    sum(ranges.values().values(), torch.tensor(0.0)).backward()
    gradients = {name: parameter.grad for name, parameter in ranges.named_parameters()}
    assert set(gradients) == set(REACHES[3])
    assert all(gradient is not None and gradient > 0 for gradient in gradients.values())


def test_impossible_first_values_are_all_named() -> None:
    with pytest.raises(SettingsError, match=r"rotation = 9 .*scale = 0 .*growth = -1 "):
        MaskRanges(2, {"rotation": 9.0, "scale": 0.0, "growth": -1.0, "shear": 0.2})


def test_unknown_ranges_are_all_named() -> None:
    with pytest.raises(SettingsError, match=r"mask range 'size'.*mask range 'twist'.*choose from rotation, scale"):
        MaskRanges(2, {"twist": 0.1, "size": 0.1, "shear": 0.1})
