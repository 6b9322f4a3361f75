"""The transparency channel of pictures, which holds nothing to learn from and is left out."""

from __future__ import annotations

import numpy as np

from genseg.errors import Fault, FaultCode
from genseg.read.pixels import Pixels


def without_transparency(pixels: Pixels, name: str) -> tuple[Pixels, tuple[Fault, ...]]:
    """Pixels `(channel, ...)` without their last channel, and a warning where that one was not opaque everywhere."""
    colours, transparency = pixels[:-1], pixels[-1]
    opaque = np.iinfo(transparency.dtype).max if transparency.dtype.kind in "iu" else 1.0
    if transparency.min() == opaque:
        return colours, ()
    warning = Fault(
        FaultCode.TRANSPARENCY_DROPPED,
        name,
        f"a transparency channel with values {transparency.min()} to {transparency.max()}",
        "an opaque image",
        "It was left out; check the image if it was cut out or blended.",
        stops=False,
    )
    return colours, (warning,)
