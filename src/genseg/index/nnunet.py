"""The raw layout of nnU-Net: `imagesTr/case_0000.nii.gz`, `labelsTr/case.nii.gz`, `dataset.json`.

Sources: nnU-Net's documentation/dataset_format.md (one file a channel, numbered with four digits), and, for the first
version, whose `dataset.json` lists the cases, names channels in `modality` and knows no `file_ending`,
documentation/dataset_conversion.md of its branch nnunetv1.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from genseg.errors import FaultCode, listed
from genseg.index.description import stop_broken
from genseg.index.findings import Contents, Description, Findings
from genseg.index.listing import list_scans
from genseg.index.mask_folders import warn_unused
from genseg.index.names import mask_base
from genseg.index.pairing import stop_duplicate, stop_mask_without_image
from genseg.read.case import CaseFiles
from genseg.read.formats import stem, suffix

_CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)
_PICTURES = frozenset({".png", ".bmp", ".tif", ".tiff"})  # one file may hold red, green and blue
Channels = dict[str, dict[int, Path]]


def read_nnunet(root: Path, description: Description, findings: Findings) -> Contents:
    """`imagesTr` and `labelsTr`; with `labelsTs` the cases of `imagesTs` are the test split, else to be labelled."""
    ending = description.content.get("file_ending") or _only_ending(root)
    if not description.content:
        stop_broken(description.path, "no such file", "the description that nnU-Net requires", findings)
        return Contents("nnU-Net", [])
    if not isinstance(ending, str) or not ending:
        stop_broken(description.path, f"file_ending {ending!r}", 'a suffix such as ".nii.gz"', findings)
        return Contents("nnU-Net", [])
    if not description.channel_names:
        stop_broken(description.path, "no channel_names", 'an object such as {"0": "T1"}', findings)
    count = len(description.channel_names)
    has_test = (root / "labelsTs").is_dir()
    train, without_mask = _part(root, "Tr", ending, count, "train" if has_test else None, findings)
    test: list[CaseFiles] = []
    unlabelled: list[Path] = []
    if has_test:
        test, missing = _part(root, "Ts", ending, count, "test", findings)
        without_mask += missing
    elif (root / "imagesTs").is_dir():
        unlabelled = [files[0] for files in _images(root / "imagesTs", root, ending, count, findings).values()]
    _warn_other_list(description, train, findings)
    warn_unused(
        root, [root / f"{kind}{part}" for kind in ("images", "labels") for part in ("Tr", "Ts")], root, findings
    )
    return Contents("nnU-Net", train + test, without_mask, unlabelled)


def is_nnunet(root: Path) -> bool:
    """Whether `imagesTr` holds channel files of the cases in `labelsTr`, as no other layout has them.

    A `training` list in `dataset.json` tells nothing: the first version of nnU-Net wrote one too, naming files without
    their channels.
    """
    if not (root / "imagesTr").is_dir() or not (root / "labelsTr").is_dir():
        return False
    images, labels = ({stem(path) for path in (root / part).iterdir()} for part in ("imagesTr", "labelsTr"))
    cases = {match["case"] for match in map(_CHANNEL_FILE.fullmatch, images) if match}
    return bool(cases & labels) and not images & labels


def _only_ending(root: Path) -> str | None:
    """The suffix that all scans in `imagesTr` have; None where they have several."""
    endings = {suffix(path) for path in (root / "imagesTr").iterdir()} - {""}
    return endings.pop() if len(endings) == 1 else None


def _warn_other_list(description: Description, cases: Iterable[CaseFiles], findings: Findings) -> None:
    """Add a warning where the description's own list of cases is not that of the folder."""
    items = description.content.get("training")
    if not isinstance(items, list):
        return
    labels = [item.get("label") for item in items if isinstance(item, dict)]
    written = {stem(Path(label)) for label in labels if isinstance(label, str)}
    found = {case.name for case in cases}
    if written != found:
        parts = [
            f"{len(names)} cases {where} alone ({listed(sorted(names))})"
            for where, names in (("in the list", written - found), ("in the folders", found - written))
            if names
        ]
        cure = "The folders are read. Correct the list training, or take it out of a copy of dataset.json."
        expected = "the cases of imagesTr and labelsTr"
        findings.warn(FaultCode.LAYOUT_BROKEN, description.path, f"training: {', '.join(parts)}", expected, cure)


