"""The patch discriminator."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from genseg.compute.layers import GroupNorm
from genseg.generators.discriminator import PatchDiscriminator


def _pair(rank: int, size: int) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    mask = torch.randn(2, 3, *(size,) * rank, generator=draws).softmax(1)
    return mask, torch.randn(2, 1, *(size,) * rank, generator=draws)


def _discriminator(rank: int) -> PatchDiscriminator:
    torch.manual_seed(0)
    return PatchDiscriminator(rank, 3, 1)


@pytest.mark.parametrize(("rank", "size", "patches"), [(2, 21, 5), (2, 4, 1), (3, 9, 4), (3, 2, 1)])
def test_there_is_a_logit_for_each_patch(rank: int, size: int, patches: int) -> None:
    discriminator = _discriminator(rank)
    logits = discriminator(*_pair(rank, size))
    assert logits.shape == (2, 1, *(patches,) * rank)
    logits.square().sum().backward()
    assert all(torch.isfinite(own.grad).all() and own.grad.any() for own in discriminator.parameters())


@pytest.mark.parametrize(("rank", "size", "field"), [(2, 64, 34), (3, 32, 16)])
def test_a_logit_sees_a_patch(rank: int, size: int, field: int) -> None:
    discriminator = _discriminator(rank)
    for name, module in list(discriminator.layers.named_children()):
        if isinstance(module, GroupNorm):  # which looks at the whole image
            setattr(discriminator.layers, name, nn.Identity())
    mask, image = _pair(rank, size)
    image.requires_grad_()
    logits = discriminator(mask, image)
    middle = logits[(0, 0, *(size_ // 2 for size_ in logits.shape[2:]))]
    (gradient,) = torch.autograd.grad(middle, image)
    assert [len(gradient[0, 0].nonzero()[:, axis].unique()) for axis in range(rank)] == [field] * rank
    assert not gradient[1].any()


@pytest.mark.parametrize("rank", [2, 3])
def test_logits_depend_on_mask_and_image_of_the_same_pair_alone(rank: int) -> None:
    discriminator, (mask, image) = _discriminator(rank), _pair(rank, 12)
    logits = discriminator(mask, image)
    torch.testing.assert_close(discriminator(mask[:1], image[:1]), logits[:1])
    assert (discriminator(mask.flip(0), image) - logits).abs().max() > 1e-3
    assert (discriminator(mask, image.flip(0)) - logits).abs().max() > 1e-3


def test_half_precision_stays_inside() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert _discriminator(2)(*_pair(2, 16)).dtype == torch.float32
