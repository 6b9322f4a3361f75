"""Which folder holds the masks of a folder of images, where several may; and folders that nothing is read from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import FaultCode, listed
from genseg.index.findings import Findings
from genseg.index.listing import files_with_suffix, list_scans, sub_folders
from genseg.index.names import (
    image_base,
    is_mask_folder,
    mask_base,
    match_key,
    may_be_field_of_view,
    may_hold_masks,
)
from genseg.index.pairing import Pairs, pair
from genseg.read.formats import stem

_OTHER_FORMATS = frozenset({".gif", ".webp", ".pgm", ".ppm", ".jp2", ".npy", ".npz", ".mat", ".svg"})
"""Suffixes of masks that are not read, but tell that a folder holds masks."""

_ENOUGH = 0.5
"""Share of the images that a folder must have files for to be taken for their masks."""


def mask_pairs(folder: Path, images: Path, root: Path, findings: Findings) -> Pairs | None:
    """The images in `images` with their masks, which lie in another sub-folder of `folder`; None without such a one.

    Where several folders could hold the masks there is a fault, and no pair. Other sub-folders with scans are named in
    a warning.
    """
    scans = list_scans(images, root, findings)
    beside = [path for path in sub_folders(folder, root, findings) if path != images]
    candidates = _candidates(beside, scans, root)
    if not candidates:
        return None
    if len(candidates) > 1:
        _stop_several(folder, candidates, scans, root, findings)
        return Pairs()
    warn_unused(folder, [images, *candidates], root, findings)
    pairs = pair(scans, list_scans(candidates[0], root, findings), images, candidates[0], findings)
    return _without_other_formats(pairs, candidates[0], findings)


def warn_unused(folder: Path, used: Collection[Path], root: Path, findings: Findings) -> None:
    """Add a warning that names the sub-folders of `folder` that hold scans and are not used."""
    unused = [path for path in sub_folders(folder, root, findings) if path not in used]
    counts = {path: len(list_scans(path, root, Findings())) for path in unused}
    named = [f"{printable(path.name)}/ ({count})" for path, count in counts.items() if count]
    if named:
        found = f"folders with scans that are not read: {listed(named)}"
        cure = "If they hold images or masks that you want, name the files in a CSV list."
        findings.warn(FaultCode.NOT_READ, folder, found, "images and masks alone", cure)


def _candidates(beside: Sequence[Path], scans: Sequence[Path], root: Path) -> list[Path]:
    """The folders that could hold the masks: those of a usual name, and others whose names and files fit as well."""
    usual = [path for path in beside if is_mask_folder(path.name)]
    if len(usual) > 1:  # `labels/` may hold boxes as text beside `masks/`
        usual = [path for path in usual if _stems(path, root)]
    if len(usual) != 1:
        return usual
    others = [path for path in beside if path not in usual and may_hold_masks(path.name, usual[0].name)]
    return usual + [path for path in others if _matched(path, scans, root) >= _ENOUGH * max(len(scans), 1)]


def _stop_several(
    folder: Path, candidates: Sequence[Path], scans: Sequence[Path], root: Path, findings: Findings
) -> None:
    names = [path.name for path in candidates]
    counted = [
        f"{printable(path.name)}/ (for {_matched(path, scans, root)} of {len(scans)} images)" for path in candidates
    ]
    views = [name for name in names if may_be_field_of_view(name, [other for other in names if other != name])]
    hint = "".join(f"; {printable(name)}/ may be the field of view" for name in views)
    findings.stop(
        FaultCode.LAYOUT_BROKEN,
        folder,
        f"several folders that could hold the masks: {' and '.join(counted)}{hint}",
        "one folder of masks beside the images",
        "Name image and mask of each case in a CSV list, or move the folders that are not wanted elsewhere.",
    )


def _matched(folder: Path, scans: Iterable[Path], root: Path) -> int:
    """For how many of the images the folder has a file of the same name, marks of images and masks aside."""
    names = _stems(folder, root)
    known = {match_key(name) for name in names} | {match_key(mask_base(name) or name) for name in names}
    return sum(any(match_key(name) in known for name in (stem(p), image_base(stem(p)) or stem(p))) for p in scans)


def _stems(folder: Path, root: Path) -> list[str]:
    """The stems of the scans in a folder, and of pictures that are not read."""
    return [stem(path) for path in list_scans(folder, root, Findings())] + [path.stem for path in _unread(folder)]


def _unread(folder: Path) -> list[Path]:
    return files_with_suffix(folder, _OTHER_FORMATS, Findings())


def _without_other_formats(pairs: Pairs, masks: Path, findings: Findings) -> Pairs:
    """Where masks are in formats that are not read, the fault is theirs, not that of images without mask."""
    unread = _unread(masks)
    for path in unread:
        cure = "Convert a copy to PNG or NIfTI without loss."
        found, expected = (
            f"a mask in a format that is not read ({path.suffix.lower()})",
            "PNG, TIFF, BMP, NIfTI or NRRD",
        )
        findings.stop(FaultCode.UNKNOWN_FORMAT, path, found, expected, cure)
    return Pairs(pairs.paired) if unread else pairs