def read_channel_files(images: Sequence[Path], masks: Sequence[Path], findings: Findings) -> list[CaseFiles] | None:
    """The cases whose images are files of single channels, `case_0000`, `case_0001`; None where images are none such.

    That is so where all images are named like that, and all masks like a case. A missing channel becomes a fault.
    Cases without mask are listed too.
    """
    matches = [_CHANNEL_FILE.fullmatch(stem(path)) for path in images]
    cases = {match["case"] for match in matches if match}
    mask_of = {name if name in cases else mask_base(name) or name: path for path in masks if (name := stem(path))}
    if not mask_of or not all(matches) or not mask_of.keys() <= cases:
        return None
    grouped = group_channels(images, findings)
    count = max(number for found in grouped.values() for number in found) + 1
    for found in grouped.values():
        stop_missing_channels(found, count, findings)
    return [
        CaseFiles(name, tuple(found[number] for number in sorted(found)), mask_of.get(name), name)
        for name, found in sorted(grouped.items())
    ]


def group_channels(paths: Iterable[Path], findings: Findings) -> Channels:
    """Case name -> channel number -> file, for files named `case_0000`; others become faults."""
    cases: Channels = defaultdict(dict)
    for path in paths:
        match = _CHANNEL_FILE.fullmatch(stem(path))
        if match is None:
            expected = "a name that ends in its channel, such as case_0000"
            cure = "Rename it, or give the images without channel numbers in a layout of their own."
            findings.stop(FaultCode.LAYOUT_BROKEN, path, "no channel number in the name", expected, cure)
            continue
        channels = cases[match["case"]]
        other = channels.setdefault(int(match["channel"]), path)
        if other != path:
            stop_duplicate(path, other, "two files of one channel", findings)
    return cases


def _part(
    root: Path, part: str, ending: str, channels: int, split: str | None, findings: Findings
) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """The labelled cases of `imagesTr` or `imagesTs`, and those without label."""
    images = _images(root / f"images{part}", root, ending, channels, findings)
    labels = _files(root / f"labels{part}", root, ending, findings)
    masks = {stem(path): path for path in labels}
    for name in sorted(masks.keys() - images.keys()):
        stop_mask_without_image(masks[name], findings)
    cases = [CaseFiles(name, files, masks.get(name), name, split) for name, files in images.items()]
    return [case for case in cases if case.mask], [case for case in cases if not case.mask]


def _images(folder: Path, root: Path, ending: str, channels: int, findings: Findings) -> dict[str, tuple[Path, ...]]:
    """Case name -> its channel files in order; a missing or undeclared channel becomes a fault."""
    files = _files(folder, root, ending, findings)
    if not files:
        cure = "Correct file_ending, or put the images there."
        findings.stop(FaultCode.LAYOUT_BROKEN, folder, f"no file that ends in {ending!r}", "images", cure)
    cases = group_channels(files, findings)
    for found in cases.values():
        rgb_picture = set(found) == {0} and ending in _PICTURES
        if channels and not rgb_picture:
            stop_missing_channels(found, channels, findings)
            _stop_more_channels(found, channels, findings)
    return {name: tuple(found[channel] for channel in sorted(found)) for name, found in sorted(cases.items())}


def _files(folder: Path, root: Path, ending: str, findings: Findings) -> list[Path]:
    if not folder.is_dir():
        stop_broken(folder, "no such folder", "the folders imagesTr and labelsTr", findings)
        return []
    scans = list_scans(folder, root, findings)
    chosen = [path for path in scans if suffix(path) == ending]
    findings.ignored.update(set(scans) - set(chosen))
    return chosen


def stop_missing_channels(found: Mapping[int, Path], count: int, findings: Findings) -> bool:
    """Add a fault for each of the first `count` channels that a case lacks; whether there is one.

    found: the files of the case by their channel.
    """
    missing = sorted(set(range(count)) - set(found))
    like = next(iter(found.values()))
    case = stem(like)[: -len("_0000")]
    for channel in missing:
        path = like.with_name(f"{case}_{channel:04d}{suffix(like)}")
        cure = "Add the file; channels are numbered from 0000 without a gap."
        expected = f"{count} channels, 0000 to {count - 1:04d}"
        findings.stop(FaultCode.CHANNEL_MISMATCH, path, "a channel file that is missing", expected, cure)
    return bool(missing)


def _stop_more_channels(found: Mapping[int, Path], count: int, findings: Findings) -> None:
    for channel in sorted(set(found) - set(range(count))):
        cure = "Take it out of imagesTr, or declare the channel in dataset.json."
        known = f"the channels that dataset.json declares, 0000 to {count - 1:04d}"
        findings.stop(FaultCode.CHANNEL_MISMATCH, found[channel], "a channel that is not declared", known, cure)
