"""The DICOM objects that a scan was read from, in its own order, for what is written to refer to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import DataElement, Dataset
from pydicom.valuerep import DSfloat

from genseg.base.files import printable
from genseg.errors import DataError, Fault, FaultCode
from genseg.read import dicom
from genseg.read.dicom_planes import make_plane, stack_planes
from genseg.read.dicom_series import series_tags
from genseg.read.formats import Format
from genseg.read.geometry import bad_affine
from genseg.read.source import decoding, is_folder, read_source

_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_SHARED = ("StudyInstanceUID", "FrameOfReferenceUID")
_PERSONAL = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate"),
    *("StudyTime", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class DicomSource:
    """What a scan was read from, fit to be referred to.

    images: tags without pixels: one file a slice, in the order of the scan's slices, or one file alone. All slices have
        the orientation of the first. The tags in `personal` are empty in the first.
    frames: for each slice of the scan, its place among the frames of `images`.
    personal: whose study it is, value by value as stored, valid or not: highdicom would refuse or log some of them.
    """

    images: list[Dataset]
    frames: list[int]
    personal: list[DataElement]

    def stored_order(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask `(row, column)` or `(column, row, slice)` as `(frame, row, column)`, one frame for each of `images`.

        Raises ValueError where it has another shape than the images.
        """
        slices = mask[None] if mask.ndim == 2 else mask.transpose(2, 1, 0)
        shape = (len(self.frames), int(self.images[0].Rows), int(self.images[0].Columns))
        if slices.shape != shape or (mask.ndim == 2) != (len(self.frames) == 1):
            raise ValueError(f"a mask of shape {mask.shape} for images (image, row, column) of shape {shape}")
        stored = np.empty_like(slices, order="C")
        stored[self.frames] = slices
        return stored


def read_dicom_source(path: Path) -> DicomSource:
    """Read what `genseg.read.read_image(path)` makes a scan of; `path` is a file, or the folder of a series.

    Raises:
        DataError: as `read_image` does, UNKNOWN_FORMAT for other formats, and UNREADABLE, SERIES_MIXED or BAD_AFFINE
            where the files lack what a reference to them needs.
    """
    name = printable(path)
    with decoding(name, Format.DICOM):
        images, frames = _read(path, name)
        faults = _reference_faults(images, len(frames) > 1, name)
        if faults:
            raise DataError(faults)
        first = images[0]
        first.decode()  # into text, all of it: what is written may be in another character set
        personal = [first[keyword] for keyword in _PERSONAL if keyword in first]
        for keyword in _PERSONAL:
            first.pop(keyword, None)  # a value that is set would change the element above, which is kept
            setattr(first, keyword, "")
        _align(images, frames, name)
    return DicomSource(images, frames, personal)


def _read(path: Path, name: str) -> tuple[list[Dataset], list[int]]:
    images = series_tags(path) if is_folder(path) else [_read_file(path)]
    frames = list(range(len(images)))
    if len(images) == 1:
        dicom.check_pixels(images[0], name)
        if int(images[0].get("NumberOfFrames") or 1) > 1:
            frames, _ = stack_planes(dicom.frame_planes(images[0], name), name, "straighten")
    for image in images:
        image.pop("PixelData", None)
    return images, frames


def _read_file(path: Path) -> Dataset:
    source = read_source(path)
    if source.format is Format.DICOM:
        return dicom.parse(source)
    cure = "Write its mask in the format of the image instead."
    raise DataError([Fault(FaultCode.UNKNOWN_FORMAT, source.name, f"a {source.format} file", "a DICOM image", cure)])


def _reference_faults(images: Sequence[Dataset], is_volume: bool, name: str) -> list[Fault]:
    faults = []
    cure = "Export the images again from their source."
    absent = [keyword for keyword in _IDENTIFIERS if not all(image.get(keyword) for image in images)]
    if absent:
        found = f"images without {', '.join(absent)}"
        faults.append(Fault(FaultCode.UNREADABLE, name, found, "images that can be referred to", cure))
    for keyword in _SHARED:
        values = {str(image.get(keyword, "")) for image in images}
        if len(values) > 1:
            found = f"images with {len(values)} values of {keyword}"
            faults.append(Fault(FaultCode.SERIES_MIXED, name, found, "one", cure))
    placed = is_volume or "ImagePositionPatient" in images[0]
    if placed and not all(image.get("FrameOfReferenceUID") for image in images):
        found = "images without FrameOfReferenceUID"
        faults.append(bad_affine(name, found, "the coordinates that a segmentation shares with them"))
    return faults


def _align(images: Sequence[Dataset], frames: Sequence[int], name: str) -> None:
    """State orientation, spacing and thickness once for all slices, as the reader takes them."""
    first = images[0]
    if "PerFrameFunctionalGroupsSequence" in first:
        _align_frames(first, frames)
    elif "ImagePositionPatient" in first:
        place, orientation = first.ImagePositionPatient, first.get("ImageOrientationPatient")
        make_plane(name, place, orientation, first.get("PixelSpacing"))
        for image in images:
            image.ImageOrientationPatient = orientation
        _state_thickness(first, [place, images[-1].ImagePositionPatient], len(images))


def _align_frames(image: Dataset, frames: Sequence[int]) -> None:
    shared = (image.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    for keyword in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
        setattr(shared, keyword, [dicom.frame_item(image, 0, keyword)])
    image.SharedFunctionalGroupsSequence = [shared]
    places = [dicom.frame_item(image, frame, "PlanePositionSequence") for frame in (frames[0], frames[-1])]
    ends = [place.get("ImagePositionPatient") for place in places]
    _state_thickness(shared.PixelMeasuresSequence[0], ends, len(frames))


def _state_thickness(tags: Dataset, ends: Sequence[Sequence[float]], slices: int) -> None:
    """The stated thickness, else the distance between slices, else none; ends: where the first and last slice lie.

    Spacing Between Slices is removed: it is often wrong, and the positions tell it.
    """
    tags.pop("SpacingBetweenSlices", None)
    if float(tags.get("SliceThickness") or 0) > 0:
        return
    tags.SliceThickness = None
    if slices > 1:
        distance = np.linalg.norm(np.subtract(*(np.array(end, np.float64) for end in ends)))
        tags.SliceThickness = DSfloat(float(distance) / (slices - 1), auto_format=True)
