"""What lies in a folder that could not be read as a dataset, in words, so that a person sees why."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import listed
from genseg.index.findings import Findings
from genseg.index.listing import list_scans
from genseg.index.names import mask_base
from genseg.read.formats import stem

_EXAMPLES = 2
_TOLD_FORMATS = frozenset(
    {".json", ".xml", ".csv", ".tsv", ".txt", ".gif", ".npy", ".npz", ".mat", ".svs", ".zip", ".geojson"}
)
_CHANNEL = re.compile(r"(?P<case>.+)[-_.](?P<channel>\d{4}|[a-z0-9]{1,6})", re.IGNORECASE | re.DOTALL)


def what_was_seen(root: Path) -> str:
    """The folders below `root` that hold scans, with their number and two of their names; other files by suffix."""
    folders: dict[Path, list[str]] = defaultdict(list)
    for scan in list_scans(root, root, Findings()):
        folders[scan.parent.relative_to(root)].append(scan.name)
    told = [_folder(folder, names) for folder, names in sorted(folders.items())]
    others = Counter(Path(name).suffix.lower() for _, _, names in os.walk(root) for name in names)
    told_others = [f"{count} {suffix} files" for suffix, count in sorted(others.items()) if suffix in _TOLD_FORMATS]
    return "; ".join([listed(told), *told_others]) if told or told_others else "no scan"


def _folder(folder: Path, names: list[str]) -> str:
    shown = "the folder itself" if folder == Path() else f"{printable(folder)}/"
    examples = ", ".join(printable(name) for name in names[:_EXAMPLES])
    return f"{shown} ({len(names)} scans: {examples}{' ...' if len(names) > _EXAMPLES else ''})"


def channel_hint(images: Iterable[Path], masks: Iterable[Path]) -> str:
    """Words for images without mask that look like the channels of the cases that the masks are of; else ""."""
    channels: dict[str, list[str]] = defaultdict(list)
    for image in images:
        match = _CHANNEL.fullmatch(stem(image))
        if match is not None:
            channels[match["case"]].append(match["channel"])
    cases = [channels.get(stem(mask)) or channels.get(mask_base(stem(mask)) or "", []) for mask in masks]
    found = [case for case in cases if len(case) > 1 or any(channel.isdecimal() for channel in case)]
    if not cases or len(found) < len(cases):
        return ""
    return f"; looks like channel files ({', '.join(sorted(found[0]))} of one case) outside nnU-Net's layout"
