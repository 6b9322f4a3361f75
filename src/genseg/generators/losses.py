"""What stage I minimises: an adversarial loss, the distance to the real image, and the cost of a style.

Sources: Isola et al., pix2pix, CVPR 2017, equation 4 (the sum, L1 weight 100, the discriminator's loss halved); Zhu et
al., BicycleGAN, NeurIPS 2017 (the style's divergence).
"""

from __future__ import annotations

from typing import get_args

from torch import Tensor
from torch.nn import functional

from genseg.choices import AdversarialKind
from genseg.errors import SettingsError, unknown

L1_WEIGHT = 100.0
DIVERGENCE_WEIGHT = 0.1
"""Stands to the L1 weight as in BicycleGAN, 0.01 to 10."""


def discriminator_loss(kind: AdversarialKind, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Half the sum of the losses on real and on generated patches, a scalar; logits of any shape, large = real.

    Raises SettingsError for an unknown kind.
    """
    if kind == "vanilla":
        return (functional.softplus(-real_logits).mean() + functional.softplus(fake_logits).mean()) / 2
    if kind == "least-squares":
        return ((real_logits - 1).square().mean() + fake_logits.square().mean()) / 2
    if kind == "hinge":
        return ((1 - real_logits).relu().mean() + (1 + fake_logits).relu().mean()) / 2
    raise _unknown(kind)


def generator_loss(kind: AdversarialKind, fake_logits: Tensor) -> Tensor:
    """What generated patches cost the generator, a scalar; raises SettingsError for an unknown kind."""
    if kind == "vanilla":
        return functional.softplus(-fake_logits).mean()
    if kind == "least-squares":
        return (fake_logits - 1).square().mean()
    if kind == "hinge":
        return -fake_logits.mean()
    raise _unknown(kind)


def translation_loss(
    kind: AdversarialKind,
    fake_logits: Tensor,
    generated: Tensor,
    real: Tensor,
    divergence: Tensor,
    *,
    l1_weight: float = L1_WEIGHT,
    divergence_weight: float = DIVERGENCE_WEIGHT,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The generator's and the style encoder's loss in stage I: the weighted sum and its unweighted parts.

    fake_logits: the discriminator's, on `generated`. generated, real: images `(batch, channel, *spatial)` of the same
    masks. divergence: from `style_divergence`. The parts, "adversarial", "l1" and "divergence", are scalars with their
    gradients. Raises SettingsError for an unknown kind.
    """
    parts = {
        "adversarial": generator_loss(kind, fake_logits),
        "l1": (generated - real).abs().mean(),
        "divergence": divergence,
    }
    return parts["adversarial"] + l1_weight * parts["l1"] + divergence_weight * parts["divergence"], parts


def _unknown(kind: str) -> SettingsError:
    return SettingsError(unknown("adversarial loss", kind, get_args(AdversarialKind)))
