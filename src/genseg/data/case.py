"""The records that data become on their way in: files, scans as read, cases ready for use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.errors import Fault

IGNORE = 255
"""Mask value of pixels that count in no loss: outside of the image after padding or rotation."""


@dataclass(frozen=True)
class CaseFiles:
    """Where one case lies on disk.

    `images` holds one path, or one per channel (nnU-Net's `_0000`, `_0001`), or a single folder for a DICOM
    series. `split` is "train", "val" or "test" where the data set fixes it, else None.
    """

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    patient: str
    split: str | None = None


@dataclass(frozen=True)
class Scan:
    """One file (or DICOM series) as read, nothing rescaled, resized or mapped.

    pixels: `(channel, *spatial)`, dtype as stored (after DICOM or NIfTI slope and intercept). Pictures are
        `(channel, row, column)`; volumes keep the file's own voxel axes `(channel, i, j, k)`.
    spacing: mm along each spatial axis; 1.0 where the file says nothing.
    affine: `(4, 4)` voxel index to RAS+ mm, for volumes; None for pictures.
    modality: "rgb", "gray", "ct", "mr" or "" (unknown).
    sha256: hash of the file's bytes (of a series: of its files' hashes in slice order).
    warnings: faults that do not stop (wrong suffix, rotation tag applied, inverted by MONOCHROME1 ...).
    segments: of a mask: stored value -> name, where the file itself names its values (3D Slicer's `.seg.nrrd`).
    palette: of a mask: stored value -> colour in which the file shows it, where the file has a palette.
    """

    pixels: NDArray[np.generic]
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None
    modality: str
    sha256: str
    warnings: tuple[Fault, ...] = ()
    segments: Mapping[int, str] = field(default_factory=dict)
    palette: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size along each spatial axis."""
        return tuple(self.pixels.shape[1:])


@dataclass(frozen=True)
class Case:
    """One image with, where it is labelled, its mask: what training and prediction work on.

    image: `(channel, *spatial)`, values as stored; the plan's intensity rule scales them.
    mask: `(*spatial)` uint8 class indices 0..classes-1, or None.
    spacing, affine, modality, sha256: as in `Scan`.
    """

    name: str
    image: NDArray[np.generic]
    mask: NDArray[np.uint8] | None
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None
    patient: str
    modality: str
    sha256: str
    warnings: tuple[Fault, ...] = field(default=())

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size along each spatial axis."""
        return tuple(self.image.shape[1:])
