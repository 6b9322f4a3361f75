"""Listing images to predict on: no masks wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from genseg.errors import DataError, FaultCode
from genseg.index.findings import Findings
from genseg.index.listing import is_dicom, list_scans, reading, sub_folders
from genseg.index.names import is_image_folder, is_mask_folder, mask_base, match_key
from genseg.index.nnunet import group_channels, stop_missing_channels
from genseg.index.pairing import entry, stop_repeated_names, with_distinct_names
from genseg.read.case import CaseFiles
from genseg.read.formats import stem


def index_images(path: Path, *, channel_files: bool = False) -> list[CaseFiles]:
    """The cases of a file or folder, sorted by name, all without mask.

    path: one scan; a folder with one DICOM series; or a folder of scans (its `images/` where it has one), sub-folders
        with DICOM files being series. Scans of one name in several folders are called by these too. Folders of masks,
        and masks beside their image (`x_mask.png`), are left out.
    channel_files: each case is several files, one a channel: `x_0000.nii.gz`, `x_0001.nii.gz` ..., none missing.

    Raises DataError: LAYOUT_UNKNOWN where there is no image, DUPLICATE_NAME for two cases of one name,
    LAYOUT_BROKEN for a file without channel number, CHANNEL_MISMATCH for a missing channel, OUTSIDE_FOLDER and
    UNREADABLE.
    """
    findings = Findings()
    cases = find_images(path, findings, channel_files=channel_files)
    if not cases and not findings.faults:
        found = "no image in this folder" if path.is_dir() else "no such file or folder"
        expected = "a scan, a folder of scans (or with images/), or a folder with a DICOM series"
        findings.stop(FaultCode.LAYOUT_UNKNOWN, path, found, expected, "Check the path.")
    if findings.faults:
        raise DataError(findings.faults)
    return cases


def find_images(path: Path, findings: Findings, *, channel_files: bool = False) -> list[CaseFiles]:
    """The cases that `index_images` lists, also where there are none and where something is wrong with some.

    Faults are added to `findings`; cases of one name are all listed, those that lack a channel are not.
    """
    cases: list[CaseFiles] = []
    with reading(path, findings):
        cases = [entry(path, None)] if path.is_file() else _folder_cases(path, channel_files, findings)
    stop_repeated_names(cases, findings)
    return sorted(cases, key=lambda case: case.name)


def _folder_cases(folder: Path, channel_files: bool, findings: Findings) -> list[CaseFiles]:
    if not folder.is_dir():
        return []
    below = [path for path in sub_folders(folder, folder, findings) if is_image_folder(path.name)]
    base = below[0] if len(below) == 1 else folder
    scans = _without_masks(list_scans(base, folder, findings), base)
    if _is_one_series(scans, base):
        return [entry(base, None)]
    if not channel_files:
        return with_distinct_names([entry(path, None) for path in scans], base)
    grouped = group_channels(scans, findings)
    return [
        CaseFiles(name, tuple(files[n] for n in sorted(files)), None, name)
        for name, files in grouped.items()
        if not stop_missing_channels(files, max(files) + 1, findings)
    ]


def _without_masks(scans: Sequence[Path], base: Path) -> list[Path]:
    """Leave out what lies in a folder of masks, and `x_mask` where there is an `x`."""
    names = {match_key(stem(path)) for path in scans}
    kept = []
    for path in scans:
        among_masks = any(map(is_mask_folder, path.relative_to(base).parts[:-1]))
        image_name = mask_base(stem(path))
        if not among_masks and (image_name is None or match_key(image_name) not in names):
            kept.append(path)
    return kept


def _is_one_series(scans: Sequence[Path], base: Path) -> bool:
    """Whether the scans are DICOM files of which some share a series, rather than single pictures."""
    files = [path for path in scans if path.parent == base and path.is_file() and is_dicom(path)]
    if len(files) < 2 or len(files) < len(scans):
        return False
    return len({_series_of(path) for path in files}) < len(files)


def _series_of(path: Path) -> str:
    """The series that a DICOM file belongs to; one that cannot be read stands alone, for the reader to judge."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SeriesInstanceUID"])
        return str(header.SeriesInstanceUID)
    except (InvalidDicomError, AttributeError, OSError, ValueError):
        return str(path)
