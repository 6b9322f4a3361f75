"""Two scans of one grid whose voxel axes run in different orders or directions: one turned onto the other, losslessly.

Programs store the same volume in different ways: dcm2niix mirrors the rows of a DICOM series, and others keep the axes
of the image that they were given. The affines tell which voxel is which.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from genseg.read.case import Scan
from genseg.read.geometry import Affine


def turned_onto(scan: Scan, image: Scan) -> Scan:
    """The scan with its voxel axes in the order and direction of the image's; as it is where its grid is another one.

    Both are volumes with affines in mm; any others are left as they are. No voxel changes its value or its place.
    """
    if scan.affine is None or image.affine is None or "px" in (scan.spacing_unit, image.spacing_unit):
        return scan
    if lies_on(scan, image):
        return scan
    # nibabel is loaded here, because most scans need no turning.
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform

    turn = ornt_transform(io_orientation(scan.affine), io_orientation(image.affine))
    pixels: NDArray[np.generic] = np.stack([apply_orientation(channel, turn) for channel in scan.pixels])
    spacing = [scan.spacing[axis] for axis in np.argsort(turn[:, 0])]
    affine = scan.affine @ inv_ornt_aff(turn, scan.spatial)
    turned = replace(scan, pixels=pixels, affine=affine, spacing=tuple(spacing))
    return turned if lies_on(turned, image) else scan


def lies_on(scan: Scan, image: Scan) -> bool:
    """Whether a volume has as many voxels along each axis as the image, at the same places."""
    if scan.spatial != image.spatial or scan.affine is None or image.affine is None:
        return False
    return displacement(image.spatial, image.affine, scan.affine) <= tolerance(image)


def tolerance(image: Scan) -> float:
    """Distance in mm by which voxels may lie apart: a hundredth of a voxel, of tiny ones a tenth."""
    least = min(image.spacing)
    return max(min(0.01, 0.1 * least), 0.01 * least)


def displacement(spatial: Sequence[int], affine: Affine, other: Affine) -> float:
    """Largest distance in mm between the places that two affines give to a voxel of a volume of size `spatial`.

    The difference of two affine maps is affine, so that its largest length over a box is at one of the eight corners.
    """
    corners = np.array([(*corner, 1) for corner in itertools.product(*((0, side - 1) for side in spatial))])
    return float(np.linalg.norm((corners @ (affine - other).T)[:, :3], axis=1).max())
