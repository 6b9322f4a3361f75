"""Lay-outs in which images and masks are found by the names of folders and files."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from genseg.errors import FaultCode, listed
from genseg.index.description import stop_broken
from genseg.index.findings import Contents, Description, Findings
from genseg.index.listing import list_scans, sub_folders
from genseg.index.mask_folders import mask_pairs, warn_unused
from genseg.index.names import is_image_folder, is_mask_folder, mask_base, match_key, split_name, split_of
from genseg.index.nnunet import read_channel_files
from genseg.index.pairing import Pairs, entry, pair, stop_repeated_names, with_distinct_names
from genseg.read.case import CaseFiles
from genseg.read.formats import stem

SPLITS = ("train", "val", "test")


def read_fixed_splits(root: Path, description: Description, findings: Findings) -> Contents:
    """`images/` and `masks/` whose `dataset.json` names the cases of each split; the lists' order is kept."""
    layout = "dataset.json with splits"
    found = read_folders(root, findings, distinct_names=False)
    if found is None:
        stop_broken(description.path, "splits without the folders images/ and masks/ beside", "both folders", findings)
        return Contents(layout, [])
    stop_repeated_names(found.entries, findings)
    by_name = {match_key(case.name): case for case in found.entries}
    unlabelled = {match_key(case.name): case for case in found.without_mask}
    listed = _listed_names(description, findings)
    entries = []
    for split, name in listed:
        case = by_name.get(match_key(name))
        if case is not None:
            entries.append(CaseFiles(case.name, case.images, case.mask, case.patient, split))
        elif match_key(name) in unlabelled:
            unlabelled[match_key(name)] = replace(unlabelled[match_key(name)], split=split)
        else:
            expected = "an image and a mask of that name"
            stop_broken(description.path, f"{name!r} in the list {split!r} has no image", expected, findings)
    _warn_unlisted(root, by_name.keys() - {match_key(name) for _, name in listed}, findings)
    return Contents(layout, entries, list(unlabelled.values()), declared_order=True)


def read_split_folders(root: Path, findings: Findings) -> Contents | None:
    """`train/`, `val/`, `test/`, each with `images/` and `masks/`; None where no such folder is there."""
    entries: list[CaseFiles] = []
    without_mask: list[CaseFiles] = []
    used = []
    for folder in sub_folders(root, root, findings):
        split = split_name(folder.name)
        images = _image_folder(folder, root, findings)
        if split and images:
            used.append(folder)
            pairs = mask_pairs(folder, images, root, findings) or Pairs(without_mask=list_scans(images, root, findings))
            entries += [entry(image, mask, split) for image, mask in pairs.paired]
            without_mask += [entry(image, None, split) for image in pairs.without_mask]
    if not used:
        return None
    warn_unused(root, used, root, findings)
    if _image_folder(root, root, findings):
        stop_broken(root, "images beside the folders of the splits", "all images in train/, val/ or test/", findings)
    return Contents("train, val and test folders", _by_split(entries), without_mask, by_names=True)


def read_folders(root: Path, findings: Findings, *, distinct_names: bool = True) -> Contents | None:
    """`images/` and `masks/` side by side; sub-folders `train/`, `val/`, `test/` within them are splits.

    distinct_names: whether images of one name in other sub-folders, such as those of patients, are called by these too.
    """
    images = _image_folder(root, root, findings)
    if images is not None and (cases := _channel_cases(root, images, findings)) is not None:
        labelled, others = ([case for case in cases if bool(case.mask) == has_mask] for has_mask in (True, False))
        return Contents("folders of channel files and masks", labelled, others, by_names=True)
    pairs = None if images is None else mask_pairs(root, images, root, findings)
    if images is None or pairs is None:
        return None
    found = _contents("folders of images and masks", pairs, images, findings)
    if not distinct_names or any(case.split for case in found.entries):
        return found
    named = with_distinct_names([*found.entries, *found.without_mask], images)
    count = len(found.entries)
    return replace(found, entries=named[:count], without_mask=named[count:])


