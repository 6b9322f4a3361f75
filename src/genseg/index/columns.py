"""Which column of a CSV list holds what, whatever it is called.

Column names are compared without letter case, spaces and marks: `Patient ID`, `patient_id` and `PatientID` are one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from genseg.index.names import split_name

IMAGE = (
    *(
        "image",
        "images",
        "imagepath",
        "imagefile",
        "imagefilename",
        "imagename",
        "img",
        "imgpath",
        "imgfile",
        "imgname",
    ),
    *("scan", "scanpath", "scanfile", "volume", "volumepath", "picture", "photo", "dicom", "dicompath", "nifti"),
    *("input", "inputpath", "filepath", "filename", "file", "path"),
)
MASK = (
    *("mask", "masks", "maskpath", "maskfile", "maskfilename", "maskname", "segmentation", "segmentationpath"),
    *("segmentationfile", "seg", "segpath", "segfile", "groundtruth", "groundtruthpath", "gt", "gtpath", "gtfile"),
    *("annotation", "annotations", "annotationpath", "annotationfile", "labelpath", "labelfile", "labelmap", "label"),
    *("labels", "target", "targetpath"),
)
PATIENT = (
    *("patient", "patientid", "patients", "pid", "patid", "ptid", "pt", "patientno", "patientnr", "patientnumber"),
    *("subject", "subjectid", "subjid", "subid", "subj", "sub", "participant", "participantid", "person", "personid"),
    *("individual", "individualid", "volunteer", "volunteerid", "animal", "animalid", "mouse", "mouseid", "donor"),
    *("donorid", "casegroup", "mrn", "patientname"),
)
SPLIT = ("split", "subset", "partition", "usage", "datasplit", "splitname", "datasetsplit")
SPLIT_BY_VALUES = ("set", "phase", "fold", "dataset", "data", "group", "cohort", "stage", "mode", "role", "purpose")
"""Names that columns of other kinds have too: taken for the split where all values are words for a split."""

PRIVATE = frozenset({"mrn", "patientname"})
"""Columns whose values are never shown."""

_SPLIT_FLAGS = frozenset({"istrain", "istest", "isval", "isvalidation", "intest", "holdout", "heldout", "traintest"})
_IDENTITY = re.compile(
    r"patient|subject|person|participant|case|exam|study|accession|animal|record|group|.*(?:id|no|nr)$"
)
_OTHER_IDENTITY = re.compile(
    r"site|cent(?:er|re)|hospital|institution|clinic|device|scanner|vendor|rater|annotator|reader|class|label|image|img"
    r"|file|mask|batch|model|version|slice|frame|fold|dataset|diagnos|series|grade|age$|control"
)
_DEV_WORDS = {"dev": "val", "development": "val", "eval": "val", "tuning": "val", "holdout": "test", "heldout": "test"}
_TRIED_CELLS = 20


@dataclass(frozen=True)
class Columns:
    """Place of the column of each kind, None where there is none; and the places of those that are not read."""

    image: int | None
    mask: int | None
    patient: int | None
    split: int | None
    unread: tuple[int, ...]


class AmbiguousColumnsError(Exception):
    """Several columns that could be meant: `places`, all of one kind."""

    def __init__(self, kind: str, places: Sequence[int]) -> None:
        super().__init__(kind)
        self.kind, self.places = kind, tuple(places)


def find_columns(header: Sequence[str], lines: Sequence[Sequence[str]], is_file: Callable[[str], bool]) -> Columns:
    """The columns of a list. lines: the cells of each further line. is_file: whether a cell names a file that exists.

    Raises AmbiguousColumnsError where two columns have one name, or two columns of images or of masks both list files.
    """
    keys = [column_key(cell) for cell in header]
    image = _listing_files("image", keys, IMAGE, lines, is_file)
    mask = _listing_files("mask", keys, MASK, lines, is_file)
    patient = _first("patient", keys, PATIENT)
    split = _first("split", keys, SPLIT)
    if split is None:
        by_values = [keys.index(key) for key in SPLIT_BY_VALUES if key in keys]
        split = next((place for place in by_values if _are_splits(cells_of(lines, place))), None)
    read = {image, mask, patient, split}
    return Columns(image, mask, patient, split, tuple(place for place in range(len(header)) if place not in read))


def column_key(cell: str) -> str:
    """The form in which names of columns are compared."""
    return re.sub(r"[\W_]+", "", cell.casefold())


def listed_split(text: str) -> str | None:
    """ "train", "val" or "test" for a cell of a split column, else None."""
    key = column_key(text)
    return split_name(key) or _DEV_WORDS.get(key) or split_name(key.removesuffix("set"))


def cells_of(lines: Sequence[Sequence[str]], place: int) -> list[str]:
    """The cells of one column that are not empty."""
    return [line[place] for line in lines if place < len(line) and line[place]]


def looks_like_split(header: str, cells: Sequence[str]) -> bool:
    """Whether a column that is not read seems to say which cases train."""
    return _are_splits(cells) or (column_key(header) in _SPLIT_FLAGS and len(set(cells)) > 1)


def looks_like_patient(header: str, cells: Sequence[str]) -> bool:
    """Whether a column that is not read seems to say which cases are of one patient: an identity that rows share."""
    key = column_key(header)
    is_identity = _IDENTITY.match(key) is not None and _OTHER_IDENTITY.search(key) is None
    return is_identity and 1 < len(set(cells)) < len(cells)


def _are_splits(cells: Sequence[str]) -> bool:
    return bool(cells) and all(listed_split(cell) for cell in cells)


def _first(kind: str, keys: Sequence[str], names: Sequence[str]) -> int | None:
    """The place of the column whose name comes first among `names`."""
    found = next((name for name in names if name in keys), None)
    if found is None:
        return None
    places = [place for place, key in enumerate(keys) if key == found]
    if len(places) > 1:
        raise AmbiguousColumnsError(kind, places)
    return places[0]


def _listing_files(
    kind: str,
    keys: Sequence[str],
    names: Sequence[str],
    lines: Sequence[Sequence[str]],
    is_file: Callable[[str], bool],
) -> int | None:
    """The only column of these names that lists files that exist, else that whose name comes first."""
    places = [place for place, key in enumerate(keys) if key in names]
    listing = [place for place in places if any(map(is_file, cells_of(lines, place)[:_TRIED_CELLS]))]
    if len(listing) > 1:
        raise AmbiguousColumnsError(kind, listing)
    return listing[0] if listing else _first(kind, keys, names)
