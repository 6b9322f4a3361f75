"""Files of formats that others have registered; see `genseg.register_reader`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import Scan
from genseg.read.formats import Decoded, Reader
from genseg.read.geometry import affine_faults, spacing_faults, spacing_of
from genseg.read.pixels import native, picture_modality
from genseg.read.source import Source


def read(source: Source, reader: Reader) -> Scan:
    """Read a file as its registered reader does, and hold what comes back to what every scan keeps.

    Raises DataError: UNSUPPORTED_PIXELS for arrays that are no image, BAD_SPACING, BAD_AFFINE.
    """
    decoded = reader.decode(source.data)
    pixels = np.asarray(decoded.pixels)
    if pixels.ndim not in (3, 4) or pixels.dtype.kind not in "biuf":
        raise DataError([_no_image(source.name, reader, pixels)])
    rank = pixels.ndim - 1
    spacing, affine = _geometry(decoded, rank)
    if affine is None or decoded.affine is None:  # an affine made from a spacing is as right as the spacing
        faults = spacing_faults(spacing, source.name)
    else:
        faults = affine_faults(affine, source.name)
    if faults:
        raise DataError(faults)
    return Scan(
        pixels=native(pixels),
        spacing=spacing,
        affine=affine,
        modality=picture_modality(len(pixels)) if rank == 2 else "",
        sha256=source.sha256,
        spacing_unit="mm" if decoded.spacing is not None or decoded.affine is not None else "px",
    )


def _geometry(decoded: Decoded, rank: int) -> tuple[tuple[float, ...], NDArray[np.float64] | None]:
    """Spacing and, for a volume, affine; what is not stated counts as 1 voxel, along the patient's axes.

    Raises ValueError for a geometry of other dimensions than the pixels, or whose parts contradict each other.
    """
    if rank == 2:
        spacing = decoded.spacing or (1.0, 1.0)
        if len(spacing) != 2 or decoded.affine is not None:
            raise ValueError("a 2D image has a spacing of two numbers and no affine")
        return tuple(map(float, spacing)), None
    if decoded.affine is None:
        spacing = tuple(map(float, decoded.spacing or (1.0, 1.0, 1.0)))
        return spacing, np.diag([*spacing, 1.0])
    affine = np.asarray(decoded.affine, np.float64)
    if decoded.spacing is not None and not np.allclose(decoded.spacing, spacing_of(affine), rtol=1e-3):
        raise ValueError("spacing and affine contradict each other")
    return spacing_of(affine), affine


def _no_image(name: str, reader: Reader, pixels: NDArray[np.generic]) -> Fault:
    found = f"an array of {pixels.ndim} axes and type {pixels.dtype} from the reader of {reader} files"
    expected = "numbers as (channel, row, column) or (channel, i, j, k)"
    return Fault(FaultCode.UNSUPPORTED_PIXELS, name, found, expected, "Correct the reader, or convert the file.")
