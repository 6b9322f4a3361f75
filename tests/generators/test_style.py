"""Style codes: their encoder, their cost, and where new ones come from."""

from __future__ import annotations

import math

import pytest
import torch
from style_masks import square
from torch.distributions import Normal, kl_divergence

from genseg.generators.style import (
    StyleDistribution,
    StyleEncoder,
    sample_style,
    style_divergence,
    style_shape,
)


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("spatial", [(33, 20), (1, 3), (9, 7, 5), (1, 1, 1)])
def test_any_image_has_a_style(spatial: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder, rank = StyleEncoder(len(spatial), 2, 5), len(spatial)
    mask = torch.randn(3, 3, *spatial).softmax(1)
    mean, log_variance = encoder(torch.randn(3, 2, *spatial), mask)
    assert mean.shape == log_variance.shape == (3, *style_shape(rank, 3, 5))
    assert mean.isfinite().all()


@pytest.mark.parametrize("rank", [2, 3])
def test_every_weight_of_the_encoder_learns(rank: int) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(rank, 2, 5)
    mean, log_variance = encoder(torch.randn(1, 2, *(32,) * rank), square(rank, 8, 32))
    (mean.square().sum() + log_variance.square().sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() and parameter.grad.any() for parameter in encoder.parameters())


def test_nothing_of_an_object_or_a_hole_is_in_the_surroundings_nor_of_them_far_off_in_it() -> None:
    torch.manual_seed(0)
    encoder, mask, image = StyleEncoder(2, 1, 4), square(2, 24), torch.randn(1, 1, 64, 64)
    holes = torch.zeros(1, 1, 64, 64)
    holes[..., 50:56, 50:56] = 1
    before, _ = encoder(image, mask, holes)
    inside, _ = encoder(image + 3 * mask[:, 1:], mask, holes)
    assert torch.equal(inside[:, 0], before[:, 0])
    assert (inside[:, 1] - before[:, 1]).abs().max() > 1e-3
    in_hole, _ = encoder(image + 3 * holes, mask, holes)
    assert torch.equal(in_hole[:, 0], before[:, 0])
    image[..., :10, :10] += 3
    outside, _ = encoder(image, mask, holes)
    assert torch.allclose(outside[:, 1], before[:, 1])
    assert (outside[:, 0] - before[:, 0]).abs().max() > 1e-3


def test_a_class_that_is_absent_has_the_prior_s_codes() -> None:
    mean, log_variance = StyleEncoder(2, 1, 4)(torch.randn(1, 1, 64, 64), square(2, 24, classes=3))
    assert mean[:, 1].any()
    assert not mean[:, 2].any()
    assert not log_variance[:, 2].any()


def test_half_precision_stays_out_of_the_codes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = StyleEncoder(2, 1, 4)(torch.randn(1, 1, 64, 64), square(2, 24))
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
    expected = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(0, 1)).mean()
    torch.testing.assert_close(style_divergence(mean, log_variance), expected)
    assert style_divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


STARTS = (8, 24, 40)
"""Where the objects of three images begin."""


def _masks() -> torch.Tensor:
    return torch.cat([square(2, start) for start in STARTS])


def _distribution(log_variance: float = -60.0) -> StyleDistribution:
    """Three images of one class of objects, two views each.

    An image's number is in every code of its surroundings; its object's are larger by 10, its rim's by 20.
    """
    styles, shape = StyleDistribution(3, 2, 2, 2, 5), style_shape(2, 2, 5)
    number, field = torch.arange(3.0).view(3, 1, 1, 1, 1), 10 * torch.arange(3.0).view(1, 3, 1, 1, 1)
    mean = (number + field).expand(3, *shape)
    for view in range(2):
        styles.learn([0, 1, 2], view, mean, torch.full_like(mean, log_variance), _masks())
    return styles


def test_new_styles_join_objects_and_by_their_differences_rims_with_surroundings_whose_objects_lay_near() -> None:
    style = _distribution().sample(_masks(), [2, 0, 1], [0, 1, 2], _draws()).detach()
    assert style.shape == (3, *style_shape(2, 2, 5))
    means = style.flatten(2).mean(2)
    assert means[:, 0].tolist() == pytest.approx([0, 1, 2], abs=1e-4)
    assert means[:, 1].tolist() == pytest.approx([12, 10, 11], abs=1e-4)
    assert (means[:, 2] - means[:, 0]).tolist() == pytest.approx([20] * 3, abs=1e-4)


def test_every_field_goes_where_the_new_object_is() -> None:
    old, new = square(2, 24), square(2, 28)  # four cells further along both axes
    styles, codes = StyleDistribution(1, 1, 2, 2, 1), torch.randn(1, *style_shape(2, 2, 1), generator=_draws())
    styles.learn([0], 0, codes, torch.full_like(codes, -60), old)
    moved = styles.sample(new, [0], [0], _draws()).detach()
    torch.testing.assert_close(moved[..., 4:, 4:], codes[..., :-4, :-4], atol=0.01, rtol=0)


def test_surroundings_come_from_the_images_that_may_be_used_alone() -> None:
    style = _distribution().sample(_masks(), [0, 0, 0], [1], _draws()).detach()
    assert style[:, 0].flatten(1).mean(1).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_noise_is_as_wide_as_the_codes_are_uncertain_times_the_temperature() -> None:
    styles = _distribution(log_variance=1.0)
    with torch.no_grad():
        styles.log_temperature.fill_(0.7)
    around = styles.sample(_masks()[:1], [0], [0], _draws())[:, 0]
    assert around.std().item() == pytest.approx(math.exp(0.7 + 0.5), rel=0.05)


def test_feedback_can_steer_the_temperature_and_reaches_the_masks() -> None:
    styles = _distribution(log_variance=0.0)
    assert [name for name, _ in styles.named_parameters()] == ["log_temperature"]
    assert styles.temperature.item() == 1
    mask = (0.9 * _masks() + 0.05).requires_grad_()
    style = styles.sample(mask, [0, 1, 2], [0, 1], _draws())
    gradients = torch.autograd.grad(style.square().sum(), [styles.log_temperature, mask])
    assert all(gradient.abs().max() > 1e-6 for gradient in gradients)
    assert torch.equal(style, styles.sample(mask, [0, 1, 2], [0, 1], _draws()))
    assert not torch.equal(style, styles.sample(mask, [0, 1, 2], [0, 1], _draws(1)))


def test_codes_are_constants_and_part_of_the_state() -> None:
    styles, codes = StyleDistribution(2, 1, 2, 2, 3), torch.ones(1, *style_shape(2, 2, 3), requires_grad=True)
    styles.learn([1], 0, codes, codes, _masks()[:1].requires_grad_())
    assert not any(buffer.requires_grad for buffer in styles.buffers())
    again = StyleDistribution(2, 1, 2, 2, 3)
    again.load_state_dict(styles.state_dict())
    drawn = [one.sample(_masks(), [0, 1, 1], [0, 1], _draws()) for one in (styles, again)]
    assert torch.equal(*drawn)
