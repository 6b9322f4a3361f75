"""A CSV list: one row a case, with the columns image, mask and, where known, patient and split."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from genseg.data.case import CaseFiles
from genseg.data.index.description import stop_broken
from genseg.data.index.listed import listed_path
from genseg.data.index.names import match_key, split_name
from genseg.data.index.record import Contents, Findings
from genseg.data.readers.formats import stem

SUFFIXES = frozenset({".csv", ".tsv"})

_COLUMNS = {
    "image": "image",
    "scan": "image",
    "mask": "mask",
    "label": "mask",
    "segmentation": "mask",
    "patient": "patient",
    "patient_id": "patient",
    "split": "split",
}
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class _Row:
    number: int
    cells: dict[str, str]

    @property
    def place(self) -> str:
        return f"line {self.number}"


def read_csv_list(path: Path, findings: Findings) -> Contents:
    """The cases that the list names, in its order; paths are relative to the list's own folder.

    The separator is whichever of comma, semicolon and tab the header has most of; header names may be in any case.
    A column `patient` keeps the scans of one person together, `split` (train, val, test) fixes the split.
    """
    rows = _read_rows(path, findings)
    cases = [case for case in (_case(row, path, findings) for row in rows) if case is not None]
    cases = _with_distinct_names(cases, path.parent)
    if any(case.split for case in cases):
        for row in rows:
            if not row.cells.get("split"):
                stop_broken(path, f"{row.place} has no split", "a split in every row, as others have", findings)
    return Contents(
        "CSV list",
        [case for case in cases if case.mask is not None],
        [case.images[0] for case in cases if case.mask is None],
        declared_order=True,
    )


def _read_rows(path: Path, findings: Findings) -> list[_Row]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text))
        lines = [(reader.line_num, [cell.strip() for cell in line]) for line in reader]
    except (OSError, UnicodeDecodeError, csv.Error):
        stop_broken(path, "cannot be read as a CSV list", "a CSV file in UTF-8", findings)
        return []
    filled = [(number, line) for number, line in lines if any(line)]
    header = [_COLUMNS.get(cell.lower(), "") for cell in filled[0][1]] if filled else []
    repeated = [name for name, count in Counter(header).items() if name and count > 1]
    if "image" not in header or "mask" not in header or repeated:
        found = " ".join(map(repr, filled[0][1])) if filled else "nothing"
        stop_broken(path, f"the header {found}", "one column image and one mask (also patient, split)", findings)
        return []
    return [row for number, line in filled[1:] for row in _row(number, line, header, path, findings)]


def _separator(text: str) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    return max(_SEPARATORS, key=header.count)


def _row(number: int, line: list[str], header: Sequence[str], path: Path, findings: Findings) -> list[_Row]:
    if len(line) != len(header):
        stop_broken(path, f"line {number} has {len(line)} cells", f"{len(header)} as the header has", findings)
        return []
    return [_Row(number, {name: cell for name, cell in zip(header, line, strict=True) if name})]


def _case(row: _Row, path: Path, findings: Findings) -> CaseFiles | None:
    image_text, mask_text, split_text = (row.cells.get(name, "") for name in ("image", "mask", "split"))
    split = split_name(split_text)
    if split_text and split is None:
        stop_broken(path, f"{row.place} has the split {split_text!r}", "train, val or test", findings)
    if not image_text:
        stop_broken(path, f"{row.place} has no image", "an image in every row", findings)
        return None
    image = listed_path(image_text, row.place, path, path.parent, findings, absolute=True)
    mask = listed_path(mask_text, row.place, path, path.parent, findings, absolute=True) if mask_text else None
    if image is None or (mask_text and mask is None):
        return None
    return CaseFiles(stem(image), (image,), mask, row.cells.get("patient", ""), split)


def _with_distinct_names(cases: Sequence[CaseFiles], root: Path) -> list[CaseFiles]:
    """Cases named by their image; where two images have one name (`p1/scan.png`, `p2/scan.png`), by its path."""
    counts = Counter(match_key(case.name) for case in cases)
    return [_named(case, root, counts[match_key(case.name)] > 1) for case in cases]


def _named(case: CaseFiles, root: Path, with_folder: bool) -> CaseFiles:
    image = case.images[0]
    folder = (image.relative_to(root) if image.is_relative_to(root) else image).parent
    parts = [part for part in folder.parts if part not in (folder.anchor, "..")] if with_folder else []
    name = "_".join([*parts, case.name])
    return replace(case, name=name, patient=case.patient or name)
