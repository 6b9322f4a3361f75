"""Which DICOM images are of one patient, by their headers, without anything of the headers leaving this file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pydicom
from pydicom.filereader import read_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from genseg.base.files import printable
from genseg.errors import DataError
from genseg.index.listing import is_dicom
from genseg.read.case import CaseFiles
from genseg.read.formats import Format
from genseg.read.source import decoding

_TAGS = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID")
_NO_IDENTITY = frozenset(
    {"", "0", "na", "n/a", "nan", "none", "null", "unknown", "removed", "deidentified", "de-identified", "patient"}
    | {"anon", "anonym", "anonymous", "anonymized", "anonymised", "anonymous patient", "id", "test", "phantom", "xxx"}
)
Identity = tuple[str, ...]
"""What a header holds under each of `_TAGS`; "" where it says nothing."""


def dicom_patients(cases: Sequence[CaseFiles]) -> tuple[list[str] | None, Literal["DICOM headers", "DICOM studies"]]:
    """The patient of each case, called by the first of its cases, and what told them apart.

    None where the images are not all DICOM, or their headers tell nobody from anybody. Without patient identifiers
    ("DICOM studies") something is known only where several cases share a study or frame of reference.
    """
    identities = [_identity(case.images[0]) for case in cases]
    if not identities or any(identity is None for identity in identities):
        return None, "DICOM headers"
    columns = [_telling(column) for column in zip(*(i for i in identities if i is not None), strict=True)]
    first = _joined(columns, len(cases))
    names = [cases[place].name for place in first]
    if any(columns[0]):
        return names, "DICOM headers"
    return (names if len(set(first)) < len(first) else None), "DICOM studies"


def _telling(values: Iterable[str]) -> list[str]:
    """The values of one tag; all empty where they are the same in all cases, as after anonymisation."""
    kept = ["" if value.strip().lower() in _NO_IDENTITY else value.strip() for value in values]
    return [""] * len(kept) if len(set(kept)) == 1 else kept


def _joined(columns: Sequence[Sequence[str]], count: int) -> list[int]:
    """For each case the place of the first case that it shares a value with, over chains of cases."""
    pairs: list[tuple[int, int]] = []
    for column in columns:
        first: dict[str, int] = {}
        pairs += [(first.setdefault(value, place), place) for place, value in enumerate(column) if value]
    rows, others = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    links = coo_array((np.ones(len(pairs)), (rows, others)), shape=(count, count))
    _, component = connected_components(links, directed=False)
    _, first_places, which = np.unique(component, return_index=True, return_inverse=True)
    places: list[int] = first_places[which].tolist()
    return places


def _identity(image: Path) -> Identity | None:
    """The identity in the header of a DICOM file, or of the first file of a series; None where it cannot be told."""
    try:
        files = sorted(path for path in image.iterdir() if path.is_file()) if image.is_dir() else [image]
        file = next((path for path in files if is_dicom(path)), None)
        if file is None:
            return None
        with decoding(printable(file), Format.DICOM):
            return _read(file)
    except (DataError, OSError):  # for the reader to say
        return None


def _read(file: Path) -> Identity | None:
    # A deflated file is inflated whole before a tag can be read, and may be a bomb.
    if read_file_meta_info(file).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        return None
    header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
    return tuple(str(header.get(tag, "")) for tag in _TAGS)
