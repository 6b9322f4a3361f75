"""NIfTI volumes (.nii, .nii.gz), decoded with nibabel's header classes.

The header is read without nibabel's own repairs, since these make a zero or negative spacing look right.
"""

from __future__ import annotations

import gzip
from io import BytesIO
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Header
from nibabel.nifti2 import Nifti2Header
from nibabel.volumeutils import apply_read_scaling

from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import Scan
from genseg.read.formats import Format
from genseg.read.geometry import (
    Affine,
    affine_faults,
    bad_affine,
    bad_spacing,
    extent_warnings,
    spacing_faults,
    spacing_of,
)
from genseg.read.options import ReadOptions
from genseg.read.pixels import Pixels, native
from genseg.read.source import Source, empty_axis, promise_faults, truncated

AFFINE_TOLERANCE_MM = 0.1
"""Where sform and qform place no voxel further apart than this, they are the same."""

_ZOOM_TOLERANCE = 0.01  # relative difference between pixdim and the affine's steps that is no rounding
_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # metre, millimetre, micrometre; NIfTI-1 standard, XYZT_UNITS
_UNIT_BITS = 7
_CHUNK = 2**20
_MOST_BEYOND = 2**26
_UNCHANGED_LINE_ENDS = (b"\r\n\x1a\n", bytes(4))  # the field eol_check of NIfTI-2, written by some as zeros


def read(source: Source, options: ReadOptions) -> Scan:
    """Read one volume as `(channel, i, j, k)`, scaled by slope and intercept to float32 where these are set.

    Trailing axes of length 1 are dropped, missing ones added: the result always has three spatial axes.

    Raises:
        DataError: BAD_SPACING, BAD_AFFINE (singular, or sform and qform disagree), UNSUPPORTED_PIXELS (RGB, complex),
            UNDECLARED_CHANNELS (a fourth axis), TOO_LARGE or UNREADABLE (ends early).
    """
    header = read_header(source)
    faults = _header_faults(header, source, options)
    if faults:
        raise DataError(faults)
    pixels = _channels_first(_scaled(header, _stored_pixels(header, source)))
    affine = affine_mm(header)
    spacing = spacing_of(affine)
    warnings = extent_warnings(pixels.shape[1:], spacing, source.name, _mm_per_unit(header))
    return Scan(
        pixels=native(pixels),
        spacing=spacing,
        affine=affine,
        modality="",
        sha256=source.sha256,
        warnings=_zoom_warnings(header, spacing, source.name) + warnings,
    )


def read_header(source: Source) -> Nifti1Header:
    """The header as stored, but for one thing: where it leaves open to which side the qform's third axis points, to 1.

    Source: nifti1.h, method 2, on pixdim[0]; old programs left it 0.
    """
    head = _content(source, Nifti2Header.sizeof_hdr)
    if head[344:348] == b"n+1\0":
        header = Nifti1Header(head[: Nifti1Header.sizeof_hdr], check=False)
    else:
        header = Nifti2Header(head, check=False)
    if header["pixdim"][0] == 0:
        header["pixdim"][0] = 1
    return header


def affine_mm(header: Nifti1Header) -> Affine:
    """Voxel index to RAS+ mm: sform, else qform, else the spacing alone, in that order, as nibabel does."""
    affine = np.asarray(header.get_best_affine(), np.float64)
    return np.diag([_mm_per_unit(header)] * 3 + [1.0]) @ affine


