"""From a prepared case to class probabilities and a label map in the case's own geometry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from genseg.config import Plan
from genseg.data.preprocess import Prepared, restore
from genseg.layers import at_least_float32, crop, resize, ways_to_mirror

WHOLE = 2.0
"""A volume of up to this many patches' voxels goes through the network in one piece; a larger one in tiles."""

OVERLAP = 0.5
"""Share by which neighbouring tiles overlap; their logits are blended with Gaussian weights."""


@torch.inference_mode()
def predict_probabilities(segmenter: nn.Module, prepared: Prepared, plan: Plan, device: torch.device) -> Tensor:
    """Class probabilities `(class, *oriented size)` float32 on the CPU, for one prepared case.

    Runs in float32, so that a result depends neither on the precision of training nor on other cases. Where the plan
    says so, the logits are means over all ways to mirror the image (Simonyan and Zisserman, ICLR 2015, section 3.2).
    """
    segmenter.eval()
    image = torch.from_numpy(prepared.image).unsqueeze(0).to(device)
    ways = ways_to_mirror([axis + 2 for axis in plan.flip_axes] if plan.mirroring else [])

    def predict(patch: Tensor) -> Tensor:
        mirrored = [at_least_float32(segmenter(patch.flip(way))).flip(way) for way in ways]
        return torch.stack(mirrored).mean(0)

    logits = _logits(predict, image, plan.patch_size)
    logits = resize(crop(logits, prepared.geometry.worked), torch.Size(prepared.geometry.oriented))
    return logits.softmax(1).squeeze(0).cpu()


def predict_mask(segmenter: nn.Module, prepared: Prepared, plan: Plan, device: torch.device) -> NDArray[np.uint8]:
    """The most probable class of every pixel, `(*spatial)` uint8, in the case's own size and voxel order."""
    probabilities = predict_probabilities(segmenter, prepared, plan, device)
    return restore(probabilities.argmax(0).to(torch.uint8).numpy(), prepared.geometry)


def _logits(predict: Callable[[Tensor], Tensor], image: Tensor, patch_size: Sequence[int]) -> Tensor:
    if math.prod(image.shape[2:]) <= WHOLE * math.prod(patch_size):
        return predict(image)
    from monai.inferers.utils import sliding_window_inference

    tiled = sliding_window_inference(image, tuple(patch_size), 1, predict, overlap=OVERLAP, mode="gaussian")
    if not isinstance(tiled, Tensor):
        raise TypeError("a segmenter must return one tensor of logits")
    return tiled
