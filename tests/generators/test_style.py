"""Style codes: their encoder, their cost, and where new ones come from."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from genseg.generators.style import (
    StyleDistribution,
    StyleEncoder,
    codes_of,
    lay_out,
    sample_style,
    style_divergence,
)


def _draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _square(rank: int, start: int, size: int = 48, classes: int = 2) -> torch.Tensor:
    """A mask whose first foreground class has an object of 8 pixels' edge from `start` on."""
    mask = torch.zeros(1, classes, *(size,) * rank)
    mask[:, 0] = 1
    place = (slice(None), slice(None), *(slice(start, start + 8),) * rank)
    mask[place] = 0
    mask[:, 1][place[:1] + place[2:]] = 1
    return mask


@pytest.mark.parametrize("spatial", [(33, 20), (1, 3), (9, 7, 5), (1, 1, 1)])
def test_any_image_has_a_style(spatial: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    encoder, rank = StyleEncoder(len(spatial), 2, 5), len(spatial)
    mask = torch.randn(3, 3, *spatial).softmax(1)
    mean, log_variance = encoder(torch.randn(3, 2, *spatial), mask)
    assert mean.shape == log_variance.shape == (3, 5, codes_of(rank, 3))
    assert mean.isfinite().all()


@pytest.mark.parametrize("rank", [2, 3])
def test_every_weight_of_the_encoder_learns(rank: int) -> None:
    torch.manual_seed(0)
    encoder = StyleEncoder(rank, 2, 5)
    mean, log_variance = encoder(torch.randn(1, 2, *(48,) * rank), _square(rank, 16))
    (mean.square().sum() + log_variance.square().sum()).backward()
    assert all(torch.isfinite(parameter.grad).all() and parameter.grad.any() for parameter in encoder.parameters())


def test_surroundings_are_told_where_they_are_and_not_where_an_object_or_a_hole_is() -> None:
    torch.manual_seed(0)
    encoder, mask = StyleEncoder(2, 1, 4), _square(2, 12)  # cells of 6 pixels: the object covers cells 2 and 3
    holes = torch.zeros(1, 1, 48, 48)
    holes[..., 30:32, 30:32] = 1  # inside cell 5
    mean, log_variance = (
        codes[0, :, 1:].unflatten(1, (8, 8)) for codes in encoder(torch.randn(1, 1, 48, 48), mask, holes)
    )
    hidden = torch.zeros(8, 8, dtype=torch.bool)
    hidden[2:4, 2:4] = hidden[5, 5] = True
    assert not mean[:, hidden].any()
    assert not log_variance[:, hidden].any()
    assert mean[:, ~hidden].abs().amin(1).gt(0).all()


def test_nothing_of_an_object_is_in_the_surroundings_and_nothing_of_them_far_off_in_it() -> None:
    torch.manual_seed(0)
    encoder, mask, image = StyleEncoder(2, 1, 4), _square(2, 12), torch.randn(1, 1, 48, 48)
    before, _ = encoder(image, mask)
    repainted = image + 3 * mask[:, 1:]
    inside, _ = encoder(repainted, mask)
    assert torch.equal(inside[..., 1:], before[..., 1:])
    assert (inside[..., 0] - before[..., 0]).abs().max() > 1e-3
    image[..., 40:, 40:] += 3
    outside, _ = encoder(image, mask)
    assert torch.equal(outside[..., 0], before[..., 0])
    assert (outside[..., 1:] - before[..., 1:]).abs().max() > 1e-3


def test_a_class_that_is_absent_has_the_prior_s_code() -> None:
    mean, log_variance = StyleEncoder(2, 1, 4)(torch.randn(1, 1, 48, 48), _square(2, 12, classes=3))
    assert mean[..., 0].any()
    assert not mean[..., 1].any()
    assert not log_variance[..., 1].any()


def test_a_style_is_laid_out_by_objects_first() -> None:
    mask = _square(2, 12, classes=3)
    style = torch.arange(codes_of(2, 3), dtype=torch.float32).expand(1, 4, -1)
    cells = lay_out(style, mask)[0, 0]
    assert (cells[2:4, 2:4] == 0).all()  # the first class's code
    around = torch.ones(8, 8, dtype=torch.bool)
    around[2:4, 2:4] = False
    assert torch.equal(cells[around], (torch.arange(64.0).view(8, 8) + 2)[around])


def test_half_precision_stays_out_of_the_codes() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mean, log_variance = StyleEncoder(2, 1, 4)(torch.randn(1, 1, 48, 48), _square(2, 12))
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
    """Three images of one class of objects; every code of an image holds its number, and of image 2 is certain."""
    styles = StyleDistribution(3, 2, 2, 5)
    for image in range(3):
        mean = torch.full((1, 5, codes_of(2, 2)), float(image))
        styles.learn([image], mean, torch.full_like(mean, -60.0 if image == 2 else 0.0))
    return styles


def test_new_styles_join_the_surroundings_of_one_image_and_the_objects_of_another() -> None:
    styles = _distribution()
    with torch.no_grad():
        styles.log_temperature.fill_(-200)
    style = styles.sample(200, _draws(), [0, 2])
    assert style.shape == (200, 5, codes_of(2, 2))
    assert (style == style[:, :1]).all()
    assert (style[..., 1:] == style[..., 1:2]).all()
    drawn = {(objects, around) for objects, around in style[:, 0, :2].tolist()}
    assert drawn == {(0, 0), (0, 2), (2, 0), (2, 2)}


def test_noise_is_as_wide_as_the_codes_are_uncertain_times_the_temperature() -> None:
    styles = _distribution()
    with torch.no_grad():
        styles.log_temperature.fill_(1)
    assert styles.sample(300, _draws(), [1]).std().item() == pytest.approx(styles.temperature.item(), rel=0.02)
    assert styles.sample(300, _draws(), [2]).std().item() < 1e-6


def test_feedback_can_steer_the_temperature_and_nothing_else() -> None:
    styles = _distribution()
    assert [name for name, _ in styles.named_parameters()] == ["log_temperature"]
    assert styles.temperature.item() == 1
    style = styles.sample(3, _draws(), [0, 1])
    (gradient,) = torch.autograd.grad(style.square().sum(), styles.log_temperature)
    assert gradient.abs() > 1e-3
    assert torch.equal(style, styles.sample(3, _draws(), [0, 1]))
    assert not torch.equal(style, styles.sample(3, _draws(1), [0, 1]))


def test_codes_are_constants_and_part_of_the_state() -> None:
    styles, codes = StyleDistribution(2, 2, 2, 3), torch.ones(1, 3, codes_of(2, 2), requires_grad=True)
    styles.learn([1], codes, codes)
    assert not styles.mean.requires_grad
    assert not styles.log_variance.requires_grad
    again = StyleDistribution(2, 2, 2, 3)
    again.load_state_dict(styles.state_dict())
    assert torch.equal(again.sample(3, _draws(), [0, 1]), styles.sample(3, _draws(), [0, 1]))
