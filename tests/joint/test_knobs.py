"""The knobs: where they begin, and within what they stay wherever feedback pushes them."""

from __future__ import annotations

import pytest
import torch
from joint_problem import make_problem

from genseg.config import LARGEST_SHARE
from genseg.joint.generation import begin_knobs
from genseg.joint.knobs import Knobs

CASES = 5


def _knobs(share: float = 0.5) -> Knobs:
    return begin_knobs(make_problem().plan, CASES, share)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
def test_the_share_begins_where_it_is_told_to(share: float) -> None:
    assert _knobs(share).share().item() == pytest.approx(share)


def test_the_share_stays_between_none_and_its_limit() -> None:
    knobs = _knobs()
    with torch.no_grad():
        knobs.share_logit.fill_(20)
        assert knobs.share().item() == pytest.approx(LARGEST_SHARE)
        knobs.share_logit.fill_(-20)
        assert 0 < knobs.share().item() < 1e-6


def test_what_one_pair_gains_in_weight_the_others_lose() -> None:
    knobs, every = _knobs(), list(range(CASES))
    assert torch.equal(knobs.pair_weights(every), torch.ones(CASES))
    with torch.no_grad():
        knobs.pair_logits[1] = 2.0
    weights = knobs.pair_weights(every)
    assert weights.mean().item() == pytest.approx(1)
    assert weights[1] > 2
    assert knobs.pair_weights([3, 1]).tolist() == [weights[3].item(), weights[1].item()]
    assert knobs.values()["largest_pair_weight"] == weights[1].item()
