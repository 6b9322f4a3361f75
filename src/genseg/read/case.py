"""The records that data become on their way in: files, scans as read, cases ready for use."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from genseg.base.lengths import SpacingUnit
from genseg.errors import Fault

IGNORE = 255
"""Mask value of pixels that count in no loss: outside of the image after padding or rotation."""

PatientSource = Literal["", "the CSV list", "DICOM headers", "DICOM studies", "folders", "file names"]
"""What says which cases are of one patient; "" where nothing does."""


@dataclass(frozen=True)
class CaseFiles:
    """An image and its mask, if it is labelled: the unit of training and prediction.

    image: `(channel, *spatial)`, values as stored; the plan's intensity rule scales them.
    mask: `(*spatial)` uint8 class indices 0..classes-1, or None.
    spacing, affine, modality, sha256, spacing_unit: as in `Scan`.
    """

    name: str
    images: tuple[Path, ...]
    mask: Path | None
    patient: str
    split: str | None = None
    patient_source: PatientSource = ""


def patients_known_from(cases: Iterable[CaseFiles]) -> PatientSource:
    """What says which of the cases are of one patient; "" where nothing does."""
    return next((case.patient_source for case in cases if case.patient_source), "")


def by_patient(cases: Iterable[CaseFiles]) -> str:
    """By what a split keeps cases together, in words."""
    source = patients_known_from(cases)
    return f"by patient (from {source})" if source else "by image; patients not known"


@dataclass(frozen=True)
class Scan:
    """One file (or DICOM series) as read, nothing rescaled, resized or mapped.

    pixels: `(channel, *spatial)`, dtype as stored (after DICOM or NIfTI slope and intercept). Pictures are
        `(channel, row, column)`; volumes keep the file's own voxel axes `(channel, i, j, k)`.
    spacing: size of a voxel along each spatial axis, in `spacing_unit`.
    affine: `(4, 4)` voxel index to RAS+ mm, for volumes; None for pictures. Where the spacing is in pixels, it is too.
    modality: "rgb", "gray", "ct", "mr", "pet" or "" (unknown).
    sha256: hash of the file's bytes (of a series: of its files' hashes in slice order).
    warnings: faults that do not stop (wrong suffix, rotation tag applied, inverted by MONOCHROME1 ...).
    spacing_unit: "mm", or "px" where the file does not state the size of a voxel: it counts as 1 then, but for the
        ratio of its edges where the file states that.
    segments: of a mask: stored value -> name, where the file itself names its values (3D Slicer's `.seg.nrrd`).
    palette: of a mask: stored value -> colour in which the file shows it, where the file has a palette.
    """

    pixels: NDArray[np.generic]
    spacing: tuple[float, ...]
    affine: NDArray[np.float64] | None
    modality: str
    sha256: str
    warnings: tuple[Fault, ...] = ()
    spacing_unit: SpacingUnit = "mm"
    segments: Mapping[int, str] = field(default_factory=dict)
    palette: Mapping[int, tuple[int, int, int]] = field(default_factory=dict)

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size along each spatial axis."""
        return tuple(self.pixels.shape[1:])


@dataclass(frozen=True)
class Origin:
    """Where one channel of an image comes from.

    file: path of the file, or folder of the DICOM series. number: of the channel within the file, from 0. modality,
    sha256: of the file, as in `Scan`. dtype: of its pixels as stored, which may be widened beside those of other files.
    """

    file: Path
    number: int
    modality: str
    dtype: str
    sha256: str


@dataclass(frozen=True)
class Case:
    """One image with, where it is labelled, its mask: what training and prediction work on.

    image: `(channel, *spatial)`, values as stored; the plan's intensity rule scales them.
    mask: `(*spatial)` uint8 class indices 0..classes-1, or None.
    spacing, affine, modality, sha256, spacing_unit: as in `Scan`.
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
    spacing_unit: SpacingUnit = "mm"

    @property
    def spatial(self) -> tuple[int, ...]:
        """Size along each spatial axis."""
        return tuple(self.image.shape[1:])
