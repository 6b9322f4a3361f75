"""Unlabelled images as further training images: their masks come from the models of all folds together.

Source: Xie et al., Self-training with Noisy Student improves ImageNet classification, CVPR 2020: the teachers segment
images as they are, and the student learns their masks on strongly changed ones. Images that the teachers cannot judge
are left out, as in Yang et al., ST++, CVPR 2022; so are pixels that they are not sure of, as in Sohn et al., FixMatch,
NeurIPS 2020.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path, atomic_write_csv, csv_text, inner_folder, printable
from genseg.base.progress import Progress
from genseg.drawing.overlays import overlay, tile, with_heading
from genseg.errors import DataError, Fault, FaultCode, RunError
from genseg.index import Index, index_images
from genseg.models.model import Model
from genseg.read.case import IGNORE, Case, CaseFiles
from genseg.read.identity import pixels_hash
from genseg.results.content import content_sha256
from genseg.runs.folder import RunFolder

SURE = 60
"""Percent of probability of its class from which on a pixel trains; all folds count alike, so that most agree on it."""

SHARE = 0.5
"""Of the real images of an update, how many are unlabelled."""

DRAWN = 12
"""Images that train, and images that do not, in the picture of them."""

TRAINS = "trains"
ANSWERS, TABLE = "unlabelled", "images.csv"
"""Folder of what the models of the folds say, in the run folder, and the list of what each image is used for."""

Reason = Literal["", "labelled", "of the test part", "there twice", "unlike the labelled ones", "nothing found"]
"""Why an image is left out; empty where it trains."""


@dataclass(frozen=True)
class Unlabelled:
    """An unlabelled image. answer: file of its predicted mask. pixels: see `pixels_hash`."""

    files: CaseFiles
    pixels: str
    answer: Path
    reason: Reason


def segment_unlabelled(
    images: Path, teacher: Model, run: RunFolder, index: Index, progress: Progress
) -> list[Unlabelled]:
    """Segment the images of a folder by the models of all folds, and say which of them may train.

    One image is read at a time; what was segmented before, by the same models, is not segmented again. index: of the
    labelled dataset, whose test images are told by their bytes alone. Raises DataError with every image that cannot be
    read or segmented, or where none is left to train on.
    """
    entries = index_images(images, channel_files=teacher.channel_files)
    place = inner_folder(run.path, Path(ANSWERS, teacher.sha256[:16]))
    tested = {content_sha256(files) for files in index.entries if files.split == "test"}
    known = set(run.record("images.json", dict[str, str]).values())
    found: list[Unlabelled] = []
    faults: list[Fault] = []
    for number, files in enumerate(entries, 1):
        try:
            one = _segmented(files, teacher, place, known)
            is_tested = bool(tested) and content_sha256(files) in tested
            found.append(replace(one, reason="of the test part") if is_tested else one)
            known.add(one.pixels)
        except DataError as error:
            faults += error.faults
        progress("Segmenting unlabelled images", number, len(entries))
    if faults:
        raise DataError(faults)
    table = [(_called(one.files), one.reason or TRAINS) for one in found]
    atomic_write_csv(run.path / ANSWERS / TABLE, ("image", "use"), table)
    _draw(found, teacher, run.path / ANSWERS / "overview.png")
    if all(one.reason for one in found):
        cure = "Give images like the labelled ones, or leave out --also-images."
        raise DataError(
            [Fault(FaultCode.TOO_FEW_CASES, printable(images), used_images(run.path), "images to train on", cure)]
        )
    return found


def _segmented(files: CaseFiles, teacher: Model, place: Path, known: set[str]) -> Unlabelled:
    """One image, segmented unless it was before. known: hashes of labelled images, and of those before this one."""
    case = teacher.read(files)
    pixels = pixels_hash(case)
    answer = place / f"{pixels}.npz"
    if pixels in known:
        return Unlabelled(files, pixels, answer, "there twice" if answer.exists() else "labelled")
    if not answer.exists():
        prediction = teacher.examine_case(case)
        mask = np.where(prediction.confidence >= SURE, prediction.mask, np.uint8(IGNORE))
        score = np.nan if prediction.ood_score is None else prediction.ood_score
        with atomic_path(answer) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, mask=mask, ood_score=np.float64(score), found=np.bool_(prediction.mask.any()))
    with np.load(answer, allow_pickle=False) as said:
        return Unlabelled(files, pixels, answer, _reason(said, teacher))


def _reason(said: Mapping[str, NDArray[Any]], teacher: Model) -> Reason:
    """Why an image is left out, by what the models say of it."""
    if teacher.trust.ood is not None and float(said["ood_score"]) > teacher.trust.ood.highest:
        return "unlike the labelled ones"
    return "" if said["found"] or teacher.trust.often_empty else "nothing found"


def _draw(unlabelled: Sequence[Unlabelled], teacher: Model, path: Path) -> None:
    """Draw what the models say of the first images that train, and of the first that do not."""
    chosen = [[one for one in unlabelled if bool(one.reason) == left_out][:DRAWN] for left_out in (False, True)]
    pictures, titles = [], []
    for one in [*chosen[0], *chosen[1]]:
        case = teacher.read(one.files)
        mask = _mask(one, case) if one.answer.exists() else None
        pictures.append(
            overlay(case.image, None if mask is None else np.where(mask == IGNORE, 0, mask), spacing=case.spacing)
        )
        titles.append(f"{case.name}: {one.reason or TRAINS}")
    heading = "Unlabelled images, with the masks that the models of all folds predict"
    with atomic_path(path) as temporary:
        with_heading(tile(pictures, titles, 6), heading, teacher.labels.names[1:]).save(temporary, format="PNG")


def with_predicted_masks(unlabelled: Sequence[Unlabelled], teacher: Model) -> Iterator[Case]:
    """The images that train, each read when it is asked for, with its predicted mask; what is unsure is `IGNORE`."""
    for one in unlabelled:
        if not one.reason:
            case = teacher.read(one.files)
            yield replace(case, name=f"{ANSWERS}/{case.name}", mask=_mask(one, case))


def _mask(one: Unlabelled, case: Case) -> NDArray[np.uint8]:
    with np.load(one.answer, allow_pickle=False) as said:
        mask: NDArray[np.uint8] = said["mask"].reshape(case.spatial)
    return mask


def check_same_images(images: Path, run: RunFolder) -> None:
    """Raise RunError where a folder does not hold the images, by name, that the run has used before."""
    entries = index_images(images, channel_files=run.delivery().channel_files)
    now, before = {csv_text(_called(files)) for files in entries}, {row["image"] for row in _table(run.path)}
    if now != before:
        raise RunError(
            f"{run.path}: the final model was begun with other unlabelled images than {printable(images)} holds now "
            f"({len(now - before)} new, {len(before - now)} missing); restore them, or start a new run"
        )


def used_images(run: Path) -> str:
    """How many unlabelled images train, and how many are left out for which reason, in words."""
    counts = Counter(row["use"] for row in _table(run))
    total, used = counts.total(), counts.pop(TRAINS, 0)
    said = f"{used} of {total} unlabelled images train"
    left_out = "; ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"{said} (left out: {left_out})" if left_out else said


def _table(run: Path) -> list[dict[str, str]]:
    with (run / ANSWERS / TABLE).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _called(files: CaseFiles) -> str:
    return printable(files.images[0].name)