def _channel_cases(root: Path, images: Path, findings: Findings) -> list[CaseFiles] | None:
    """The cases of which each channel is a file of its own; None where `images` holds no such files."""
    folders = [path for path in sub_folders(root, root, findings) if path != images and is_mask_folder(path.name)]
    if len(folders) != 1:
        return None
    scans, masks = (list_scans(folder, root, findings) for folder in (images, folders[0]))
    cases = read_channel_files(scans, masks, findings)
    if cases is not None:
        warn_unused(root, [images, folders[0]], root, findings)
    return cases


def read_side_by_side(root: Path, findings: Findings) -> Contents | None:
    """Images and masks in one folder (or in the same sub-folders), masks marked by name; None without such masks."""
    images, masks = separate(list_scans(root, root, findings))
    if not masks:
        return None
    pairs = pair(images, masks, root, root, findings)
    return _contents("images and masks side by side", pairs, root, findings)


def separate(scans: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Images and masks of one folder, told apart by the mark that the masks' names have."""
    images: list[Path] = []
    masks: list[Path] = []
    for path in scans:
        (images if mask_base(stem(path)) is None else masks).append(path)
    return images, masks


def _contents(layout: str, pairs: Pairs, images: Path, findings: Findings) -> Contents:
    """The pairs as cases, split by the first sub-folder of `images` where that is train, val or test."""
    entries = [entry(image, mask, split_of(image.relative_to(images))) for image, mask in pairs.paired]
    without_mask = [entry(image, None, split_of(image.relative_to(images))) for image in pairs.without_mask]
    if any(case.split for case in entries):
        _stop_without_split(entries, findings)
    return Contents(layout, _by_split(entries), without_mask, by_names=True)


def _image_folder(folder: Path, root: Path, findings: Findings) -> Path | None:
    """The sub-folder that has a usual name for images; where several have, the one that holds scans."""
    named = [path for path in sub_folders(folder, root, findings) if is_image_folder(path.name)]
    chosen = named if len(named) < 2 else [path for path in named if list_scans(path, root, Findings())]
    if len(chosen) > 1:
        found = "several folders that could hold the images: " + " and ".join(path.name for path in chosen)
        stop_broken(folder, found, "one of them", findings)
    return chosen[0] if chosen else None


def _listed_names(description: Description, findings: Findings) -> list[tuple[str, str]]:
    """Split and name of each case in the description's lists: train, then val, then test."""
    lists = description.content["splits"]
    if not isinstance(lists, dict) or not all(split_name(key) for key in lists):
        stop_broken(description.path, f"splits {reprlib.repr(lists)}", "lists named train, val and test", findings)
        return []
    listed: dict[str, tuple[str, str]] = {}
    for key, names in sorted(lists.items(), key=lambda item: SPLITS.index(split_name(item[0]) or "")):
        for name in _names(names, key, description, findings):
            if match_key(name) in listed:
                stop_broken(description.path, f"{name!r} is listed more than once in splits", "each once", findings)
            listed.setdefault(match_key(name), (split_name(key) or "", name))
    return list(listed.values())


def _names(value: object, key: str, description: Description, findings: Findings) -> list[str]:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    stop_broken(description.path, f"the split {key!r} is no list of names", "a list of names", findings)
    return []


def _warn_unlisted(root: Path, names: Iterable[str], findings: Findings) -> None:
    left_out = sorted(names)
    if left_out:
        findings.warn(
            FaultCode.LAYOUT_BROKEN,
            root,
            f"{len(left_out)} cases that no split lists: {listed(left_out)}",
            "every case in train, val or test",
            "They are not used; add them to a list of dataset.json to use them.",
        )


def _stop_without_split(entries: Iterable[CaseFiles], findings: Findings) -> None:
    for case in entries:
        if case.split is None:
            cure = "Move it into one of these folders."
            expected = "all cases below train, val or test, as some are"
            findings.stop(FaultCode.LAYOUT_BROKEN, case.images[0], "a case of no split", expected, cure)


def _by_split(entries: Iterable[CaseFiles]) -> list[CaseFiles]:
    return sorted(entries, key=lambda case: (SPLITS.index(case.split) if case.split else 0, case.name))
