"""One update: what it changes, what it averages, and when it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from genseg.compute.device import Machine
from genseg.config import Plan
from genseg.errors import TrainingError
from genseg.segmenters.learner import Learner, batch_loss, begin, descend, make_update, prepare_update, take_step

MakePlan = Callable[..., Plan]
pytestmark = pytest.mark.usefixtures("_tiny_network")


def _batch(update: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(update)
    image = torch.randn(2, 3, 16, 16, generator=generator)
    return image, (image[:, 0] > 0).to(torch.uint8)


def _weights(state: Learner) -> dict[str, torch.Tensor]:
    return {name: weight.clone() for name, weight in state.segmenter.state_dict().items()}


def test_first_weights_depend_on_the_seed_alone(make_plan: MakePlan, machine: Machine) -> None:
    first = _weights(begin(make_plan(), 0, machine))
    torch.manual_seed(77)
    again, other = (_weights(begin(make_plan(), seed, machine)) for seed in (0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_the_average_is_that_of_the_formula(make_plan: MakePlan, machine: Machine) -> None:
    plan = make_plan(average_decay=0.75)
    state = begin(plan, 0, machine)
    expected: dict[str, torch.Tensor] = {}
    for update in range(4):
        make_update(state, *_batch(update), plan, 0, machine)
        weights = _weights(state)
        expected = {
            n: 0.75 * expected[n] + 0.25 * w if expected else w for n, w in weights.items() if w.is_floating_point()
        }
    averaged = state.average.module.state_dict()
    assert "stem.0.1.running_var" in expected
    for name, value in expected.items():
        torch.testing.assert_close(averaged[name], value, rtol=1e-5, atol=1e-7)


def test_an_update_reports_loss_norm_and_rate_and_is_counted(make_plan: MakePlan, machine: Machine) -> None:
    plan = make_plan(updates=100, warm_up=0.1)
    state = begin(plan, 0, machine)
    measured = [make_update(state, *_batch(), plan, 0, machine) for _ in range(20)]
    assert [round(one["learning_rate"], 6) for one in measured[:3]] == [0.001, 0.002, 0.003]
    assert measured[-1]["loss"] < measured[0]["loss"]
    assert all(one["gradient_norm"] > 0 for one in measured)
    assert state.update == 20


def test_the_batch_counts_by_its_weight_beside_another_loss(make_plan: MakePlan, machine: Machine) -> None:
    plan = make_plan(updates=100, warm_up=0.0)
    gradients, losses = [], []
    for weight, other in ((0.5, 3), (1.0, 3), (1.0, 0)):
        state = begin(plan, 0, machine)
        prepare_update(state, plan, 0)
        loss = descend(weight * batch_loss(state, *_batch(), machine))
        loss = loss + descend(other * torch.stack([one.square().sum() for one in state.segmenter.parameters()]).sum())
        gradients.append(torch.cat([one.grad.flatten() for one in state.segmenter.parameters()]))  # type: ignore[union-attr]
        losses.append(take_step(state, loss, plan, machine)["loss"])
    half, whole, alone = gradients
    torch.testing.assert_close(whole - half, alone / 2, rtol=1e-4, atol=1e-5)
    assert losses[1] - losses[0] == pytest.approx(losses[2] / 2, rel=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_update_and_changes_no_weight(
    make_plan: MakePlan, machine: Machine, value: float
) -> None:
    plan = make_plan()
    state = begin(plan, 0, machine)
    make_update(state, *_batch(), plan, 0, machine)
    before = [weight.clone() for weight in (*state.segmenter.parameters(), *state.average.parameters())]
    image, mask = _batch()
    image[0, 0, 0, 0] = value
    with pytest.raises(TrainingError, match=r"update 2: the loss is nan.*--learning-rate"):
        make_update(state, image, mask, plan, 0, machine)
    after = [*state.segmenter.parameters(), *state.average.parameters()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert state.update == 1


def test_a_batch_too_small_to_be_normalised_over_is_refused_by_name(make_plan: MakePlan, machine: Machine) -> None:
    plan = make_plan(batch_size=1, patch_size=(2, 2))
    state = begin(plan, 0, machine)
    with pytest.raises(TrainingError, match=r"update 1: the batch is too small.*--batch-size"):
        make_update(state, torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, dtype=torch.uint8), plan, 0, machine)
