"""Unlabelled images, and which of them may train, whoever predicts their masks.

What would make a score too good is kept out: copies of test images, near-copies (see `genseg.examine.duplicates`), and
other images of a test patient, where what tells the patients of the labelled images tells theirs too. So are copies of
labelled images, which teach nothing more.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from genseg.base.progress import Progress, work_through
from genseg.errors import DataError
from genseg.examine.check import Examination
from genseg.examine.duplicates import Thumbnail, near_duplicates, thumbnail
from genseg.index import Index, index_images
from genseg.index.findings import Findings
from genseg.index.pairing import stop_repeated_names
from genseg.index.patients import find_patients
from genseg.models.model import Model
from genseg.read.case import CaseFiles, patients_known_from
from genseg.read.identity import pixels_hash

Reason = Literal[
    "",
    "labelled",
    "of the test part",
    "of a test patient",
    "of a held-out patient",
    "there twice",
    "more than training draws",
    "unlike the labelled ones",
    "nothing found",
]
"""Why an image is left out; empty where it trains."""


@dataclass(frozen=True)
class PoolImage:
    """An unlabelled image. pixels: see `pixels_hash`; empty where it was not read. reason: why it may not train."""

    files: CaseFiles
    pixels: str
    reason: Reason = ""


@dataclass(frozen=True)
class Pool:
    """Unlabelled images, in order of their names. patients: of each labelled case, as `files.patient` calls them;
    empty where patients are not known of both.
    """

    images: Sequence[PoolImage]
    patients: dict[str, str]


@dataclass(frozen=True)
class _Shown:
    """What labelled and test images show. pixels: hash -> name of the case. thumbnails: by name."""

    pixels: dict[str, str]
    thumbnails: dict[str, Thumbnail]


def unlabelled_images(folder: Path | None, index: Index, *, channel_files: bool, and_own: bool) -> list[CaseFiles]:
    """The images of a folder, if one is given, and with `and_own` those without a mask in the dataset.

    channel_files: whether each channel of an image has its own file. Raises DataError as `index_images`, and where two
    have the same name.
    """
    entries = [] if folder is None else index_images(folder, channel_files=channel_files)
    if and_own:
        entries = sorted([*entries, *index.usable], key=lambda files: files.name)
        findings = Findings()
        stop_repeated_names(entries, findings)
        if findings.faults:
            raise DataError(findings.faults)
    return entries


def read_pool(
    entries: Sequence[CaseFiles], model: Model, examination: Examination, most: int, progress: Progress
) -> Pool:
    """Read every unlabelled image once, and say which may not train.

    model: of the labelled dataset; how images are read. most: images that training can draw; of more, so many that are
    spread evenly over the list are taken. Raises DataError with every image that cannot be read.
    """
    taken = set(np.linspace(0, len(entries) - 1, min(most, len(entries))).round().astype(int).tolist())
    entries, patients = _with_patients(entries, examination.index.entries)
    tested = [files for files in examination.index.entries if files.split == "test"]
    known = _known(examination, tested, model, progress)
    found, thumbnails = _read_all(entries, taken, model, progress)
    copies = _copies(known, thumbnails)
    names = {files.name for files in tested}
    test_patients = {patients[name] for name in names & patients.keys()}
    images: list[PoolImage] = []
    seen = set[str]()
    for image in found:
        original = known.pixels.get(image.pixels) or copies.get(image.pixels)
        reason = image.reason or _reason(image, original, names, test_patients, seen)
        seen.add(image.pixels)
        images.append(replace(image, reason=reason))
    return Pool(images, patients)


def _reason(
    image: PoolImage, original: str | None, tested: Collection[str], test_patients: Collection[str], seen: set[str]
) -> Reason:
    """Why an image may not train. original: the labelled case that it shows too."""
    if original is not None:
        return "of the test part" if original in tested else "labelled"
    if image.files.patient in test_patients:
        return "of a test patient"
    return "there twice" if image.pixels in seen else ""


def _with_patients(
    entries: Sequence[CaseFiles], labelled: Sequence[CaseFiles]
) -> tuple[list[CaseFiles], dict[str, str]]:
    """The images with their patients, and the patient of each labelled case, both called alike.

    Nothing is known where what tells the patients of the labelled cases does not tell those of all.
    """
    try:
        root = Path(os.path.commonpath([files.images[0].resolve().parent for files in (*entries, *labelled)]))
    except ValueError:  # on different drives
        return list(entries), {}
    bare = [replace(files, patient=files.name, patient_source="") for files in labelled]
    both = find_patients([*entries, *bare], root, Findings())
    source = patients_known_from(labelled)
    if not source or patients_known_from(both) != source:
        return list(entries), {}
    ours = both[len(entries) :]
    return both[: len(entries)], {files.name: files.patient for files in ours}


def _known(examination: Examination, tested: Iterable[CaseFiles], model: Model, progress: Progress) -> _Shown:
    """What the labelled images and the test images show; test images that cannot be read show nothing."""
    pixels, thumbnails = dict[str, str](), dict[str, Thumbnail]()
    for case in examination.cases:
        pixels.setdefault(pixels_hash(case), case.name)
        thumbnails[case.name] = thumbnail(case.image)
    tested = list(tested)
    for number, files in enumerate(tested, 1):
        with suppress(DataError):
            case = model.read(files)
            pixels[pixels_hash(case)] = files.name
            thumbnails[files.name] = thumbnail(case.image)
        progress("Reading test images, to keep their copies out", number, len(tested))
    return _Shown(pixels, thumbnails)


def _read_all(
    entries: Sequence[CaseFiles], taken: Collection[int], model: Model, progress: Progress
) -> tuple[list[PoolImage], dict[str, Thumbnail]]:
    """The images, those at the places `taken` read, and what these show, by `PoolImage.pixels`. Raises DataError."""
    thumbnails = dict[str, Thumbnail]()

    def read(place: int) -> PoolImage:
        files = entries[place]
        if place not in taken:
            return PoolImage(files, "", "more than training draws")
        case = model.read(files)
        pixels = pixels_hash(case)
        thumbnails[pixels] = thumbnail(case.image)
        return PoolImage(files, pixels)

    return work_through("Reading unlabelled images", range(len(entries)), read, progress), thumbnails


def _copies(known: _Shown, thumbnails: dict[str, Thumbnail]) -> dict[str, str]:
    """A labelled or test case that each near-copy of one shows, by the copy's hash. thumbnails: by hash."""
    ours = {f"labelled/{name}": small for name, small in known.thumbnails.items()}
    theirs = {f"unlabelled/{pixels}": small for pixels, small in thumbnails.items()}
    return {
        other.removeprefix("unlabelled/"): one.removeprefix("labelled/")
        for one, other in near_duplicates(ours | theirs)
        if one in ours and other in theirs
    }
