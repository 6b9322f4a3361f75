"""A CSV list: one row a case, with columns for image, mask and, where known, patient and split."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import FaultCode, listed
from genseg.index.columns import (
    PRIVATE,
    AmbiguousColumnsError,
    Columns,
    cells_of,
    column_key,
    find_columns,
    listed_split,
    looks_like_patient,
    looks_like_split,
)
from genseg.index.description import stop_broken
from genseg.index.findings import Contents, Findings
from genseg.index.listed import ListedPaths, existing
from genseg.index.listing import files_with_suffix
from genseg.index.names import match_key
from genseg.index.pairing import with_distinct_names
from genseg.read.case import CaseFiles
from genseg.read.formats import stem

SUFFIXES = frozenset({".csv", ".tsv"})

_SEPARATORS = ",;\t"
_EXPECTED = "one column image and one mask (also patient, split)"
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class _Row:
    number: int
    cells: list[str]

    @property
    def place(self) -> str:
        return f"line {self.number}"

    def cell(self, place: int | None) -> str:
        return "" if place is None else self.cells[place]


@dataclass(frozen=True)
class _Table:
    """A list as read: the names of its columns, and its rows, each with as many cells."""

    path: Path
    header: list[str]
    rows: list[_Row]
    columns: Columns

    def shown(self, place: int) -> str:
        """A column by its name, for messages."""
        return repr(printable(self.header[place])) if self.header[place] else f"{place + 1} (no name)"


def read_csv_list(path: Path, findings: Findings) -> Contents:
    """The cases that the list names, in its order; paths are relative to the list's own folder.

    The separator is whichever of comma, semicolon and tab the header has most of. Columns are known by many names (see
    `columns`): one keeps the scans of one person together, one fixes the split (train, val, test). Those that are not
    read are named in a warning, and stop where they look like a patient or a split.
    """
    layout = "CSV list"
    table = _read_table(path, findings)
    if table is None:
        return Contents(layout, [])
    _judge_unread(table, findings)
    _judge_cells(table, findings)
    paths = ListedPaths(path, path.parent, findings, absolute=True)
    cases = [case for case in (_case(row, table.columns, paths) for row in table.rows) if case is not None]
    paths.stop_missing()
    cases = _with_patients(with_distinct_names(cases, path.parent), table)
    return Contents(
        layout,
        [case for case in cases if case.mask is not None],
        [case for case in cases if case.mask is None],
        declared_order=True,
    )


def warn_unread_lists(folder: Path, findings: Findings) -> None:
    """Add a warning for each list in a folder that tells patients or a split, and is not read."""
    for path in files_with_suffix(folder, SUFFIXES, findings):
        table = _read_table(path, Findings())
        columns = {} if table is None else {"patient": table.columns.patient, "split": table.columns.split}
        told = [kind for kind, place in columns.items() if place is not None]
        if told:
            cure = "Give genseg this list instead of the folder to use them."
            found = f"a list with the columns image, mask and {' and '.join(told)} that is not read"
            findings.warn(FaultCode.NOT_READ, path, found, "the folders of images and masks alone", cure)


def _read_table(path: Path, findings: Findings) -> _Table | None:
    """The table with the places of its columns; None, with a fault, where it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError:
        stop_broken(path, "cannot be read", "a CSV file", findings)
        return None
    text = _decoded(content, path.parent)
    if text is None:
        cure = 'Save it as UTF-8; in Excel, as "CSV UTF-8 (comma delimited)".'
        found = "cannot be read: it is not in UTF-8, and in Windows-1252 it names files that do not exist"
        findings.stop(FaultCode.LAYOUT_BROKEN, path, found, "a CSV file in UTF-8", cure)
        return None
    return _parsed(text, path, findings)


def _decoded(content: bytes, root: Path) -> str | None:
    """The text in UTF-8, in UTF-16 that says so, or in Windows' encoding if every path in it then exists; else None."""
    try:
        text = content.decode("utf-16" if content.startswith(_UTF_16) else "utf-8-sig")
        return None if "\0" in text else text  # UTF-16 that does not say so is full of zeros
    except UnicodeDecodeError:
        pass
    try:
        text = content.decode("cp1252")
        lines = _lines(text)
        columns = find_columns(lines[0].cells, [row.cells for row in lines[1:]], lambda cell: _is_file(cell, root))
    except (UnicodeDecodeError, csv.Error, IndexError, AmbiguousColumnsError):
        return None
    cells = [
        cell
        for place in (columns.image, columns.mask)
        if place is not None
        for cell in cells_of([row.cells for row in lines[1:]], place)
    ]
    return text if cells and all(_is_file(cell, root) for cell in cells) else None


def _is_file(text: str, root: Path) -> bool:
    try:
        return existing(text, root) is not None
    except (OSError, ValueError):
        return False


