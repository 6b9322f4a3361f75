"""The steered parameters: where they begin, and within what they stay wherever feedback pushes them."""

from __future__ import annotations

import pytest
import torch
from joint_problem import make_problem

from genseg.config import LARGEST_SHARE
from genseg.joint.generation import SteeredParameters, begin_steered

CASES = 5


def _steered(share: float = 0.5) -> SteeredParameters:
    return begin_steered(make_problem().plan, CASES, share=share)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_the_share_begins_where_it_is_told_to(share: float) -> None:
    assert _steered(share).share().item() == pytest.approx(share)


def test_the_share_stays_between_none_and_its_limit() -> None:
    steered = _steered()
    with torch.no_grad():
        steered.share_logit.fill_(20)
        assert steered.share().item() == pytest.approx(LARGEST_SHARE)
        steered.share_logit.fill_(-20)
        assert 0 < steered.share().item() < 1e-6


def test_what_one_pair_gains_in_weight_the_others_lose() -> None:
    steered, every = _steered(), list(range(CASES))
    assert torch.equal(steered.pair_weights(every), torch.ones(CASES))
    with torch.no_grad():
        steered.pair_logits[1] = 2.0
    weights = steered.pair_weights(every)
    assert weights.mean().item() == pytest.approx(1)
    assert weights[1] > 2
    assert steered.pair_weights([3, 1]).tolist() == [weights[3].item(), weights[1].item()]
    assert steered.values()["largest_pair_weight"] == weights[1].item()
