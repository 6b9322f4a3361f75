"""One DICOM file, decoded with pydicom: a picture, or a multi-frame volume where its geometry is stated.

Nothing that could name a patient is put into a fault: only file names, geometry and the kinds of pixels.
"""

from __future__ import annotations

import zlib
from io import BytesIO
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.encaps import generate_frames
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.sequence import Sequence
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from genseg.choices import Tilt
from genseg.errors import DataError, Fault, FaultCode
from genseg.read.case import Scan
from genseg.read.dicom_planes import Plane, make_plane, stack_planes, stack_spacing
from genseg.read.dicom_spacing import picture_spacing
from genseg.read.geometry import extent_warnings
from genseg.read.jpeg_stream import JpegFrame, read_frame
from genseg.read.pixels import Pixels, invert, inverted_warning, native, picture_modality
from genseg.read.source import Source, check_unpacked, inflated, promise_faults

_FIRST_TAG, _META_GROUP = 132, 2  # DICOM PS3.10, 7.1
_MODALITIES = {"CT": "ct", "MR": "mr", "PT": "pet"}
_KINDS = frozenset({"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"})
_OTHER_KINDS = frozenset({"ARGB", "CMYK", "HSV", "XYB"})  # DICOM PS3.3, C.7.6.3.1.2; other words may be anything
_OTHER_JPEGS = frozenset({JPEGLSLossless, JPEGLSNearLossless, JPEG2000, JPEG2000Lossless})
_JPEGS = _OTHER_JPEGS | {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}


def read(source: Source, as_mask: bool, tilt: Tilt = "stop") -> Scan:
    """Read a file of one frame as a picture `(channel, row, column)`, of several as `(channel, column, row, frame)`.

    tilt: see `ReadOptions`.

    Raises:
        DataError: MULTI_PAGE (frames without positions), UNSUPPORTED_PIXELS, UNSUPPORTED_COMPRESSION, BAD_SPACING,
            TOO_LARGE, or a SERIES_* code where the frames form no straight, even stack.
    """
    dataset = parse(source)
    check_pixels(dataset, source.name)
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        return _read_frames(dataset, source, as_mask, tilt)
    pixels, warnings = picture(dataset, source.name, as_mask)
    spacing, unit, doubts = picture_spacing(dataset, source.name)
    return Scan(
        pixels=pixels,
        spacing=spacing,
        affine=None,
        modality=modality(dataset) or picture_modality(len(pixels)),
        sha256=source.sha256,
        warnings=warnings + doubts,
        spacing_unit=unit,
    )


def parse(source: Source) -> Dataset:
    """All tags of a file, values unchecked: pydicom's remarks on them would quote them.

    Raises:
        DataError: TOO_LARGE for a deflated file that would fill the memory.
    """
    _check_deflated(source)
    with disable_value_validation():
        return dcmread(BytesIO(source.data))


def _check_deflated(source: Source) -> None:
    """pydicom inflates a file of the deflated syntax whole, tags and pixels, before anything of it is known."""
    for implicit in (False, True):  # as pydicom goes through the tags 0002, which are never deflated
        stream = BytesIO(source.data)
        stream.seek(_FIRST_TAG)
        try:
            meta = read_dataset(stream, implicit, True, stop_when=lambda tag, _, __: tag >> 16 != _META_GROUP)
            is_deflated = meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        except Exception:  # whatever is wrong with them, reading the file says it
            continue
        if is_deflated:
            rest = memoryview(source.data)[stream.tell() :]
            check_unpacked(source.name, inflated(rest, -zlib.MAX_WBITS))
            return


def modality(dataset: Dataset) -> str:
    """ "ct", "mr" or "" for anything else."""
    return _MODALITIES.get(str(dataset.get("Modality", "")), "")


