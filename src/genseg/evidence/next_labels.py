"""Which unlabelled images a person should label next: unsure ones, near which most of what is unknown lies.

Of n images that are wanted, the 2 n of which the model expects the worst masks are candidates. Among them, a set S is
chosen that makes this large:

    sum over unlabelled images u of  (1 - expected Dice of u) x (largest similarity of u to an image of S)

The similarity is the cosine of the encoder's features of two images, less their mean over all images; not below 0.
Source: Yang et al., Suggestive Annotation, MICCAI 2017: uncertain images first, then those that represent all others by
this measure; here uncertainty also weighs what is represented. The sum is submodular, so that taking one image after
the other, each time the one that adds most, reaches 1 - 1/e of what is possible (Nemhauser et al., Mathematical
Programming 1978). What this and other rules bring: `benchmarks/accuracy/next_labels.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_write_csv, printable
from genseg.base.progress import Progress, work_through
from genseg.errors import DataError, Fault, FaultCode, SettingsError
from genseg.evidence.answers import SEGMENTING, Answer, Answers
from genseg.index import index_images
from genseg.models.load import load_model
from genseg.models.model import Model
from genseg.read.case import CaseFiles
from genseg.read.identity import pixels_hash
from genseg.results.outputs import output_folder
from genseg.runs.folder import RunFolder
from genseg.segmenters.network import Array

FOLDER, LIST, PICTURE = "next", "next.csv", "next.png"
CANDIDATES = 2
"""Of so many times as many images as are wanted, those of which the model is least sure, the best are chosen."""


@dataclass(frozen=True)
class NextImage:
    """An image to label next.

    path: its (first) file. expected_dice: of the predicted mask; None where nothing was found. alike: how many of the
    unlabelled images are nearest to this one of those that were chosen. gain: what it adds to the sum, as a share of
    the largest sum that labelling every image would give. reason: all this in words.
    """

    path: Path
    expected_dice: float | None
    alike: int
    gain: float
    reason: str


@dataclass(frozen=True)
class _Candidate:
    files: CaseFiles
    pixels: str
    answer: Answer


def choose_next(
    run: RunFolder, images: Path, count: int, out: Path | None, device: str, progress: Progress
) -> list[NextImage]:
    """Choose images to label next, best first, and write a list and a contact sheet of them into the folder `out`.

    The models of all folds judge together where they are there. None for `out` takes a folder in the run. Raises as
    `genseg.next_images`.
    """
    if count < 1:
        raise SettingsError(f"count: {count} found; expected a number from 1 up")
    model = load_model(run.path, device, ensemble=run.has_ensemble)
    labelled = frozenset(run.record("images.json", dict[str, str]).values())
    answers = Answers.within(run.path, model)
    candidates = _ask(images, answers, labelled, progress)
    if not candidates:
        cure = "Give a folder with further images."
        raise DataError(
            [Fault(FaultCode.TOO_FEW_CASES, printable(images), "labelled images alone", "images without a mask", cure)]
        )
    said = [one.answer for one in candidates]
    unknown = _unknown(said, often_empty=model.trust.often_empty)
    chosen, gains, nearest = represent(np.stack([one.features for one in said]), unknown, count)
    alike = np.bincount(nearest, minlength=len(chosen))
    total = max(float(unknown.sum()), 1e-12)
    found = [
        _described(candidates[place], model, int(number), gain / total)
        for place, number, gain in zip(chosen, alike, gains, strict=True)
    ]
    folder = output_folder(run.path / FOLDER if out is None else out, [one.files.images[0] for one in candidates])
    rows = [
        (rank, printable(one.path), one.expected_dice, one.alike, one.gain, one.reason)
        for rank, one in enumerate(found, 1)
    ]
    atomic_write_csv(folder / LIST, ("rank", "image", "expected_dice", "alike", "gain", "reason"), rows)
    titles = [f"{rank}. {printable(one.path.name)}" for rank, one in enumerate(found, 1)]
    heading = "Images to label next, with the masks that are predicted now"
    shown = [(candidates[place].files, candidates[place].pixels) for place in chosen]
    answers.draw(shown, titles, 5, heading, folder / PICTURE)
    return found


def represent(
    features: Array, unknown: NDArray[np.float64], count: int
) -> tuple[list[int], list[float], NDArray[np.intp]]:
    """The unsure images, best first, that represent all images best; see the head of this file.

    features: `(image, feature)`. unknown: `(image,)`, 1 - expected Dice. Returns their places, what each adds to the
    sum, and for every image which of them is nearest, `(image,)`.
    """
    candidates = np.argsort(-unknown, kind="stable")[: CANDIDATES * count]
    centred = features - features.mean(0)
    unit = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
    similarity = np.maximum(unit @ unit[candidates].T, 0)
    similarity[candidates, np.arange(len(candidates))] = 1
    best, nearest = np.zeros(len(unit)), np.zeros(len(unit), np.intp)
    chosen: list[int] = []
    gains: list[float] = []
    for rank in range(min(count, len(candidates))):
        added = unknown @ np.maximum(similarity - best[:, None], 0)
        added[chosen] = -1
        place = int(added.argmax())
        nearest[similarity[:, place] > best] = rank
        best = np.maximum(best, similarity[:, place])
        chosen.append(place)
        gains.append(float(added[place]))
    return [int(candidates[place]) for place in chosen], gains, nearest


def _ask(images: Path, answers: Answers, labelled: frozenset[str], progress: Progress) -> list[_Candidate]:
    """What the model says of every image that is not labelled, each image once. Raises DataError as `choose_next`."""
    entries = index_images(images, channel_files=answers.model.channel_files)
    known = set(labelled)

    def ask(files: CaseFiles) -> _Candidate | None:
        case = answers.model.read(files)
        pixels = pixels_hash(case)
        candidate = None if pixels in known else _Candidate(files, pixels, answers.ask(case, pixels))
        known.add(pixels)
        return candidate

    return [one for one in work_through(SEGMENTING, entries, ask, progress) if one is not None]


def _unknown(answers: Sequence[Answer], *, often_empty: bool) -> NDArray[np.float64]:
    """How much the model does not know of each image, 0..1, `(image,)`.

    All of one in which nothing is found; as much as of the others where images without any object are usual.
    """
    unknown = 1 - np.array([one.expected_dice for one in answers])
    is_empty = np.isnan(unknown)
    usual = float(unknown[~is_empty].mean()) if often_empty and not is_empty.all() else 1.0
    filled: NDArray[np.float64] = np.where(is_empty, usual, unknown)
    return filled


def _described(candidate: _Candidate, model: Model, alike: int, gain: float) -> NextImage:
    answer, ood = candidate.answer, model.trust.ood
    dice = None if np.isnan(answer.expected_dice) else answer.expected_dice
    reason = "nothing was found in it" if dice is None else f"expected Dice {dice:.2f}"
    if ood is not None and answer.ood_score > ood.highest:
        reason += ", unlike the labelled images"
    reason += f", the most similar choice for {alike} of the images" if alike > 1 else ", unlike all other images"
    return NextImage(candidate.files.images[0], dice, alike, float(gain), reason)
