"""The orientation tag of cameras and scanners: how a stored picture must be turned to stand upright."""

from __future__ import annotations

import numpy as np

from genseg.errors import Fault, FaultCode
from genseg.read.pixels import Pixels

ORIENTATION_TAG = 274
"""Number of the tag in EXIF and TIFF; its values 1 to 8 are defined in the TIFF 6.0 specification, section 8."""

SIDEWAYS = frozenset({5, 6, 7, 8})
"""Values of the tag by which rows become columns."""

_ROWS, _COLUMNS = 1, 2
_FLIPS: dict[int, tuple[int, ...]] = {
    2: (_COLUMNS,),
    3: (_ROWS, _COLUMNS),
    4: (_ROWS,),
    5: (),
    6: (_COLUMNS,),
    7: (_ROWS, _COLUMNS),
    8: (_ROWS,),
}


def upright(pixels: Pixels, tag: int, name: str) -> tuple[Pixels, tuple[Fault, ...]]:
    """Pixels `(channel, row, column, ...)` turned as the orientation tag says, and a warning if that changed them."""
    if tag not in _FLIPS:
        return pixels, ()
    swapped = pixels.swapaxes(_ROWS, _COLUMNS) if tag in SIDEWAYS else pixels
    warning = Fault(
        FaultCode.ROTATED_BY_TAG,
        name,
        f"the orientation tag {tag}",
        "pixels stored upright",
        "They were turned on reading; check that image and mask still lie on each other.",
        stops=False,
    )
    return np.flip(swapped, _FLIPS[tag]), (warning,)