def check_pixels(dataset: Dataset, name: str) -> None:
    """Refuse before decoding what holds no picture, or one of a kind that cannot be used.

    Raises:
        DataError: UNSUPPORTED_PIXELS, UNSUPPORTED_COMPRESSION or TOO_LARGE.
    """
    if "Rows" not in dataset or "SegmentSequence" in dataset:
        cure = "Give images as image objects and masks as NIfTI or PNG."
        raise DataError([_unsupported(name, "a DICOM object that is no image (report, contour, segmentation)", cure)])
    faults = []
    kind = str(dataset.get("PhotometricInterpretation", ""))
    if kind not in _KINDS and not kind.startswith("YBR"):
        found = f"pixels of {f'kind {kind}' if kind in _OTHER_KINDS else 'an unknown kind'}"
        faults.append(_unsupported(name, found, "Convert it to grey or RGB."))
    faults += promise_faults(name, promised_bytes(dataset), len(dataset.get("PixelData") or b""))
    if not _can_decode(dataset):
        faults.append(_compressed(dataset, name))
    if faults:
        raise DataError(faults)


def picture(dataset: Dataset, name: str, as_mask: bool) -> tuple[Pixels, tuple[Fault, ...]]:
    """Pixels `(channel, row, column)` of a file of one frame, bright is large, in units of the modality."""
    stored, warnings = _frames(dataset, name, as_mask)
    return native(np.moveaxis(_rescaled(stored[0], dataset), -1, 0)), warnings


def _unsupported(name: str, found: str, cure: str) -> Fault:
    return Fault(FaultCode.UNSUPPORTED_PIXELS, name, found, "a grey or RGB image", cure)


