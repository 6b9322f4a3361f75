"""The mask-to-image generator."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp
from torch.nn import functional

from genseg.errors import RunError
from genseg.generators.registry import restore_generator
from genseg.generators.style import style_shape
from genseg.generators.unet import MaskToImage

SPATIAL = {2: (13, 18), 3: (7, 9, 8)}
STYLE = 3


def _generator(rank: int, channels: int = 1, bounded: bool = True) -> MaskToImage:
    torch.manual_seed(0)
    generator = MaskToImage(rank, 2, channels, (4, 6), style_size=STYLE, bounded=bounded)
    with torch.no_grad():
        for logits in generator.architecture():
            logits.normal_()
    return generator


def _mask(rank: int, batch: int = 2, spatial: tuple[int, ...] | None = None) -> Tensor:
    draws = torch.Generator().manual_seed(1)
    return torch.randn(batch, 2, *(spatial or SPATIAL[rank]), generator=draws).softmax(1)


def _style(rank: int) -> Tensor:
    return torch.randn(2, *style_shape(rank, 2, STYLE), generator=torch.Generator().manual_seed(2))


@pytest.mark.fault(56)
@pytest.mark.parametrize("rank", [2, 3])
def test_each_channel_is_bounded_or_free_by_itself(rank: int) -> None:
    torch.manual_seed(0)
    mixed = MaskToImage(rank, 2, 3, (4, 6), style_size=STYLE, bounded=[True, False, True])
    torch.nn.init.constant_(mixed.head.bias, 1.5)
    free = restore_generator({**mixed.describe(), "bounded": False})
    free.load_state_dict(mixed.state_dict())
    image, plain = (generator(_mask(rank), _style(rank)) for generator in (mixed, free))
    torch.testing.assert_close(image[:, 1], plain[:, 1])
    torch.testing.assert_close(image[:, ::2], plain[:, ::2].tanh())
    assert image[:, 1].max() > 1
    with pytest.raises(RunError, match="cannot be built"):
        restore_generator({**mixed.describe(), "bounded": [True]})


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("rank", "spatial"), [(2, (13, 18)), (2, (1, 5)), (2, (16, 12)), (3, (7, 9, 8)), (3, (1, 2, 3))]
)
def test_images_have_the_size_of_the_mask(rank: int, spatial: tuple[int, ...], channels: int) -> None:
    image = _generator(rank, channels)(_mask(rank, spatial=spatial), _style(rank))
    assert image.shape == (2, channels, *spatial)
    assert image.abs().max() <= 1


@pytest.mark.parametrize("rank", [2, 3])
def test_unbounded_images_are_the_same_before_the_tanh(rank: int) -> None:
    bounded, free = _generator(rank), _generator(rank, bounded=False)
    for generator in (bounded, free):
        torch.nn.init.constant_(generator.head.bias, 1.5)
    image = free(_mask(rank), _style(rank))
    assert image.max() > 1
    torch.testing.assert_close(image.tanh(), bounded(_mask(rank), _style(rank)))


def test_odd_sizes_are_continued_by_their_last_pixels() -> None:
    generator, mask = _generator(2), _mask(2)
    continued = functional.pad(mask, (0, 2, 0, 3), mode="replicate")
    torch.testing.assert_close(generator(mask, _style(2)), generator(continued, _style(2))[..., :13, :18])


@pytest.mark.parametrize("rank", [2, 3])
def test_an_image_depends_on_its_own_mask_and_style_alone(rank: int) -> None:
    generator, mask, style = _generator(rank), _mask(rank), _style(rank)
    both, first = generator(mask, style), generator(mask[:1], style[:1])
    torch.testing.assert_close(both[:1], first)
    assert (generator(mask, style.flip(0))[0] - both[0]).abs().max() > 1e-3
    assert (generator(mask.flip(0), style)[0] - both[0]).abs().max() > 1e-3


@pytest.mark.parametrize("rank", [2, 3])
def test_architecture_and_weights_are_all_parameters(rank: int) -> None:
    generator = _generator(rank)
    architecture, weights = generator.architecture(), generator.weights()
    assert len(architecture) == 4
    parts = [id(parameter) for parameter in architecture + weights]
    assert len(set(parts)) == len(parts)
    assert set(parts) == {id(parameter) for parameter in generator.parameters()}
    assert {name for name, own in generator.named_parameters() if any(own is one for one in architecture)} == {
        "encoder.0.0.logits",
        "encoder.1.0.logits",
        "decoder.0.cell.logits",
        "decoder.1.cell.logits",
    }


@pytest.mark.parametrize("rank", [2, 3])
def test_gradients_reach_mask_style_and_every_parameter(rank: int) -> None:
    generator = _generator(rank)
    inputs = {"mask": _mask(rank).requires_grad_(), "style": _style(rank).requires_grad_()}
    generator(*inputs.values()).square().mean().backward()
    gradients = {name: own.grad for name, own in (*inputs.items(), *generator.named_parameters())}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []


def test_a_mask_of_one_class_gives_finite_gradients() -> None:
    generator = _generator(2)
    mask = torch.stack([torch.ones(2, 16, 16), torch.zeros(2, 16, 16)], 1).requires_grad_()
    generator(mask, _style(2)).square().mean().backward()
    gradients = [mask.grad, *(parameter.grad for parameter in generator.parameters())]
    assert all(torch.isfinite(gradient).all() and gradient.abs().max() < 1e3 for gradient in gradients)


@pytest.mark.parametrize("decided", [False, True])
@pytest.mark.parametrize("rank", [2, 3])
def test_description_and_weights_give_the_same_generator_back(rank: int, decided: bool) -> None:
    generator = _generator(rank, channels=3)
    if decided:
        generator.discretise()
    again = restore_generator(json.loads(json.dumps(generator.describe())))
    again.load_state_dict(generator.state_dict())
    assert torch.equal(again(_mask(rank), _style(rank)), generator(_mask(rank), _style(rank)))
    assert again.describe() == generator.describe()
    assert len(again.architecture()) == (0 if decided else 4)


@pytest.mark.parametrize(
    "change",
    [{"kernels": [[4], [4]]}, {"kernels": [[5]] * 4}, {"kernels": None}, {"rank": 4}, {"widths": "ab"}, {"extra": 1}],
)
def test_a_description_that_fits_no_generator_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(RunError, match=re.escape("generator: cannot be built from its description")):
        restore_generator(_generator(2).describe() | change)


@pytest.mark.parametrize("rank", [2, 3])
def test_discretising_keeps_the_image_of_a_decided_generator(rank: int) -> None:
    generator = _generator(rank)
    strongest = [int(logits.argmax()) for logits in generator.architecture()]
    with torch.no_grad():
        for logits in generator.architecture():
            logits[logits.argmax()] += 50
    before = generator(_mask(rank), _style(rank))
    assert generator.architecture_entropy() < 1e-6
    generator.discretise()
    assert [cell.kernels for cell in generator.cells()] == [[(4, 6, 8)[best]] for best in strongest]
    torch.testing.assert_close(generator(_mask(rank), _style(rank)), before)
    assert generator.architecture() == []
    assert generator.architecture_entropy() == 0
    assert len(generator.weights()) == len(list(generator.parameters()))


def test_architecture_entropy_is_the_mean_over_cells() -> None:
    generator = _generator(2)
    expected = sum(cell.entropy().item() for cell in generator.cells()) / 4
    assert generator.architecture_entropy().item() == pytest.approx(expected)
    assert 0 < expected < 1
    gradients = torch.autograd.grad(generator.architecture_entropy(), generator.architecture())
    assert all(gradient.any() for gradient in gradients)


def _loss_of_parameters(rank: int, dtype: torch.dtype, layout: torch.memory_format) -> tuple[Any, Any, Any]:
    """A loss as a function of all parameters, their values, and a direction."""
    generator = _generator(rank).to(dtype).to(memory_format=layout)
    mask, style = _mask(rank).to(dtype).contiguous(memory_format=layout), _style(rank).to(dtype)
    values = {name: own.detach() for name, own in generator.named_parameters()}
    draws = torch.Generator().manual_seed(3)
    direction = {name: torch.randn(own.shape, generator=draws).to(dtype) for name, own in values.items()}

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(generator, parameters, (mask, style)).square().sum()

    return loss, values, direction


def _along(gradients: dict[str, Tensor], direction: dict[str, Tensor]) -> Tensor:
    return torch.stack([(gradients[name] * direction[name]).sum() for name in direction]).sum()


LAYOUTS = [
    (2, torch.contiguous_format),
    (2, torch.channels_last),
    (3, torch.contiguous_format),
    (3, torch.channels_last_3d),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize(("rank", "layout"), LAYOUTS)
def test_forward_and_reverse_derivatives_agree(
    rank: int, layout: torch.memory_format, dtype: torch.dtype, tolerance: float
) -> None:
    """First derivatives, then second ones: forward over reverse against reverse over reverse."""
    loss, values, direction = _loss_of_parameters(rank, dtype, layout)
    _, forward = jvp(loss, (values,), (direction,))
    torch.testing.assert_close(forward, _along(grad(loss)(values), direction), rtol=tolerance, atol=tolerance)
    _, over_reverse = jvp(grad(loss), (values,), (direction,))
    twice = grad(lambda own: _along(grad(loss)(own), direction))(values)
    size = torch.cat([part.flatten() for part in twice.values()]).norm()
    apart = torch.cat([(twice[name] - over_reverse[name]).flatten() for name in twice]).norm()
    assert size > 1e-3
    assert apart <= tolerance * size


@pytest.mark.parametrize("rank", [2, 3])
def test_derivatives_agree_with_finite_differences(rank: int) -> None:
    loss, values, direction = _loss_of_parameters(rank, torch.float64, torch.contiguous_format)
    small = 1e-7
    ahead, behind = ({name: own + s * direction[name] for name, own in values.items()} for s in (small, -small))
    first = jvp(loss, (values,), (direction,))[1]
    assert ((loss(ahead) - loss(behind)) / (2 * small)).item() == pytest.approx(first.item(), rel=1e-5)
    logits = [name for name in values if name.endswith("logits")]
    second = jvp(grad(loss), (values,), (direction,))[1]
    gradients = [grad(loss)(own) for own in (ahead, behind)]
    for name in logits:
        difference = (gradients[0][name] - gradients[1][name]) / (2 * small)
        torch.testing.assert_close(second[name], difference, rtol=1e-4, atol=1e-4 * second[name].abs().max().item())


@functools.cache
def _wide() -> MaskToImage:
    torch.manual_seed(0)
    return MaskToImage(2, 2, 3, (16, 24), style_size=STYLE, bounded=True)


def test_half_precision_stays_inside() -> None:
    mask, style = _mask(2, spatial=(32, 32)), _style(2)
    with torch.autocast("cpu", torch.bfloat16):
        image = _wide()(mask, style)
    assert image.dtype == torch.float32
    assert len(image.unique()) > image.numel() / 2
    assert (image - _wide()(mask, style)).abs().mean() < 0.02
