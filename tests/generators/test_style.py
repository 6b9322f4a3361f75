"""Style codes: their encoder, their cost, and where new ones come from."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genseg.generators.style import StyleDistribution, StyleEncoder, sample_style, style_divergence


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spatial", [(33, 20), (1, 3), (9, 7, 5), (1, 1, 1)])
def test_any_image_has_a_style(spatial: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(len(spatial), 2, 5)
    mean, log_variance = encoder(torch.randn(3, 2, *spatial))
    assert mean.shape == log_variance.shape == (3, 5)
    (mean.square().sum() + log_variance.square().sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() and parameter.grad.any() for parameter in encoder.parameters())


@pytest.mark.parametrize("rank", [2, 3])
def test_a_style_tells_light_but_not_place(rank: int) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(rank, 1, 4)
    here, there = torch.zeros(2, 1, 1, *(48,) * rank)
    here[(..., *(slice(16, 20),) * rank)] = 1
    there[(..., *(slice(24, 28),) * rank)] = 1
    torch.testing.assert_close(encoder(here), encoder(there))
    assert (encoder(here)[0] - encoder(0 * here)[0]).abs().max() > 1e-6
    assert (encoder(here)[0] - encoder(here + 0.5)[0]).abs().max() > 1e-3


def test_half_precision_stays_out_of_the_codes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = StyleEncoder(2, 1, 4)(torch.randn(1, 1, 16, 16))
    assert mean.dtype == log_variance.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampled_styles_follow_mean_and_variance(dtype: torch.dtype) -> None:
    mean = torch.tensor([[1.0, -2.0]], dtype=dtype).expand(4000, 2).requires_grad_()
    log_variance = torch.tensor([[0.0, 2.0]], dtype=dtype).expand(4000, 2).requires_grad_()
    style = sample_style(mean, log_variance, _draws())
    assert style.dtype == dtype
    assert style.mean(0).tolist() == pytest.approx([1, -2], abs=0.15)
    assert style.std(0).tolist() == pytest.approx([1, 2.718], rel=0.05)
    by_mean, by_variance = torch.autograd.grad(style.sum(), [mean, log_variance])
    assert (by_mean == 1).all()
    torch.testing.assert_close(by_variance, (style - mean) / 2)
    assert torch.equal(style, sample_style(mean, log_variance, _draws()))
    torch.testing.assert_close(style.float(), sample_style(mean.float(), log_variance.float(), _draws()))


def test_divergence_is_that_of_normal_distributions() -> None:
    mean, log_variance = torch.randn(2, 3, 4, generator=_draws())
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).sum(1).mean()
    torch.testing.assert_close(style_divergence(mean, log_variance), expected)
    assert style_divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def _distribution() -> StyleDistribution:
    """Four images: two near (0, 0) and (1, 2), two far away."""
    styles = StyleDistribution(4, 2)
    styles.learn([1, 3], torch.tensor([[0.0, 0.0], [1.0, 2.0]]), torch.tensor([[-1.0, 0.5], [0.0, 0.5]]))
    styles.learn([0, 2], torch.full((2, 2), 100.0), torch.zeros(2, 2))
    return styles


def test_without_noise_styles_lie_between_those_of_two_of_the_images() -> None:
    styles = _distribution()
    with torch.no_grad():
        styles.log_temperature.fill_(-200)
    style = styles.sample(200, _draws(), [1, 3]).detach()
    torch.testing.assert_close(style[:, 1], 2 * style[:, 0])
    assert style.min() >= 0
    assert style[:, 0].max() <= 1
    assert len(style.unique(dim=0)) > 50
    assert torch.equal(styles.sample(5, _draws(), [3]), torch.tensor([[1.0, 2.0]]).expand(5, 2))


def test_noise_is_as_wide_as_the_styles_times_the_temperature() -> None:
    styles = _distribution()
    with torch.no_grad():
        styles.log_temperature.fill_(7)
    spread = torch.tensor([0.25 + (torch.tensor(-1.0).exp() + 1) / 2, 1 + torch.tensor(0.5).exp()]).sqrt()
    style = styles.sample(4000, _draws(), [1, 3]).detach()
    torch.testing.assert_close(style.std(0), spread * styles.temperature.detach(), rtol=0.05, atol=0)


def test_feedback_can_steer_the_temperature_and_nothing_else() -> None:
    styles = _distribution()
    assert [name for name, _ in styles.named_parameters()] == ["log_temperature"]
    assert styles.temperature.item() == pytest.approx(0.5)
    style = styles.sample(3, _draws(), [1, 3])
    (gradient,) = torch.autograd.grad(style.square().sum(), styles.log_temperature)
    assert gradient.abs() > 1e-3
    assert torch.equal(style, styles.sample(3, _draws(), [1, 3]))
    assert not torch.equal(style, styles.sample(3, _draws(1), [1, 3]))


def test_codes_are_constants_and_part_of_the_state() -> None:
    styles = StyleDistribution(2, 2)
    styles.learn([1], torch.ones(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True))
    assert not styles.mean.requires_grad
    assert not styles.log_variance.requires_grad
    again = StyleDistribution(2, 2)
    again.load_state_dict(styles.state_dict())
    assert torch.equal(again.sample(3, _draws(), [0, 1]), styles.sample(3, _draws(), [0, 1]))
