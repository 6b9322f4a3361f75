"""Writing a dataset of arrays in the layout that is read first: `images/`, `masks/` and `dataset.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PICTURE_CHANNELS = (1, 3)
"""Channels that a PNG can have, gray and RGB."""


def write_pair(
    folder: Path, name: str, image: NDArray[np.generic], mask: NDArray[np.uint8], spacing: Sequence[float] | None
) -> tuple[Path, Path]:
    """Write `images/NAME` and `masks/NAME`; returns both paths relative to `folder`.

    image: `(channel, *spatial)`. Gray and RGB of uint8 become PNG, other pictures TIFF with their values as they are,
    volumes compressed NIfTI, channels last. mask: `(*spatial)` class indices. spacing: mm along the axes of a volume,
    which is taken to lie in RAS+ voxel order; None for pictures.
    """
    for part in ("images", "masks"):
        (folder / part).mkdir(exist_ok=True)
    if spacing is not None:
        volume = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        paths = Path("images", f"{name}.nii.gz"), Path("masks", f"{name}.nii.gz")
        for pixels, path in zip((volume, mask), paths, strict=True):
            _write_nifti(pixels, folder / path, spacing)
        return paths
    is_png = image.dtype == np.uint8 and len(image) in PICTURE_CHANNELS
    paths = Path("images", f"{name}.png" if is_png else f"{name}.tif"), Path("masks", f"{name}.png")
    Image.fromarray(mask).save(folder / paths[1])
    picture = np.moveaxis(image, 0, -1) if len(image) > 1 else image[0]
    if is_png:
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / paths[0])
    else:
        _write_tiff(picture, folder / paths[0])
    return paths


def write_description(
    folder: Path,
    class_names: Sequence[str],
    pairs: Sequence[tuple[Path, Path]],
    channel_names: Sequence[str],
    **more: str,
) -> None:
    """Write `dataset.json`: class names, background first, and `more` as it is.

    pairs: as `write_pair` returned them. channel_names: one a channel, or none; volumes of several channels need them.
    These are listed too, as the Medical Segmentation Decathlon does it: no other layout says that the last axis holds
    channels.
    """
    description: dict[str, Any] = {**more, "class_names": list(class_names)}
    if channel_names:
        description["channel_names"] = {str(number): name for number, name in enumerate(channel_names)}
    if len(channel_names) > 1 and pairs and pairs[0][0].suffix == ".gz":
        description["training"] = [{"image": image.as_posix(), "label": mask.as_posix()} for image, mask in pairs]
    (folder / "dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="ascii")


def _write_nifti(pixels: NDArray[np.generic], path: Path, spacing: Sequence[float]) -> None:
    import nibabel

    volume = nibabel.Nifti1Image(pixels, np.diag([*spacing, 1.0]))
    volume.header.set_xyzt_units("mm")
    nibabel.save(volume, path)


def _write_tiff(picture: NDArray[np.generic], path: Path) -> None:
    from tifffile import imwrite

    is_rgb = picture.shape[2:] == (3,)
    planar = "contig" if picture.ndim == 3 else None
    imwrite(path, picture, photometric="rgb" if is_rgb else "minisblack", planarconfig=planar, metadata=None)
