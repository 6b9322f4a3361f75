"""A folder of images through a model: the masks, and beside them what a person or a program asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genseg.data.case import CaseFiles
from genseg.data.writers import write_mask
from genseg.errors import DataError, Fault
from genseg.files import atomic_write_csv
from genseg.predict.outputs import output_folder, palette, write_overlay
from genseg.progress import Progress

if TYPE_CHECKING:
    from genseg.predict.model import Model

Extra = Literal["overlays", "confidence", "contours", "dicom-seg"]


@dataclass(frozen=True)
class PredictedCase:
    """A case whose mask was written. The other fields are those of `Prediction`."""

    name: str
    mask: Path
    expected_dice: float | None
    strangeness: float | None
    notes: tuple[str, ...]


def predict_entries(
    model: Model,
    entries: Sequence[CaseFiles],
    images: Path,
    out: Path,
    extras: Collection[Extra],
    progress: Progress,
) -> list[PredictedCase]:
    """Segment and write every entry; see `Model.predict_folder`. images: the folder that they were found in."""
    folder = output_folder(out, [images, *(path for files in entries for path in files.images)])
    written: list[PredictedCase] = []
    faults: list[Fault] = []
    for number, files in enumerate(entries, 1):
        try:
            written.append(predict_entry(model, files, folder, extras))
        except DataError as error:
            faults += error.faults
        progress("Predicting", number, len(entries))
    write_predictions(folder / "predictions.csv", written)
    if faults:
        raise DataError(faults)
    return written


def predict_entry(model: Model, files: CaseFiles, folder: Path, extras: Collection[Extra]) -> PredictedCase:
    """Segment one image and write its mask and the extras. Raises DataError where it cannot be segmented."""
    case = model.read(files)
    found = model.examine_case(case)
    like = files.images[0]
    if "overlays" in extras:
        write_overlay(case, found.mask, folder)
    if "confidence" in extras:
        (folder / "confidence").mkdir(exist_ok=True)
        write_mask(found.confidence, like, folder / "confidence", name=files.name)
    mask = write_mask(found.mask, like, folder, palette(model.plan.classes), files.name)
    return PredictedCase(files.name, mask, found.expected_dice, found.strangeness, found.notes)


def write_predictions(path: Path, cases: Iterable[PredictedCase]) -> None:
    """One line a case, atomically; an empty cell where there is nothing to say."""
    columns = ("case", "mask", "expected_dice", "strangeness", "notes")
    rows = [
        (case.name, case.mask.name, _shown(case.expected_dice), _shown(case.strangeness), "; ".join(case.notes))
        for case in cases
    ]
    atomic_write_csv(path, columns, rows)


def _shown(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"
