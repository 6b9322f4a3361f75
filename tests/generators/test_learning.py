"""Generator, style encoder and discriminator learn together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from genseg.generators.discriminator import PatchDiscriminator
from genseg.generators.losses import discriminator_loss, translation_loss
from genseg.generators.style import StyleEncoder, sample_style, style_divergence
from genseg.generators.unet import MaskToImage
from genseg.synthetic.phantoms import make_phantom

UPDATES = 25


def _pairs(rank: int) -> tuple[Tensor, Tensor]:
    """Two phantoms: one-hot masks and images in [-1, 1]."""
    drawn = [make_phantom("rgb" if rank == 2 else "volume", index, size=32 if rank == 2 else 16) for index in range(2)]
    masks = torch.from_numpy(np.stack([mask for _, mask in drawn])).long()
    images = torch.from_numpy(np.stack([image.astype(np.float32) for image, _ in drawn]))
    images = images.movedim(-1, 1) if rank == 2 else images.unsqueeze(1)
    images = (images - images.min()) / (images.max() - images.min()) * 2 - 1
    return functional.one_hot(masks).movedim(-1, 1).float(), images


@pytest.mark.parametrize("rank", [2, 3])
def test_a_few_dozen_updates_bring_generated_images_near_the_real_ones(rank: int) -> None:
    torch.manual_seed(0)
    mask, image = _pairs(rank)
    classes, channels = mask.shape[1], image.shape[1]
    generator = MaskToImage(rank, classes, channels, (8, 12, 16), style_size=4, bounded=True)
    encoder, critic = StyleEncoder(rank, channels, 4), PatchDiscriminator(rank, classes, channels, (8, 16)[: 4 - rank])
    makers = torch.optim.AdamW([*generator.parameters(), *encoder.parameters()], lr=4e-3, betas=(0.5, 0.999))
    judges = torch.optim.AdamW(critic.parameters(), lr=1e-3, betas=(0.5, 0.999))
    draws, before, distances = (
        torch.Generator().manual_seed(0),
        [logits.clone() for logits in generator.architecture()],
        [],
    )
    for _ in range(UPDATES):
        mean, log_variance = encoder(image, mask)
        generated = generator(mask, sample_style(mean, log_variance, draws))
        judged = discriminator_loss("least-squares", critic(mask, image), critic(mask, generated.detach()))
        judges.zero_grad()
        judged.backward()
        judges.step()
        divergence = style_divergence(mean, log_variance)
        total, parts = translation_loss("least-squares", critic(mask, generated), generated, image, divergence)
        makers.zero_grad()
        total.backward()
        makers.step()
        distances.append(parts["l1"].item())
    assert np.mean(distances[-5:]) < 0.5 * np.mean(distances[:2])
    assert all(not torch.equal(old, new) for old, new in zip(before, generator.architecture(), strict=True))
