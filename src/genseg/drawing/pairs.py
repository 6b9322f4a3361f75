"""What the segmenter learns from, for people to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path, inner_folder
from genseg.drawing.overlays import marked_slice, overlay, tile, with_heading
from genseg.read.case import IGNORE

HEADING = "Pairs that the segmenter learns from"


@dataclass(frozen=True)
class Example:
    """One real case, and what the generator makes of it.

    image, mask: real. rebuilt: the image generated from that mask in that image's style. new_mask, new_image: a pair
    made from it. Images `(channel, *spatial)`, masks `(*spatial)` class indices.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8]
    rebuilt: NDArray[np.float32]
    new_image: NDArray[np.float32]
    new_mask: NDArray[np.float32]


def draw_pairs(examples: Sequence[Example], path: Path, class_names: Sequence[str]) -> None:
    """One row an example: real pair, the same generated, their difference, a new pair and the new image bare."""
    pictures, titles = [], []
    for example in examples:
        mask = np.where(example.mask == IGNORE, np.uint8(0), example.mask)
        real, new = marked_slice(mask), marked_slice(example.new_mask)
        pictures += [
            overlay(example.image[..., real], mask[..., real]),
            overlay(example.rebuilt[..., real], None),
            overlay(np.abs(example.image - example.rebuilt)[..., real], None),
            overlay(example.new_image[..., new], example.new_mask[..., new]),
            overlay(example.new_image[..., new], None),
        ]
        titles += ["real", "generated", "difference", "new pair", "new image"]
    sheet = with_heading(tile(pictures, titles, 5), HEADING, class_names[1:])
    inner_folder(path.parent.parent, path.parent.name)
    with atomic_path(path) as temporary:
        sheet.save(temporary, format="PNG", compress_level=1)  # drawn while training: quick rather than small
