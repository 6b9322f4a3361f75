"""What a model says of unlabelled images: asked once, and kept in the folder of a run, for there may be thousands."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_path, inner_folder
from genseg.drawing.overlays import overlay, tile, with_heading
from genseg.models.model import Model
from genseg.predict.prediction import Prediction
from genseg.read.case import IGNORE, Case, CaseFiles
from genseg.segmenters.network import Array

ANSWERS = "unlabelled"
"""Folder of all that models say of unlabelled images."""

SEGMENTING = "Segmenting unlabelled images"
"""What is being done while a model is asked."""

SURE = 60
"""Percent of probability of its class from which on a pixel counts; the models of an ensemble count alike, so that most
agree on it.
"""


@dataclass(frozen=True)
class Answer:
    """What a model says of an image.

    mask: `(*spatial)` uint8 class indices, `IGNORE` where the model is not sure. is_found: whether there is any
    foreground. expected_dice, ood_score: as in `Prediction`, nan for None. features: `(feature,)`, of the encoder's
    coarsest level.
    """

    mask: NDArray[np.uint8]
    is_found: bool
    expected_dice: float
    ood_score: float
    features: Array


@dataclass(frozen=True)
class Answers:
    """The answers of one model. folder: where they are kept, one file an image, called by what it shows."""

    model: Model
    folder: Path

    @classmethod
    def within(cls, path: Path, model: Model) -> Answers:
        """Those kept below a folder; each model has its own, by the hash of its weights and of what is known of it."""
        known = json.dumps(model.trust.to_json(), sort_keys=True)
        told = hashlib.sha256(f"{model.sha256}{known}".encode()).hexdigest()
        return cls(model, inner_folder(path, Path(ANSWERS, told[:16])))

    def ask(self, image: CaseFiles | Case, pixels: str) -> Answer:
        """The answer for an image, which is segmented unless it was before. pixels: see `pixels_hash`.

        image: read or not; it is read where it must be segmented. Raises DataError where it cannot be read or
        segmented.
        """
        kept = self._path(pixels)
        if not kept.exists():
            case = image if isinstance(image, Case) else self.model.read(image)
            self._keep(self.model.examine_case(case), kept)
        with np.load(kept, allow_pickle=False) as stored:
            said = {name: stored[name] for name in stored.files}
        numbers = {name: float(said[name]) for name in ("expected_dice", "ood_score")}
        return Answer(said["mask"], bool(said["is_found"]), **numbers, features=said["features"])

    def case(self, files: CaseFiles, pixels: str) -> Case:
        """The image as a case, with the mask that was predicted."""
        case = self.model.read(files)
        return replace(case, mask=self.ask(case, pixels).mask.reshape(case.spatial))

    def draw(
        self, images: Sequence[tuple[CaseFiles, str]], titles: Sequence[str], columns: int, heading: str, path: Path
    ) -> None:
        """Draw images, each with its predicted mask where it was segmented, as PNG. images: as `ask` takes them."""
        pictures = []
        for files, pixels in images:
            case = self.case(files, pixels) if self._path(pixels).exists() else self.model.read(files)
            mask = None if case.mask is None else np.where(case.mask == IGNORE, 0, case.mask)
            pictures.append(overlay(case.image, mask, spacing=case.spacing))
        with atomic_path(path) as temporary:
            sheet = with_heading(tile(pictures, titles, columns), heading, self.model.labels.names[1:])
            sheet.save(temporary, format="PNG")

    def _path(self, pixels: str) -> Path:
        return self.folder / f"{pixels}.npz"

    @staticmethod
    def _keep(prediction: Prediction, path: Path) -> None:
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                mask=np.where(prediction.confidence >= SURE, prediction.mask, np.uint8(IGNORE)),
                is_found=np.bool_(prediction.mask.any()),
                expected_dice=_number(prediction.expected_dice),
                ood_score=_number(prediction.ood_score),
                features=prediction.features[-1] if prediction.features else np.zeros(0, np.float32),
            )


def _number(value: float | None) -> np.float64:
    return np.float64(np.nan if value is None else value)