def promised_bytes(dataset: Dataset) -> int:
    """Bytes that the pixels take when decoded, as the tags say."""
    counts = [int(dataset.get(key) or 1) for key in ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel")]
    return counts[0] * counts[1] * counts[2] * counts[3] * (int(dataset.get("BitsAllocated") or 8) // 8 or 1)


def _can_decode(dataset: Dataset) -> bool:
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _compressed(dataset: Dataset, name: str) -> Fault:
    syntax = dataset.file_meta.TransferSyntaxUID
    known = syntax.name != str(syntax)  # what is in the place of a syntax that is not may be anything
    return Fault(
        FaultCode.UNSUPPORTED_COMPRESSION,
        name,
        f"pixels compressed as {syntax.name}" if known else "pixels of an unknown compression",
        "a compression that is installed here",
        "Decompress it, or install a decoder: pip install 'genseg[dicom-codecs]'",
    )


def _frames(dataset: Dataset, name: str, as_mask: bool) -> tuple[Pixels, tuple[Fault, ...]]:
    """Stored values `(frame, row, column, channel)`, inverted and coloured as the photometric kind says."""
    _check_jpeg(dataset, name)
    try:
        stored = dataset.pixel_array
    except RuntimeError:  # pydicom's word for "none of the decoders succeeded"
        raise DataError([_compressed(dataset, name)]) from None
    count, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
    frames = stored.reshape(count, int(dataset.Rows), int(dataset.Columns), samples)
    kind = dataset.PhotometricInterpretation
    if kind == "MONOCHROME1" and frames.dtype.kind in "iu":
        return invert(frames, *_stored_range(dataset)), (inverted_warning(name, "MONOCHROME1"),)
    if kind == "PALETTE COLOR" and not as_mask:
        return _eight_bits(apply_color_lut(frames[..., 0], dataset)), ()
    return frames, ()


def _check_jpeg(dataset: Dataset, name: str) -> None:
    """Raise UNREADABLE for a JPEG stream that is damaged, or whose picture is another than the tags say."""
    if dataset.file_meta.TransferSyntaxUID not in _JPEGS:
        return
    told = (int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel") or 1))
    for stream in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        frame = read_frame(stream)
        if frame is None or (frame.rows, frame.columns, frame.samples) != told or not _bits_agree(frame, dataset):
            cure = "Copy or export the file again."
            expected = "a whole JPEG image of the size that the tags say"
            fault = Fault(FaultCode.UNREADABLE, name, "a damaged or different JPEG image inside", expected, cure)
            raise DataError([fault])


def _bits_agree(frame: JpegFrame, dataset: Dataset) -> bool:
    """Whether the tags leave room for the picture's bits, in a way that GDCM bears."""
    allocated, stored = int(dataset.BitsAllocated), int(dataset.BitsStored)
    least = 8 if allocated == 8 and dataset.file_meta.TransferSyntaxUID not in _OTHER_JPEGS else 1
    return allocated in (8, 16) and frame.bits <= allocated and least <= stored <= allocated


def _stored_range(dataset: Dataset) -> tuple[int, int]:
    """Smallest and largest value that the stored bits can hold."""
    levels = 2 ** int(dataset.BitsStored)
    return (-levels // 2, levels // 2 - 1) if int(dataset.PixelRepresentation) else (0, levels - 1)


def _eight_bits(colours: Pixels) -> Pixels:
    """Palettes hold 8-bit or 16-bit colours."""
    return colours if colours.dtype == np.uint8 else (colours >> 8).astype(np.uint8)


def _rescaled(stored: Pixels, tags: Dataset) -> Pixels:
    """Values in units of the modality as fractions; as stored where the tags name no scale other than 1 and 0."""
    unscaled = float(tags.get("RescaleSlope", 1)) == 1 and float(tags.get("RescaleIntercept", 0)) == 0
    if unscaled and "ModalityLUTSequence" not in tags:
        return stored
    return apply_modality_lut(stored, tags)


def _read_frames(dataset: Dataset, source: Source, as_mask: bool, tilt: Tilt) -> Scan:
    """A volume from frames that each state where they lie (DICOM PS3.3, C.7.6.16: enhanced CT and MR)."""
    order, affine = stack_planes(frame_planes(dataset, source.name), source.name, tilt)
    stored, warnings = _frames(dataset, source.name, as_mask)
    frames = [_rescaled(stored[index], _frame_scale(dataset, index)) for index in order]
    pixels = volume([np.moveaxis(frame, -1, 0) for frame in frames])
    spacing, leaning = stack_spacing(affine, pixels.shape[1:], source.name)
    warnings += (*leaning, *extent_warnings(pixels.shape[1:], spacing, source.name))
    return Scan(pixels, spacing, affine, modality(dataset), source.sha256, warnings)


def frame_planes(dataset: Dataset, name: str) -> list[Plane]:
    """Where each frame of a file of several lies.

    Raises:
        DataError: MULTI_PAGE (frames without positions), BAD_AFFINE or BAD_SPACING.
    """
    if "PerFrameFunctionalGroupsSequence" not in dataset:
        raise DataError([_unplaced(dataset, name)])
    return [_frame_plane(dataset, index, name) for index in range(int(dataset.NumberOfFrames))]


def volume(pictures: list[Pixels]) -> Pixels:
    """`(channel, column, row, slice)` from slices `(channel, row, column)` in order."""
    return native(np.stack(pictures, axis=-1).swapaxes(1, 2))


def _unplaced(dataset: Dataset, name: str) -> Fault:
    return Fault(
        FaultCode.MULTI_PAGE,
        name,
        f"{int(dataset.NumberOfFrames)} frames without positions, as of a film",
        "one 2D image, or frames that state where they lie",
        "Export the frames that you want as single images.",
    )


def _frame_plane(dataset: Dataset, index: int, name: str) -> Plane:
    """Where a frame lies in the patient or, of an enhanced ultrasound volume, in coordinates of the transducer."""
    position = frame_item(dataset, index, "PlanePositionSequence").get("ImagePositionPatient")
    orientation = frame_item(dataset, index, "PlaneOrientationSequence").get("ImageOrientationPatient")
    if position is None and orientation is None:  # DICOM PS3.3, C.8.24.3: Enhanced US Volume
        position = frame_item(dataset, index, "PlanePositionVolumeSequence").get("ImagePositionVolume")
        orientation = frame_item(dataset, index, "PlaneOrientationVolumeSequence").get("ImageOrientationVolume")
    spacing = frame_item(dataset, index, "PixelMeasuresSequence").get("PixelSpacing")
    return make_plane(f"{name} (frame {index + 1})", position, orientation, spacing)


def _frame_scale(dataset: Dataset, index: int) -> Dataset:
    return frame_item(dataset, index, "PixelValueTransformationSequence")


def frame_item(dataset: Dataset, index: int, keyword: str) -> Dataset:
    """A frame's own group of tags, else the one that all frames share, else an empty one."""
    shared: Any = dataset.get("SharedFunctionalGroupsSequence") or [Dataset()]
    for groups in (dataset.PerFrameFunctionalGroupsSequence[index], shared[0]):
        items: Sequence | None = groups.get(keyword)
        if items:
            return items[0]
    return Dataset()