def _lines(text: str) -> list[_Row]:
    """The lines that are not blank. Raises csv.Error."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
    rows = [_Row(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    return [row for row in rows if any(row.cells)]


def _separator(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=header.count)


def _parsed(text: str, path: Path, findings: Findings) -> _Table | None:
    try:
        lines = _lines(text)
    except csv.Error:
        stop_broken(path, "cannot be read: a quotation mark that is never closed, or a very long cell", "CSV", findings)
        return None
    if not lines:
        stop_broken(path, "the header nothing", _EXPECTED, findings)
        return None
    header, rows = lines[0].cells, _even_rows(lines, path, findings)
    try:
        columns = find_columns(header, [row.cells for row in rows], lambda cell: _is_file(cell, path.parent))
    except AmbiguousColumnsError as error:
        found = f"the header has several columns for the {error.kind}: {_columns(header, error.places)}"
        stop_broken(path, found, f"one column {error.kind}", findings)
        return None
    if columns.image is None or columns.mask is None:
        _stop_header(header, path, findings)
        return None
    return _Table(path, header, rows, columns)


def _columns(header: Sequence[str], places: Sequence[int]) -> str:
    return listed([repr(printable(header[place])) for place in places])


def _stop_header(header: Sequence[str], path: Path, findings: Findings) -> None:
    """Add the fault of a list without a column of images or of masks; cells of data may name patients."""
    if any(_is_file(cell, path.parent) for cell in header if cell):
        stop_broken(path, "the first line lists files, so there is no header", f"a header: {_EXPECTED}", findings)
        return
    found = f"the header {' '.join(repr(printable(cell)) for cell in header)}"
    cure = "Name the columns image and mask and list files in them; masks as run lengths or polygons are not read."
    findings.stop(FaultCode.LAYOUT_BROKEN, path, found, _EXPECTED, cure)


def _even_rows(lines: Sequence[_Row], path: Path, findings: Findings) -> list[_Row]:
    """The rows that have as many cells as the header, empty ones beyond it aside; the others are one fault."""
    count = len(lines[0].cells)
    rows = [replace(row, cells=row.cells[:count]) if not any(row.cells[count:]) else row for row in lines[1:]]
    odd = [row for row in rows if len(row.cells) != count]
    if odd:
        found = f"{_places(odd)} {len(odd[0].cells)} cells" + (" or another number" if len(odd) > 1 else "")
        stop_broken(path, found, f"{count} as the header has", findings)
    return [row for row in rows if len(row.cells) == count]


def _places(rows: Sequence[_Row], verb: str = "has") -> str:
    """ "line 3 has", "lines 3, 7 and 2 more have"."""
    if len(rows) == 1:
        return f"{rows[0].place} {verb}"
    return f"{len(rows)} lines ({listed([str(row.number) for row in rows])}) have"


def _judge_unread(table: _Table, findings: Findings) -> None:
    """Name the columns that are not read; stop where one looks like the patient or the split and none is read."""
    lines = [row.cells for row in table.rows]
    for place in table.columns.unread:
        header, cells = table.header[place], cells_of(lines, place)
        if table.columns.split is None and looks_like_split(header, cells):
            _stop_unread(table, place, "split", "say which cases train and which test", findings)
        elif table.columns.patient is None and looks_like_patient(header, cells):
            _stop_unread(table, place, "patient", "say which cases are of one patient", findings)
    if table.columns.unread:
        findings.warn(
            FaultCode.NOT_READ,
            table.path,
            f"columns that are not read: {listed([table.shown(place) for place in table.columns.unread])}",
            "columns for image, mask, patient and split",
            "If one of them tells the patient or the split, rename it patient or split.",
        )


def _stop_unread(table: _Table, place: int, kind: str, use: str, findings: Findings) -> None:
    cells = cells_of([row.cells for row in table.rows], place)
    findings.stop(
        FaultCode.LAYOUT_BROKEN,
        table.path,
        f"the column {table.shown(place)} has {len(set(cells))} values for {len(cells)} rows and may {use}, "
        "but is not read",
        f"a column {kind}, or none that looks like one",
        f"Rename it {kind} if it does; else take it out of a copy of the list.",
    )


def _judge_cells(table: _Table, findings: Findings) -> None:
    """One fault for all rows without an image, without a split where others have one, and for each unknown split."""
    path, columns = table.path, table.columns
    without_image = [row for row in table.rows if not row.cell(columns.image)]
    if without_image:
        stop_broken(path, f"{_places(without_image)} no image", "an image in every row", findings)
    splits = {row.number: row.cell(columns.split) for row in table.rows}
    for text in sorted({text for text in splits.values() if text and listed_split(text) is None}):
        rows = [row for row in table.rows if splits[row.number] == text]
        stop_broken(path, f"{_places(rows)} the split {printable(text)!r}", "train, val or test", findings)
    without_split = [row for row in table.rows if not splits[row.number]]
    if without_split and any(splits.values()):
        stop_broken(path, f"{_places(without_split)} no split", "a split in every row, as others have", findings)
    without_patient = [row for row in table.rows if not row.cell(columns.patient)]
    if without_patient and len(without_patient) < len(table.rows):
        found = f"{_places(without_patient)} no patient"
        cure = "Each of these cases is taken for a patient of its own; name the patient where it is another's."
        findings.warn(FaultCode.PATIENTS_UNKNOWN, path, found, "a patient in every row, as others have", cure)


def _case(row: _Row, columns: Columns, paths: ListedPaths) -> CaseFiles | None:
    image_text, mask_text = row.cell(columns.image), row.cell(columns.mask)
    image = paths.find(image_text, row.place) if image_text else None
    mask = paths.find(mask_text, row.place) if mask_text else None
    if image is None or (mask_text and mask is None):
        return None
    split, patient = listed_split(row.cell(columns.split)), row.cell(columns.patient)
    return CaseFiles(stem(image), (image,), mask, patient, split, "the CSV list" if patient else "")


def _with_patients(cases: Sequence[CaseFiles], table: _Table) -> list[CaseFiles]:
    """Patients as first spelled, for letter case tells nobody apart; called by their first case where kept private."""
    place = table.columns.patient
    is_private = place is not None and column_key(table.header[place]) in PRIVATE
    first: dict[str, str] = {}
    for case in cases:
        if case.patient:
            first.setdefault(match_key(case.patient), case.name if is_private else case.patient)
    return [replace(case, patient=first.get(match_key(case.patient), case.name)) for case in cases]
