"""Recombination: an object of one case pasted into the mask of another.

Which object is a discrete choice, through which no gradient goes; the pasted level sets carry their own gradients on.
An object here is a connected component of the foreground, with all classes that it is made of.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from genseg.read.case import IGNORE


def keep_object(mask: NDArray[np.uint8], number: float) -> NDArray[np.uint8]:
    """The mask with one of its objects only. number: in [0, 1], which of them."""
    return np.where(_chosen(mask, number), mask, np.uint8(0))


def drop_object(mask: NDArray[np.uint8], number: float) -> NDArray[np.uint8]:
    """The mask without one of its objects. number: in [0, 1], which of them."""
    return np.where(_chosen(mask, number), np.uint8(0), mask)


def paste(host: Tensor, pasted: Tensor) -> Tensor:
    """Level sets `(class, *spatial)` of `host`, covered by the foreground of `pasted`; in pixels, as those given."""
    # The pasted background's distance is negative inside its objects: the host ends there.
    return torch.cat([torch.minimum(host, pasted[:1])[:1], torch.maximum(torch.minimum(host, pasted[:1]), pasted)[1:]])


def _chosen(mask: NDArray[np.uint8], number: float) -> NDArray[np.bool_]:
    """Where the chosen object is; nowhere in a mask without any."""
    numbered, count = ndimage.label((mask > 0) & (mask != IGNORE))
    chosen: NDArray[np.bool_] = (numbered == 1 + min(int(number * count), count - 1)) & (numbered > 0)
    return chosen
