"""The raw lay-out of nnU-Net v2: `imagesTr/case_0000.nii.gz`, `labelsTr/case.nii.gz`, `dataset.json`.

Source: nnU-Net's documentation/dataset_format.md (one file a channel, numbered with four digits).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from genseg.data.case import CaseFiles
from genseg.data.index.description import stop_broken
from genseg.data.index.listing import list_scans
from genseg.data.index.pairing import stop_duplicate, stop_mask_without_image
from genseg.data.index.record import Contents, Description, Findings
from genseg.data.readers.formats import stem, suffix
from genseg.errors import FaultCode

_CHANNEL_FILE = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})", re.DOTALL)
_PICTURES = frozenset({".png", ".bmp", ".tif", ".tiff"})  # one file may hold red, green and blue
Channels = dict[str, dict[int, Path]]


def read_nnunet(root: Path, description: Description, findings: Findings) -> Contents:
    """`imagesTr` and `labelsTr`; with `labelsTs` the cases of `imagesTs` are the test split, else to be labelled."""
    ending = description.content.get("file_ending")
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
    return Contents("nnU-Net", train + test, without_mask, unlabelled)


def group_channels(paths: Iterable[Path], findings: Findings) -> Channels:
    """Case name -> channel number -> file, for files named `case_0000`; others become faults."""
    cases: Channels = defaultdict(dict)
    for path in paths:
        match = _CHANNEL_FILE.fullmatch(stem(path))
        if match is None:
            expected = "a name that ends in its channel, such as case_0000"
            cure = "Rename it, or give the images without channel numbers in a lay-out of their own."
            findings.stop(FaultCode.LAYOUT_BROKEN, path, "no channel number in the name", expected, cure)
            continue
        channels = cases[match["case"]]
        other = channels.setdefault(int(match["channel"]), path)
        if other != path:
            stop_duplicate(path, other, "two files of one channel", findings)
    return cases


def _part(
    root: Path, part: str, ending: str, channels: int, split: str | None, findings: Findings
) -> tuple[list[CaseFiles], list[Path]]:
    """The labelled cases of `imagesTr` or `imagesTs`, and the first files of those without label."""
    images = _images(root / f"images{part}", root, ending, channels, findings)
    labels = _files(root / f"labels{part}", root, ending, findings)
    masks = {stem(path): path for path in labels}
    for name in sorted(masks.keys() - images.keys()):
        stop_mask_without_image(masks[name], findings)
    entries = [CaseFiles(name, files, masks[name], name, split) for name, files in images.items() if name in masks]
    return entries, [files[0] for name, files in images.items() if name not in masks]


def _images(folder: Path, root: Path, ending: str, channels: int, findings: Findings) -> dict[str, tuple[Path, ...]]:
    """Case name -> its channel files in order; a missing or undeclared channel becomes a fault."""
    files = _files(folder, root, ending, findings)
    if not files:
        cure = "Correct file_ending, or put the images there."
        findings.stop(FaultCode.LAYOUT_BROKEN, folder, f"no file that ends in {ending!r}", "images", cure)
    cases = group_channels(files, findings)
    for name, found in cases.items():
        rgb_picture = set(found) == {0} and ending in _PICTURES
        if set(found) != set(range(channels)) and not rgb_picture:
            _stop_channels(folder / f"{name}_*{ending}", found, channels, findings)
    return {name: tuple(found[channel] for channel in sorted(found)) for name, found in sorted(cases.items())}


def _files(folder: Path, root: Path, ending: str, findings: Findings) -> list[Path]:
    if not folder.is_dir():
        stop_broken(folder, "no such folder", "the folders imagesTr and labelsTr", findings)
        return []
    scans = list_scans(folder, root, findings)
    chosen = [path for path in scans if suffix(path) == ending]
    findings.ignored.update(set(scans) - set(chosen))
    return chosen


def _stop_channels(path: Path, found: dict[int, Path], channels: int, findings: Findings) -> None:
    has = ", ".join(f"{channel:04d}" for channel in sorted(found))
    wants = ", ".join(f"{channel:04d}" for channel in range(channels))
    cure = "Add or remove channel files, or correct channel_names in dataset.json."
    findings.stop(FaultCode.CHANNEL_MISMATCH, path, f"channels {has}", f"channels {wants}", cure)
