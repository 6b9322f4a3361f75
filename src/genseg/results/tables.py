"""The tables of a folder of masks, written from what its manifest tells."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from genseg.base.files import append_csv, atomic_path, atomic_write_csv, csv_text
from genseg.measure.contours import contour_columns
from genseg.measure.sizes import measurement_columns
from genseg.results.manifest import Record

PREDICTIONS, MEASUREMENTS, CONTOURS = "predictions.csv", "measurements.csv", "contours.csv"

COLUMNS = ("case", "mask", "expected_dice", "ood_score", "notes", "image_sha256", "model_sha256")
"""Of `predictions.csv`; of the others, see `measurement_columns` and `contour_columns`."""


def write_tables(folder: Path, records: Sequence[Record], rank: int, contours: Path) -> None:
    """Write the tables about these masks, each atomically.

    contours: a file that holds the outlines of all of them, and perhaps of others; it may be the one that is written.
    """
    atomic_write_csv(folder / PREDICTIONS, COLUMNS, map(prediction_cells, records))
    measurements = (row for record in records for row in record.measurements)
    atomic_write_csv(folder / MEASUREMENTS, measurement_columns(rank), measurements)
    outlined = {csv_text(record.case) for record in records if "contours" in record.extras}
    if outlined:
        _copy_contours(contours, folder / CONTOURS, outlined, rank)
    else:
        (folder / CONTOURS).unlink(missing_ok=True)


def append_contours(folder: Path, rows: Iterable[Sequence[object]], rank: int) -> None:
    """Add outlines to `contours.csv`, which is made where it is missing."""
    if not (folder / CONTOURS).exists():
        atomic_write_csv(folder / CONTOURS, contour_columns(rank), ())
    append_csv(folder / CONTOURS, rows)


def prediction_cells(record: Record) -> tuple[object, ...]:
    """The row of `predictions.csv` about a mask."""
    figures = (record.expected_dice, record.ood_score)
    dice, ood_score = (None if figure is None else round(figure, 4) for figure in figures)
    notes = "; ".join(record.notes)
    return record.case, record.mask.path, dice, ood_score, notes, record.image_sha256, record.model_sha256


def _copy_contours(source: Path, target: Path, cases: set[str], rank: int) -> None:
    """Copy the rows of some cases as they stand. cases: as they are written in a table."""
    with atomic_path(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(contour_columns(rank))
        writer.writerows(row for row in _rows(source) if row[0] in cases)


def _rows(path: Path) -> Iterator[list[str]]:
    """Rows below the column names; a last one that was cut short by a crash belongs to a mask that is not there."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows, None)
            yield from (row for row in rows if row)
    except FileNotFoundError:
        return
