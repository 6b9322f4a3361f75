"""Recognising a data set's lay-out and indexing it."""

from __future__ import annotations

from pathlib import Path

from genseg.choices import Unlabelled
from genseg.data.index.csv_list import SUFFIXES, read_csv_list
from genseg.data.index.decathlon import read_decathlon
from genseg.data.index.description import FILE_NAME, read_description
from genseg.data.index.folders import read_fixed_splits, read_folders, read_side_by_side, read_split_folders
from genseg.data.index.listing import files_with_suffix, reading, stays_inside
from genseg.data.index.nnunet import read_nnunet
from genseg.data.index.pairing import stop_image_without_mask, stop_repeated_names
from genseg.data.index.record import Contents, Description, Findings, Index
from genseg.errors import DataError, FaultCode

_LAYOUTS = (
    "images/ with masks/ (or labels/, annotations/, segmentations/, gt/), train/ val/ test/ with these in each, "
    "x.png beside x_mask.png, nnU-Net (imagesTr/, labelsTr/, dataset.json), Decathlon (dataset.json with training), "
    "or a CSV list with the columns image and mask"
)
_NOTHING = Contents("", [])


def index_dataset(path: Path, *, unlabelled: Unlabelled = "stop") -> Index:
    """Pair the images and masks of a data set.

    path: the data set's folder, or a CSV list.
    unlabelled: "stop" at images whose mask is missing, or "leave-out": they are listed in `Index.without_mask`.

    Raises DataError with every fault: LAYOUT_UNKNOWN, LAYOUT_BROKEN, IMAGE_WITHOUT_MASK, MASK_WITHOUT_IMAGE,
    DUPLICATE_NAME, OUTSIDE_FOLDER, UNREADABLE, CHANNEL_MISMATCH, TOO_FEW_CASES.
    """
    findings, description, contents = Findings(), Description(path), _NOTHING
    with reading(path, findings):
        description = _describe(path.parent if path.is_file() else path, findings)
        contents = _read(path, description, findings)
    if unlabelled == "stop":
        for image in contents.without_mask:
            stop_image_without_mask(image, findings)
    _judge(path, contents, findings)
    return Index(
        root=path.parent if path.is_file() else path,
        layout=contents.layout,
        entries=tuple(contents.entries),
        class_names=description.class_names,
        label_values=description.label_values,
        modality=description.modality,
        channel_names=description.channel_names,
        without_mask=(*contents.unlabelled, *contents.without_mask),
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
    """Find the lay-out and read it; the first that fits is taken."""
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return read_csv_list(path, findings)
    if not path.is_dir():
        return _unknown(path, "a file" if path.exists() else "no such folder", findings)
    if "splits" in description.content:
        return read_fixed_splits(path, description, findings)
    if "training" in description.content:
        return read_decathlon(path, description, findings)
    if (path / "imagesTr").is_dir():
        return read_nnunet(path, description, findings)
    return (
        read_split_folders(path, findings)
        or read_folders(path, findings)
        or _only_csv(path, findings)
        or read_side_by_side(path, findings)
        or _unknown(path, "none of the known lay-outs" if any(path.iterdir()) else "an empty folder", findings)
    )


def _only_csv(folder: Path, findings: Findings) -> Contents | None:
    """The cases of the only CSV file in a folder; None where there is none or more than one."""
    lists = [file for file in files_with_suffix(folder, SUFFIXES, findings) if stays_inside(file, folder, findings)]
    return read_csv_list(lists[0], findings) if len(lists) == 1 else None


def _unknown(path: Path, found: str, findings: Findings) -> Contents:
    cure = "Arrange the files in one of these ways, or write a CSV list."
    findings.stop(FaultCode.LAYOUT_UNKNOWN, path, found, _LAYOUTS, cure)
    return _NOTHING


def _judge(path: Path, contents: Contents, findings: Findings) -> None:
    """Raise what stops, in an order that does not depend on the order of discovery."""
    stop_repeated_names(contents.entries, findings)
    stops = {fault for fault in findings.faults if fault.stops}
    if not contents.entries and not stops:
        cure = "Add masks, or look at the names: a mask belongs to the image of the same name."
        findings.stop(FaultCode.TOO_FEW_CASES, path, "no image with a mask", "at least one", cure)
        stops = set(findings.faults)
    if stops:
        raise DataError(sorted(stops, key=lambda fault: (fault.file, fault.code, fault.found)))
