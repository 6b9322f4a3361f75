"""Writing a predicted label map as a DICOM Segmentation, which an archive files beside the images that it belongs to.

Source: DICOM PS3.3, A.51 (Segmentation IOD). The object is made by highdicom (Bridge et al., Journal of Digital
Imaging 35, 2022).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import generate_uid

from genseg.base.files import atomic_write_bytes, file_name, printable
from genseg.drawing.overlays import class_colours
from genseg.errors import DataError, Fault, FaultCode, MissingExtraError
from genseg.read import stem
from genseg.read.formats import Format
from genseg.read.source import decoding
from genseg.write.dicom_source import DicomSource, read_dicom_source

if TYPE_CHECKING:
    from highdicom.seg import Segmentation, SegmentDescription

SERIES_NUMBER = 1000
"""The result's series number is this more than that of the images, so that it stands after them in their study."""

_MAKER = "genseg"
_LONGEST_TEXT = 64  # characters of a Long String, DICOM PS3.5, 6.2
_LARGEST_NUMBER = 10**6


def write_dicom_seg(
    mask: NDArray[np.uint8], like: Path, folder: Path, class_names: Sequence[str], name: str | None = None
) -> Path:
    """Write a mask as a DICOM Segmentation of the images that it was made for, and return the path written.

    It holds one binary segment for each foreground class, absent ones too, labelled with the class's name. Of what a
    class is only that name is known: each is coded as "Anatomical Structure", "Tissue" (SNOMED CT), the most general
    pair. The algorithm is "genseg", automatic. Frames without foreground are left out where there is any at all.

    An archive files it by patient and study, so these are copied from the images: unlike all else that genseg writes,
    the result carries the patient's identity. It is a new series, with new identifiers whenever it is written.

    mask: `(*spatial)` class indices, in the axes that `read_image(like)` gave.
    like: a DICOM file, or the folder of a DICOM series.
    folder: an existing folder for the result, NAME.dcm.
    class_names: by class index, background first, with at least one foreground class.
    name: the result's name without suffix; that of `like` where None.

    Raises:
        MissingExtraError: highdicom is not installed.
        DataError: `like` is no DICOM image, lacks what a reference to it needs (study, series, instance, frame of
            reference), or is of a kind that no segmentation can refer to, such as a film.
        ValueError: the mask has another shape than the images, or holds a value that is no class.
        OSError: the folder cannot be written, or the disk is full.
    """
    _require_highdicom()
    source = read_dicom_source(like)
    frames = source.stored_order(mask)
    if frames.max(initial=0) >= len(class_names):
        raise ValueError(f"a mask with the value {frames.max()} for {len(class_names)} classes")
    content = BytesIO()
    with decoding(printable(like), Format.DICOM), _referring(printable(like)):
        _segmentation(source, frames, class_names).save_as(content, enforce_file_format=True)
    path = folder / file_name(name or stem(like), ".dcm")
    atomic_write_bytes(path, content.getvalue())
    return path


def _require_highdicom() -> None:
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise MissingExtraError("highdicom", "dicom-seg", "writing DICOM segmentations") from None


@contextmanager
def _referring(name: str) -> Iterator[None]:
    """Turn highdicom's refusal of an image into a fault, without its words, which can quote a patient's name."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        found = f"a DICOM image that no segmentation can refer to ({type(error).__name__})"
        cure = "Export it again from its source, or write its mask as PNG or NIfTI instead."
        fault = Fault(FaultCode.UNSUPPORTED_PIXELS, name, found, "images as the scanner wrote them", cure)
        raise DataError([fault]) from None


def _segmentation(source: DicomSource, frames: NDArray[np.uint8], class_names: Sequence[str]) -> Segmentation:
    """frames: `(frame, row, column)` class indices, a frame for each of the source's."""
    from highdicom.seg import Segmentation, SegmentationTypeValues

    number = abs(int(source.images[0].get("SeriesNumber") or 0)) % _LARGEST_NUMBER
    segmentation = Segmentation(
        source_images=source.images,
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(class_names),
        series_instance_uid=generate_uid(prefix=None),
        series_number=SERIES_NUMBER + number,
        series_description="Segmentation by genseg",
        sop_instance_uid=generate_uid(prefix=None),
        instance_number=1,
        manufacturer=_MAKER,
        manufacturer_model_name=_MAKER,
        software_versions=version("genseg"),
        device_serial_number="none",  # the standard lets it be neither absent nor empty
        content_label="SEGMENTATION",
        content_description="Predicted by genseg, not reviewed",
        omit_empty_frames=bool(frames.any()),  # a segmentation must have a frame
        specific_character_set="ISO_IR 192",  # UTF-8: a class can have any name
    )
    segmentation.ContentCreatorName = ""  # no person has made it
    for element in source.personal:
        segmentation.add(element)
    for measures in segmentation.SharedFunctionalGroupsSequence[0].get("PixelMeasuresSequence", ()):
        measures.setdefault("SliceThickness", None)  # unknown of a single picture, but highdicom reads none without it
    return segmentation


def _descriptions(class_names: Sequence[str]) -> list[SegmentDescription]:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
    from pydicom.sr.codedict import codes

    algorithm = AlgorithmIdentificationSequence(_MAKER, codes.DCM.ArtificialIntelligence, version("genseg"))
    colours = class_colours(len(class_names) - 1)
    return [
        SegmentDescription(
            segment_number=number,
            segment_label=_label(label, number),
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            display_color=CIELabColor.from_rgb(*colour),
        )
        for number, (label, colour) in enumerate(zip(class_names[1:], colours, strict=True), 1)
    ]


def _label(label: str, number: int) -> str:
    """A class's name as a Long String: one line without backslashes, cut where it is too long."""
    return printable(label).replace("\\", "/").strip()[:_LONGEST_TEXT].strip() or f"class {number}"
