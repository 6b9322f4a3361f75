"""How files are to be read where they allow more than one meaning."""

from __future__ import annotations

from dataclasses import dataclass

from genseg.choices import NanTo, Pages, Tilt


@dataclass(frozen=True)
class ReadOptions:
    """What a person decided about files whose meaning is not certain.

    pages: a TIFF of many pages either stops or is read as a volume, its pages along the last axis.
    nan_to: NaN and infinite pixels either stop or become the smallest finite value of their channel.
    tilt: a DICOM stack that leans, as with a tilted gantry, either stops or is straightened for the network; its masks
        lie on the slices as they are.
    channels_last_axis: the last axis of a 4D volume holds channels (else such a volume stops).
    """

    pages: Pages = "stop"
    nan_to: NanTo = "stop"
    channels_last_axis: bool = False
    tilt: Tilt = "stop"


DEFAULT_OPTIONS = ReadOptions()
"""Stop at everything that is uncertain."""
