"""Recognising a dataset's layout and indexing it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from genseg.base.files import printable
from genseg.choices import Unlabelled
from genseg.errors import DataError, Fault, FaultCode
from genseg.index.csv_list import SUFFIXES, read_csv_list, warn_unread_lists
from genseg.index.decathlon import read_decathlon
from genseg.index.description import FILE_NAME, read_description
from genseg.index.findings import Contents, Description, Findings, Index
from genseg.index.folders import read_fixed_splits, read_folders, read_side_by_side, read_split_folders
from genseg.index.leaks import split_leaks
from genseg.index.listing import files_with_suffix, reading, stays_inside
from genseg.index.nnunet import is_nnunet, read_nnunet
from genseg.index.pairing import stop_image_without_mask, stop_repeated_names
from genseg.index.patients import find_patients
from genseg.index.seen import channel_hint, what_was_seen

_LAYOUTS = (
    "images/ with masks/ (or labels/, annotations/, segmentations/, gt/), train/ val/ test/ with these in each, "
    "x.png beside x_mask.png, nnU-Net (imagesTr/, labelsTr/, dataset.json), Decathlon (dataset.json with training), "
    "or a CSV list with the columns image and mask"
)
_CURE = "Arrange a copy of the files in one of these ways, or name image and mask of each case in a CSV list."
_LONELY = (FaultCode.IMAGE_WITHOUT_MASK, FaultCode.MASK_WITHOUT_IMAGE)
_NOTHING = Contents("", [])


def index_dataset(path: Path, *, unlabelled: Unlabelled = "stop") -> Index:
    """Pair the images and masks of a dataset.

    path: the dataset's folder, or a CSV list.
    unlabelled: "stop" at images whose mask is missing; with "leave-out" and "use" they are in `Index.without_mask`.

    Raises DataError with every fault: LAYOUT_UNKNOWN, LAYOUT_BROKEN, IMAGE_WITHOUT_MASK, MASK_WITHOUT_IMAGE,
    DUPLICATE_NAME, OUTSIDE_FOLDER, UNREADABLE, CHANNEL_MISMATCH, TOO_FEW_CASES.
    """
    findings, description, contents = Findings(), Description(path), _NOTHING
    with reading(path, findings):
        description = _describe(path.parent if path.is_file() else path, findings)
        contents = _read(path, description, findings)
    if unlabelled == "stop":
        for case in contents.without_mask:
            stop_image_without_mask(case.images[0], findings)
    root = path.parent if path.is_file() else path
    entries = find_patients(contents.entries, root, findings)
    findings.faults += split_leaks([case for case in entries if case.patient_source], root)
    _judge(path, contents, findings)
    return Index(
        root=root,
        layout=contents.layout,
        entries=tuple(entries),
        class_names=description.class_names,
        label_values=description.label_values,
        modality=description.modality,
        channel_names=description.channel_names,
        without_mask=(*contents.unlabelled, *(case.images[0] for case in contents.without_mask)),
        usable=tuple(case for case in contents.without_mask if case.split != "test"),
        ignored=len(findings.ignored),
        warnings=tuple(findings.faults),
        channels_last_axis=contents.channels_last_axis,
        declared_order=contents.declared_order,
        title=description.title,
        licence=description.licence,
    )


def _describe(root: Path, findings: Findings) -> Description:
    file = root / FILE_NAME
    usable = file.is_file() and stays_inside(file, root, findings)
    return read_description(file, findings) if usable else Description(file)


def _read(path: Path, description: Description, findings: Findings) -> Contents:
    """Find the layout and read it; the first that fits is taken."""
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_csv_list(path, findings)
    if not path.exists():
        expected = "a folder of scans and masks, or a CSV list"
        findings.stop(FaultCode.LAYOUT_UNKNOWN, path, "no such file or folder", expected, "Check the path.")
        return _NOTHING
    if not path.is_dir():
        return _unknown(path, "a file that is no CSV list", findings)
    if "splits" in description.content:
        return read_fixed_splits(path, description, findings)
    if "training" in description.content and not is_nnunet(path):
        return read_decathlon(path, description, findings)
    if (path / "imagesTr").is_dir():
        return read_nnunet(path, description, findings)
    found = read_split_folders(path, findings) or read_folders(path, findings)
    if found is not None:
        warn_unread_lists(path, findings)
        return found
    seen = f"none of the known layouts; seen: {what_was_seen(path)}" if any(path.iterdir()) else "an empty folder"
    return _only_csv(path, findings) or read_side_by_side(path, findings) or _unknown(path, seen, findings)


def _only_csv(folder: Path, findings: Findings) -> Contents | None:
    """The cases of the only CSV file in a folder; None where there is none or more than one."""
    lists = [file for file in files_with_suffix(folder, SUFFIXES, findings) if stays_inside(file, folder, findings)]
    return read_csv_list(lists[0], findings) if len(lists) == 1 else None


def _unknown(path: Path, found: str, findings: Findings) -> Contents:
    findings.stop(FaultCode.LAYOUT_UNKNOWN, path, found, _LAYOUTS, _CURE)
    return _NOTHING


def _judge(path: Path, contents: Contents, findings: Findings) -> None:
    """Raise what stops, in an order that does not depend on the order of discovery."""
    stop_repeated_names(contents.entries, findings)
    stops = {fault for fault in findings.faults if fault.stops}
    if not contents.entries and all(fault.code in (_LONELY if contents.by_names else ()) for fault in stops):
        stops = {_nothing_paired(path, contents, stops)}
    if stops:
        raise DataError(sorted(stops, key=lambda fault: (fault.file, fault.code, fault.found)))


def _nothing_paired(path: Path, contents: Contents, lonely: Iterable[Fault]) -> Fault:
    """One fault in place of those of every image and mask, where not one belongs to another: what was seen instead."""
    masks = [Path(fault.file) for fault in lonely if fault.code is FaultCode.MASK_WITHOUT_IMAGE]
    code = FaultCode.LAYOUT_UNKNOWN if masks else FaultCode.TOO_FEW_CASES
    hint = channel_hint([case.images[0] for case in contents.without_mask], masks)
    seen = what_was_seen(path if path.is_dir() else path.parent)
    return Fault(code, printable(path), f"no image that a mask belongs to; seen: {seen}{hint}", _LAYOUTS, _CURE)
