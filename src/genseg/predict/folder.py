"""A folder of images through a model: the masks, and beside them what a person or a program asks for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from genseg.data.case import Case, CaseFiles
from genseg.data.dicom_seg import write_dicom_seg
from genseg.data.readers.formats import Format
from genseg.data.readers.source import is_folder, read_source
from genseg.data.writers import write_mask
from genseg.errors import DataError, Fault
from genseg.files import atomic_write_csv
from genseg.predict.contours import Contour, trace_contours, write_contours
from genseg.predict.measurements import Measurement, measure, write_measurements
from genseg.predict.outputs import CONFIDENCE, output_folder, palette, write_overlay
from genseg.progress import Progress

if TYPE_CHECKING:
    from genseg.predict.model import Model
    from genseg.predict.prediction import Prediction

Extra = Literal["overlays", "confidence", "contours", "dicom-seg"]


@dataclass(frozen=True)
class PredictedCase:
    """A case whose mask was written. The other fields are those of `Prediction`."""

    name: str
    mask: Path
    expected_dice: float | None
    strangeness: float | None
    notes: tuple[str, ...]


@dataclass
class Tables:
    """What is written once for all cases, when the last one is done, or when the user has had enough."""

    cases: list[PredictedCase] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    contours: list[Contour] = field(default_factory=list)

    def write(self, folder: Path, rank: int, extras: Collection[Extra], ending: str = "") -> None:
        """Write `predictions.csv`, `measurements.csv` and, where asked for, `contours.csv`. ending: before the dot."""
        write_predictions(folder / f"predictions{ending}.csv", self.cases)
        write_measurements(folder / f"measurements{ending}.csv", self.measurements, rank)
        if "contours" in extras:
            write_contours(folder / f"contours{ending}.csv", self.contours, rank)


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
    tables = Tables()
    faults: list[Fault] = []
    try:
        for number, files in enumerate(entries, 1):
            try:
                predict_entry(model, files, folder, extras, tables)
            except DataError as error:
                faults += error.faults
            progress("Predicting", number, len(entries))
    finally:
        tables.write(folder, model.plan.rank, extras)
    if faults:
        raise DataError(faults)
    return tables.cases


def predict_entry(
    model: Model, files: CaseFiles, folder: Path, extras: Collection[Extra], tables: Tables
) -> PredictedCase:
    """Segment one image, write its mask and the extras, and add to the tables.

    Raises DataError where it cannot be segmented; of what was asked for, the mask is written first.
    """
    case = model.read(files)
    found = model.examine_case(case)
    mask = write_mask(found.mask, files.images[0], folder, palette(model.plan.classes), files.name)
    predicted = PredictedCase(files.name, mask, found.expected_dice, found.strangeness, found.notes)
    _write_extras(case, found, files, folder, extras, model.labels.names)
    tables.cases.append(predicted)
    tables.measurements += measure(case, found.mask, model.labels.names)
    if "contours" in extras:
        tables.contours += trace_contours(case, found.mask, model.labels.names)
    return predicted


def _write_extras(
    case: Case, found: Prediction, files: CaseFiles, folder: Path, extras: Collection[Extra], names: Sequence[str]
) -> None:
    like = files.images[0]
    if "overlays" in extras:
        write_overlay(case, found.mask, folder)
    if "confidence" in extras:
        (folder / CONFIDENCE).mkdir(exist_ok=True)
        write_mask(found.confidence, like, folder / CONFIDENCE, name=files.name)
    if "dicom-seg" in extras and _is_dicom(like):
        write_dicom_seg(found.mask, like, folder, names, files.name)


def _is_dicom(path: Path) -> bool:
    """Of folders only those of a DICOM series are images."""
    return is_folder(path) or read_source(path).format is Format.DICOM


def write_predictions(path: Path, cases: Iterable[PredictedCase]) -> None:
    """One line a case, atomically; an empty cell where there is nothing to say."""
    columns = ("case", "mask", "expected_dice", "strangeness", "notes")
    rows = [
        (case.name, case.mask.name, _shown(case.expected_dice), _shown(case.strangeness), "; ".join(case.notes))
        for case in cases
    ]
    atomic_write_csv(path, columns, rows)


def _shown(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