def spatial_axes(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Lengths of the three spatial axes of a stored shape that may have fewer or more axes."""
    first, second, third = (*shape, 1, 1, 1)[:3]
    return first, second, third


def _mm_per_unit(header: Nifti1Header) -> float:
    return _MM_PER_UNIT.get(int(header["xyzt_units"]) & _UNIT_BITS, 1.0)


def _content(source: Source, count: int) -> bytes:
    """The first `count` bytes of the uncompressed file."""
    if source.format is Format.NIFTI:
        return source.data[:count]
    with gzip.GzipFile(fileobj=BytesIO(source.data)) as stream:
        return stream.read(count)


def _checked_content(source: Source, count: int) -> bytes:
    """As `_content`, and compressed files are read on to the checksum at their end, which is compared; not too far."""
    if source.format is Format.NIFTI:
        return source.data[:count]
    with gzip.GzipFile(fileobj=BytesIO(source.data)) as stream:
        content = stream.read(count)
        beyond = 0
        while (piece := stream.read(_CHUNK)) and beyond <= _MOST_BEYOND:
            beyond += len(piece)
    if beyond > _MOST_BEYOND:
        found = f"a compressed file that goes on for {beyond} bytes after its pixels, and may do so for ever"
        expected, cure = f"at most {_MOST_BEYOND}", "Copy or export the file again."
        raise DataError([Fault(FaultCode.UNREADABLE, source.name, found, expected, cure)])
    return content


def _header_faults(header: Nifti1Header, source: Source, options: ReadOptions) -> list[Fault]:
    shape, name = header.get_data_shape(), source.name
    faults = _damage_faults(header, name) + _kind_faults(header, name) + _axis_faults(shape, name, options)
    faults += promise_faults(name, _scaled_bytes(header), len(source.data))
    if not 0 <= header.get_data_offset() <= _MOST_BEYOND:
        found = f"pixels that begin at byte {header.get_data_offset()}"
        cure = "Copy or export the file again."
        faults.append(Fault(FaultCode.UNREADABLE, name, found, f"at most {_MOST_BEYOND}", cure))
    spacing = [float(zoom) for zoom in header["pixdim"][1 : 1 + min(len(shape), 3)]]
    return faults + (spacing_faults(spacing, name) or _affine_faults(header, name))


def _damage_faults(header: Nifti1Header, name: str) -> list[Fault]:
    """UNREADABLE for pixels that would begin inside of the header, and for what a transfer as text has changed."""
    faults = []
    cure = "Copy or export the file again."
    if header.get_data_offset() < header.single_vox_offset:
        found = f"pixels that begin at byte {header.get_data_offset()}, inside of the header"
        expected = f"byte {header.single_vox_offset} or later"
        faults.append(Fault(FaultCode.UNREADABLE, name, found, expected, cure))
    if "eol_check" in header.keys() and header["eol_check"].tobytes() not in _UNCHANGED_LINE_ENDS:  # noqa: SIM118
        found = "a file whose bytes were changed by a transfer as text"
        faults.append(Fault(FaultCode.UNREADABLE, name, found, "a copy that is equal byte by byte", cure))
    return faults


def _pixel_bytes(header: Nifti1Header) -> int:
    voxels = 1
    for length in header.get_data_shape():
        voxels *= int(length)
    return voxels * int(header.get_data_dtype().itemsize)


def _scaled_bytes(header: Nifti1Header) -> int:
    """What the voxels take when they are scaled to fractions: at least four bytes each."""
    itemsize = int(header.get_data_dtype().itemsize)
    return _pixel_bytes(header) // itemsize * max(itemsize, 4)


def _kind_faults(header: Nifti1Header, name: str) -> list[Fault]:
    if header.get_data_dtype().kind in "iuf":
        return []
    kind = header.get_value_label("datatype")
    cure = "Convert it to a scalar volume."
    return [Fault(FaultCode.UNSUPPORTED_PIXELS, name, f"voxels of type {kind}", "one number per voxel", cure)]


def _axis_faults(shape: tuple[int, ...], name: str, options: ReadOptions) -> list[Fault]:
    if not shape or min(shape) < 1:
        return [empty_axis(name, shape)]
    extra = [length for length in shape[3:] if length > 1]
    if not extra or (len(extra) == 1 and options.channels_last_axis):
        return []
    return [
        Fault(
            FaultCode.UNDECLARED_CHANNELS,
            name,
            f"{len(shape)} axes, {' x '.join(map(str, shape))}",
            "three spatial axes, and a fourth only where the dataset declares its channels",
            "Declare the channels in dataset.json, or save one volume per file.",
        )
    ]


def _affine_faults(header: Nifti1Header, name: str) -> list[Fault]:
    if int(header["qform_code"]) > 0 and not np.isfinite(_qform_numbers(header)).all():
        return [bad_affine(name, "a qform with NaN or infinity", "finite numbers")]
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    for affine in (sform, qform):
        faults = [] if affine is None else affine_faults(affine, name)
        if faults:
            return faults
    if sform is None or qform is None:
        return []
    distance = _largest_distance(sform, qform, header.get_data_shape()) * _mm_per_unit(header)
    if distance <= AFFINE_TOLERANCE_MM:
        return []
    found = f"sform and qform that place voxels up to {distance:.3g} mm apart"
    return [bad_affine(name, found, f"the same place within {AFFINE_TOLERANCE_MM} mm")]


def _qform_numbers(header: Nifti1Header) -> list[float]:
    fields = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
    return [float(header[field]) for field in fields]


def _largest_distance(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """Largest distance between where two affines place a voxel: it is found at a corner of the volume."""
    last = np.array(spatial_axes(shape)) - 1
    corners = np.stack(np.meshgrid(*((0, index) for index in last)), axis=-1).reshape(-1, 3)
    offsets = corners @ (first - second)[:3, :3].T + (first - second)[:3, 3]
    return float(np.linalg.norm(offsets, axis=1).max())


def _stored_pixels(header: Nifti1Header, source: Source) -> Pixels:
    """Voxels as stored, in the file's own axes; raises where the file ends before them."""
    end = header.get_data_offset() + _pixel_bytes(header)
    content = _checked_content(source, end)
    if len(content) < end:
        raise DataError([truncated(source.name, source.format, len(content), end)])
    return np.asarray(header.raw_data_from_fileobj(BytesIO(content)))


def _scaled(header: Nifti1Header, stored: Pixels) -> Pixels:
    slope, intercept = header.get_slope_inter()
    if slope is None or (slope == 1.0 and intercept == 0.0):
        return stored
    return np.asarray(apply_read_scaling(stored, slope, intercept))


def _channels_first(pixels: Pixels) -> Pixels:
    """`(channel, i, j, k)` from a stored shape whose one longer axis after the third, if any, holds channels."""
    spatial: Any = spatial_axes(pixels.shape)
    return np.moveaxis(pixels.reshape(*spatial, -1), -1, 0)


def _zoom_warnings(header: Nifti1Header, spacing: tuple[float, ...], name: str) -> tuple[Fault, ...]:
    """A warning where the header's two statements of the spacing differ; the affine's is used."""
    zooms = np.array(header["pixdim"][1:4], np.float64) * _mm_per_unit(header)
    stated = zooms[: len(header.get_data_shape())]
    if np.allclose(stated, spacing[: len(stated)], rtol=_ZOOM_TOLERANCE, atol=0):
        return ()
    found = f"pixdim of {np.round(stated, 4).tolist()} mm but an affine of {np.round(spacing, 4).tolist()} mm"
    fault = bad_spacing(name, found, "the same spacing in both")
    return (Fault(fault.code, fault.file, fault.found, fault.expected, "The affine's is used.", stops=False),)
