"""Pairing images with masks by name."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from genseg.errors import FaultCode
from genseg.index.findings import Findings
from genseg.index.names import image_base, mask_base, match_key
from genseg.read.case import CaseFiles
from genseg.read.formats import stem

_Key = tuple[str, str]
_RENAME = "Rename one of the two, or name the files of each case in a CSV list."
_MERGE = "Merge the masks of an image into one file, or name the right one in a CSV list."


@dataclass
class Pairs:
    """Images with their masks, and the images that have none."""

    paired: list[tuple[Path, Path]] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)


def pair(
    images: Sequence[Path], masks: Sequence[Path], image_folder: Path, mask_folder: Path, findings: Findings
) -> Pairs:
    """Pair by equal name, else by the name without its mark (`x_mask`, `img_x`), within mirrored sub-folders.

    Two images of one name, two masks of one image and masks without image become faults.
    """
    by_name = _by_name(images, image_folder, findings)
    by_base = _by_base(by_name.values(), image_folder)
    chosen: dict[Path, Path] = {}
    for mask in masks:
        image = _image_of(mask, mask_folder, by_name, by_base)
        if image is None:
            stop_mask_without_image(mask, findings)
        elif image in chosen:
            stop_duplicate(mask, chosen[image], "two masks of one image", findings, _MERGE)
        else:
            chosen[image] = mask
    kept = list(by_name.values())
    return Pairs([(path, chosen[path]) for path in kept if path in chosen], [p for p in kept if p not in chosen])


def entry(image: Path, mask: Path | None, split: str | None = None) -> CaseFiles:
    """The case of one image file; nothing is known of the patient, so each case is a patient of its own."""
    return CaseFiles(stem(image), (image,), mask, stem(image), split)


def with_distinct_names(cases: Sequence[CaseFiles], root: Path) -> list[CaseFiles]:
    """Cases named by their image; where two images have one name (`p1/scan.png`, `p2/scan.png`), by its path."""
    counts = Counter(match_key(case.name) for case in cases)
    return [_named(case, root, counts[match_key(case.name)] > 1) for case in cases]


def _named(case: CaseFiles, root: Path, with_folder: bool) -> CaseFiles:
    image = case.images[0]
    folder = (image.relative_to(root) if image.is_relative_to(root) else image).parent
    parts = [part for part in folder.parts if part not in (folder.anchor, "..")] if with_folder else []
    return replace(case, name="_".join([*parts, case.name]))


def stop_repeated_names(entries: Iterable[CaseFiles], findings: Findings) -> None:
    """Add a fault for each case whose name another case has, also where only letter case differs."""
    first: dict[str, CaseFiles] = {}
    for case in entries:
        other = first.setdefault(match_key(case.name), case)
        if other is not case:
            stop_duplicate(case.images[0], other.images[0], "two cases of one name", findings)


def stop_duplicate(path: Path, other: Path, found: str, findings: Findings, cure: str = _RENAME) -> None:
    """Add the fault of two files where there must be one; both are named."""
    findings.stop(
        FaultCode.DUPLICATE_NAME,
        f"{path} and {os.path.relpath(other, path.parent)}",
        found,
        "names that differ in more than suffix and letter case",
        cure,
    )


def stop_image_without_mask(image: Path, findings: Findings) -> None:
    """Add the fault of an image that has no mask."""
    cure = (
        "Add the mask, or leave out all images without one by --unlabelled leave-out, "
        "or let the final model learn from them by --unlabelled use."
    )
    findings.stop(FaultCode.IMAGE_WITHOUT_MASK, image, "an image without mask", "a mask of the same name", cure)


def stop_mask_without_image(mask: Path, findings: Findings) -> None:
    """Add the fault of a mask that has no image."""
    cure = "Add the image or remove the mask."
    findings.stop(FaultCode.MASK_WITHOUT_IMAGE, mask, "a mask without image", "an image of the same name", cure)


def _by_name(images: Iterable[Path], folder: Path, findings: Findings) -> dict[_Key, Path]:
    by_name: dict[_Key, Path] = {}
    for path in images:
        other = by_name.setdefault(_key(path, folder, stem(path)), path)
        if other != path:
            stop_duplicate(path, other, "two images of one name", findings)
    return by_name


def _by_base(images: Iterable[Path], folder: Path) -> dict[_Key, Path]:
    """Images by their name without its mark, where only one image has that name left."""
    found: dict[_Key, list[Path]] = defaultdict(list)
    for path in images:
        found[_key(path, folder, image_base(stem(path)) or stem(path))].append(path)
    return {key: paths[0] for key, paths in found.items() if len(paths) == 1}


def _image_of(mask: Path, folder: Path, by_name: dict[_Key, Path], by_base: dict[_Key, Path]) -> Path | None:
    """The image that a mask belongs to: exact names win over stripped ones."""
    name = stem(mask)
    base = mask_base(name) or name
    keys = (_key(mask, folder, name), _key(mask, folder, base))
    return by_name.get(keys[0]) or by_name.get(keys[1]) or by_base.get(keys[1])


def _key(path: Path, folder: Path, name: str) -> _Key:
    return match_key(path.relative_to(folder).parent.as_posix()), match_key(name)
