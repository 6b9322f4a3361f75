"""What networks of any kind share."""

from __future__ import annotations

import pytest
import torch
from torch.func import jvp
from torch.nn import functional

from genseg.compute.layers import GroupNorm, at_least_float32, crop


def test_cropping_undoes_padding_at_the_ends() -> None:
    image = torch.randn(2, 3, 4, 5, 6)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 0, 0, 1))
    assert torch.equal(crop(padded, (4, 5, 6)), image)


def test_only_half_precisions_are_raised() -> None:
    raised = {kind: at_least_float32(torch.ones(1, dtype=kind)).dtype for kind in (torch.float16, torch.bfloat16)}
    assert set(raised.values()) == {torch.float32}
    assert all(at_least_float32(torch.ones(1, dtype=kind)).dtype == kind for kind in (torch.float32, torch.float64))


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize(("rank", "layout"), [(2, torch.channels_last), (3, torch.channels_last_3d)])
def test_group_norm_is_differentiated_forwards_in_any_layout(
    rank: int, layout: torch.memory_format, affine: bool
) -> None:
    torch.manual_seed(0)
    norm = GroupNorm(2, 6, affine=affine).double()
    if affine:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    features, direction = torch.randn(2, 2, 6, *(4,) * rank).double() * 3 + 1
    plain = jvp(lambda own: functional.group_norm(own, 2, norm.weight, norm.bias), (features,), (direction,))
    placed = (features.contiguous(memory_format=layout), direction.contiguous(memory_format=layout))
    torch.testing.assert_close(jvp(norm, placed[:1], placed[1:]), plain)
    torch.testing.assert_close(norm(placed[0]), plain[0])
