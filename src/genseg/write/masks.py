"""Writing a mask in the very geometry, and where it can be the very format, of the image that it belongs to."""

from __future__ import annotations

import errno
import gzip
import logging
import os
from collections.abc import Sequence
from io import BytesIO
from itertools import chain
from pathlib import Path
from shutil import disk_usage

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path, atomic_write_bytes, file_name
from genseg.read import ReadOptions, read_image, stem
from genseg.read.case import Scan
from genseg.read.formats import Format
from genseg.read.source import Source, decoding, is_folder, read_source

Mask = NDArray[np.uint8]
Colour = tuple[int, int, int]

_FREE_TEXT = frozenset({"descrip", "aux_file", "db_name", "data_type", "intent_name", "unused_str"})  # may hold names
_SILENT = logging.Logger("mended headers")
_SILENT.addHandler(logging.NullHandler())
_SCANNER_SPACE = 1  # NIfTI-1 standard, NIFTI_XFORM_SCANNER_ANAT


def write_mask(
    mask: Mask, like: Path, folder: Path, palette: Sequence[Colour] | None = None, name: str | None = None
) -> Path:
    """Write a mask so that it lies on the image it was made for, and return the path written.

    The format follows the image: a picture (PNG, JPEG, BMP, TIFF, one DICOM frame) gives a PNG of class indices, a
    stack of TIFF pages a TIFF of as many pages that states the size of its voxels in the same way (ImageJ's, OME's),
    NIfTI gives NIfTI, compressed or not, with a header of equal geometry, NRRD and MetaImage give the same in one file,
    and a DICOM volume gives compressed NIfTI. The result appears in one step. Free text of the image's header is not
    copied.

    mask: `(*spatial)` class indices, in the axes that `read_image(like)` gave.
    like: the image: a file, or the folder of a DICOM series.
    folder: an existing folder for the result.
    palette: RGB colours 0..255 of classes 0, 1, ...: makes an indexed PNG. Other formats have none.
    name: the result's name without suffix; that of `like` where None. Too long a name is cut, see `file_name`.

    Raises:
        DataError: the image cannot be read.
        MissingExtraError: NRRD or MetaImage without SimpleITK.
        ValueError: a volume's mask has another shape than the volume.
        OSError: the folder cannot be written, or the disk is full.
    """
    target = folder / (name or stem(like))
    source = None if is_folder(like) else read_source(like)
    if source and source.format in {Format.NIFTI, Format.NIFTI_GZ}:
        return _write_nifti(mask, source, target)
    if source and source.format in {Format.NRRD, Format.META}:
        return _write_itk(mask, source, target)
    if mask.ndim == 2:
        return _write_png(mask, target, palette)
    if source and source.format is Format.TIFF:
        return _write_pages(mask, source, target)
    # Whether it may lean was decided when it was read.
    return _write_new_nifti(mask, read_image(like, ReadOptions(tilt="straighten")), target)


def _named(target: Path, suffix: str) -> Path:
    """`target` may hold dots of its own, so that `Path.with_suffix` would cut its name."""
    return target.with_name(file_name(target.name, suffix))


def _write_png(mask: Mask, target: Path, palette: Sequence[Colour] | None) -> Path:
    from PIL import Image

    picture = Image.fromarray(mask)
    if palette is not None:
        picture.putpalette(bytes(chain.from_iterable(palette)))
    content = BytesIO()
    picture.save(content, format="PNG")
    path = _named(target, ".png")
    atomic_write_bytes(path, content.getvalue())
    return path


def _write_pages(mask: Mask, source: Source, target: Path) -> Path:
    """A stack of pages that says of its voxels what the image's file says, in the same way: ImageJ's, OME's or none."""
    from tifffile import TiffFile, imwrite

    from genseg.read.tiff_spacing import like_source

    pages = np.ascontiguousarray(np.moveaxis(mask, -1, 0))
    with decoding(source.name, source.format), TiffFile(BytesIO(source.data)) as tiff:
        arguments = like_source(tiff, pages)
    content = BytesIO()
    imwrite(content, pages, photometric="minisblack", **arguments)
    path = _named(target, ".ome.tif" if arguments.get("ome") else ".tif")
    atomic_write_bytes(path, content.getvalue())
    return path


def _write_nifti(mask: Mask, source: Source, target: Path) -> Path:
    """NIfTI with the image's own header: sform, qform, their codes, spacing and units stay bit by bit."""
    from nibabel.nifti1 import Nifti1Image
    from nibabel.nifti2 import Nifti2Header, Nifti2Image

    from genseg.read.nifti import read_header, spatial_axes

    with decoding(source.name, source.format):
        header = read_header(source)
        stored_shape = header.get_data_shape()[:3]
        header.check_fix(logger=_SILENT, error_level=None)  # else nibabel does it below, and raises or prints
    _check_shape(mask, spatial_axes(stored_shape))
    header.set_data_dtype(np.uint8)
    header["cal_min"] = header["cal_max"] = 0  # the display window of the image
    for field in _FREE_TEXT.intersection(header.keys()):
        header[field] = b""
    image_class: type[Nifti1Image] = Nifti2Image if isinstance(header, Nifti2Header) else Nifti1Image
    content = image_class(mask.reshape(stored_shape), None, header).to_bytes()
    return _write_nifti_bytes(content, target, compressed=source.format is Format.NIFTI_GZ)


def _write_new_nifti(mask: Mask, image: Scan, target: Path) -> Path:
    """Compressed NIfTI for a volume of a format that has no masks of its own; its affine goes into the sform."""
    from nibabel.nifti1 import Nifti1Image

    _check_shape(mask, image.spatial)
    volume = Nifti1Image(mask, image.affine)
    volume.header.set_sform(image.affine, _SCANNER_SPACE)
    volume.header.set_xyzt_units("mm")
    return _write_nifti_bytes(volume.to_bytes(), target, compressed=True)


def _write_nifti_bytes(content: bytes, target: Path, compressed: bool) -> Path:
    path = _named(target, ".nii.gz" if compressed else ".nii")
    atomic_write_bytes(path, gzip.compress(content, compresslevel=6, mtime=0) if compressed else content)
    return path


def _write_itk(mask: Mask, source: Source, target: Path) -> Path:
    from genseg.read.itk import load_simpleitk, open_header
    from genseg.read.itk_files import stored_pixels, with_unit

    simpleitk = load_simpleitk()
    with decoding(source.name, source.format):
        header = open_header(source)
    _check_shape(mask, header.GetSize() if mask.ndim == 3 else header.GetSize()[::-1])
    image = simpleitk.GetImageFromArray(mask.T if mask.ndim == 3 else mask)
    image.SetOrigin(header.GetOrigin())
    image.SetSpacing(header.GetSpacing())
    image.SetDirection(header.GetDirection())
    path = _named(target, ".nrrd" if source.format is Format.NRRD else ".mha")
    unit = stored_pixels(source).unit
    with atomic_path(path) as temporary:
        try:
            simpleitk.WriteImage(image, str(temporary), useCompression=True)
        except RuntimeError:  # all that it says of a disk that is full
            number = errno.ENOSPC if disk_usage(path.parent).free < mask.nbytes else errno.EIO
            raise OSError(number, os.strerror(number), str(path)) from None
        if unit not in (None, "mm"):
            temporary.write_bytes(with_unit(temporary.read_bytes(), source.format, str(unit), mask.ndim))
    return path


def _check_shape(mask: Mask, shape: Sequence[int]) -> None:
    if mask.shape != tuple(shape):
        raise ValueError(f"a mask of shape {mask.shape} for an image of shape {tuple(shape)}")
