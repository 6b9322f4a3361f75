"""A folder of masks that tells what each was made from, so that no table speaks of masks that do not lie there.

::

    NAME.png (.nii.gz ...)              the masks
    NAME.dcm overlays/ confidence/      what else was asked for
    predictions.csv measurements.csv    a row for each mask, and for each class in it
    contours.csv                        a row for each point of an outline, where asked for
    manifest.jsonl                      what was written, with hashes of image, model and mask: a line for each mask
    replaced/TIME/                      masks that made way for others, with all that belongs to them

What there is to say of a mask is on the disk before the mask is, so that a process that is killed leaves no mask
without its rows. The rows go when the mask has gone, or when a person has edited it.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from pathlib import Path

from genseg.base.files import (
    append_csv,
    append_line,
    at_place,
    file_sha256,
    inner_folder,
    move_file,
    printable,
    stay_inside,
    sweep,
    temporary_folder,
)
from genseg.base.locking import folder_lock
from genseg.errors import RunError, listed
from genseg.index.names import match_key
from genseg.read.case import CaseFiles
from genseg.read.formats import stem, suffix
from genseg.results.content import content_sha256, sizes, stamp
from genseg.results.manifest import Record, Written, read_manifest, write_manifest
from genseg.results.outputs import CONFIDENCE, OVERLAYS, output_folder
from genseg.results.tables import (
    CONTOURS,
    MEASUREMENTS,
    PREDICTIONS,
    append_contours,
    prediction_cells,
    write_tables,
)

MANIFEST, REPLACED = "manifest.jsonl", "replaced"


@dataclass(frozen=True)
class Maker:
    """What decides a mask beside its image: the model, and how it is used. rank: 2 for pictures, 3 for volumes."""

    model_sha256: str
    settings_sha256: str
    rank: int


@dataclass
class Results:
    """The folder while a process works in it. Made by `open_results`.

    records: of the masks that lie there, by `Record.key`. edited: keys of masks that a person has changed since.
    moved: key -> where this process has set the earlier mask of a case aside. spent: paths of what masks that have gone
    have left.
    """

    folder: Path
    maker: Maker
    records: dict[str, Record]
    edited: set[str]
    spent: set[str]
    moved: dict[str, Path] = field(default_factory=dict)

    def find(self, files: CaseFiles) -> Record | None:
        """What is known of the mask of a case."""
        return self.records.get(match_key(files.name))

    def lacks(self, record: Record, extras: Collection[str]) -> bool:
        """Whether anything that is asked for is not there."""
        return bool(set(extras) - set(record.extras)) or not all(
            (self.folder / one.path).is_file() for one in record.others
        )

    def refuse_strangers(self, entries: Iterable[CaseFiles]) -> None:
        """Raise RunError where a file of someone else's lies where the mask of one of these cases would."""
        wanted = {match_key(files.name) for files in entries}
        strangers = _unrecorded(self.folder, self.records.values())
        found = [name for name in strangers if match_key(stem(Path(name))) in wanted]
        if found:
            named, cure = printable(listed(found)), "choose another folder with -o, or move them away"
            raise RunError(f"{self.folder}: masks would replace files that genseg did not write ({named}); {cure}")

    def set_outdated_aside(self, entries: Iterable[CaseFiles]) -> None:
        """Move those masks of these cases into `replaced/` that were made from another image or by another model."""
        found = ((files, self.find(files)) for files in entries)
        outdated = [record for files, record in found if record is not None and self._is_outdated(record, files)]
        if outdated:
            self._retire(outdated)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Yield a folder on the same disk for the files that `keep` is to put in place; it is gone afterwards."""
        try:
            with temporary_folder(self.folder) as place:
                yield place
        except OSError as error:
            raise at_place(error, self.folder) from error

    def keep(self, record: Record, staged: Path, contours: Iterable[Sequence[object]]) -> None:
        """Put what is staged for a case in its place, its rows first. contours: rows, where they are asked for."""
        known = self.records.get(record.key)
        if known is not None and known.mask != record.mask:
            self._retire([known])
            known = None
        merged = record if known is None else record.adding_to(known)
        self._move_strangers(merged, known)
        append_line(self.folder / MANIFEST, merged.to_line())
        if known is None:
            append_csv(self.folder / PREDICTIONS, [prediction_cells(merged)])
            append_csv(self.folder / MEASUREMENTS, merged.measurements)
        if "contours" in merged.extras and (known is None or "contours" not in known.extras):
            append_contours(self.folder, contours, self.maker.rank)
        for one in record.files:
            place = inner_folder(self.folder, Path(one.path).parent)
            move_file(staged / one.path, place / Path(one.path).name)
        self.records[record.key] = merged

    def write(self) -> None:
        """Write tables and manifest anew, for the masks that lie there."""
        shown = [record for key, record in self.records.items() if key not in self.edited]
        write_tables(self.folder, shown, self.maker.rank, self.folder / CONTOURS)
        write_manifest(self.folder / MANIFEST, self.records.values())

    def _is_outdated(self, record: Record, files: CaseFiles) -> bool:
        made_by = Maker(record.model_sha256, record.settings_sha256, record.rank)
        if made_by != self.maker or record.case != files.name:
            return True
        now = stamp(files)
        if now is None or now == record.image_files:
            return False  # an image that cannot be reached may well be the same
        try:
            return sizes(now) != sizes(record.image_files) or content_sha256(files) != record.image_sha256
        except OSError:
            return False

    def _retire(self, records: Sequence[Record]) -> None:
        """Move masks, all that belongs to them and their rows into a new folder below `replaced/`."""
        place = self._new_place()
        for record in records:
            for one in record.files:
                self._move(one.path, place)
            self.moved[record.key] = place / record.mask.path
        keys = {record.key for record in records}
        shown = [record for record in records if record.key not in self.edited]
        write_tables(place, shown, self.maker.rank, self.folder / CONTOURS)
        write_manifest(place / MANIFEST, records)
        self.records = {key: record for key, record in self.records.items() if key not in keys}
        self.edited -= keys
        self.write()

    def _move_strangers(self, record: Record, known: Record | None) -> None:
        """Move files of others away that lie where those of a case belong."""
        own = self.spent | ({one.path for one in known.files} if known else set())
        there = (one.path for one in record.files if os.path.lexists(self.folder / one.path))
        strangers = [path for path in there if path not in own]
        if strangers:
            place = self._new_place()
            for path in strangers:
                self._move(path, place)
            self.moved[record.key] = place / strangers[-1]

    def _move(self, path: str, place: Path) -> None:
        source = self.folder / path
        stay_inside(self.folder, source.parent)
        if os.path.lexists(source):
            source.replace(inner_folder(place, Path(path).parent) / source.name)

    def _new_place(self) -> Path:
        parent = inner_folder(self.folder, REPLACED)
        now = f"{datetime.now():%Y%m%d-%H%M%S}"
        names = (now if number == 1 else f"{now}-{number}" for number in count(1))
        place = next(parent / name for name in names if not os.path.lexists(parent / name))
        place.mkdir()
        return place


@contextmanager
def open_results(out: Path, images: Iterable[Path], maker: Maker) -> Iterator[Results]:
    """Keep other processes out of a folder for results while the body runs, its tables brought to what lies there.

    images: as for `output_folder`. Masks that have gone, and those that a person has edited, lose their rows. What
    processes that were killed left half-written is removed.

    Raises RunError where the folder cannot be used, another process is at work in it, or it holds masks of other
    dimensions or tables of someone else's.
    """
    folder = output_folder(out, images)
    for name in (OVERLAYS, CONFIDENCE, REPLACED):
        stay_inside(folder, folder / name)
    with folder_lock(folder, "predicting"):
        sweep(folder)
        written = read_manifest(folder / MANIFEST)
        _refuse_others(folder, written, maker.rank)
        there = {record.key: record for record in written if (folder / record.mask.path).is_file()}
        edited = {key for key, record in there.items() if not _is_as_written(folder, record.mask)}
        records = {key: record.without("contours") if key in edited else record for key, record in there.items()}
        spent = {one.path for record in written if record.key not in there for one in record.files}
        results = Results(folder, maker, records, edited, spent)
        results.write()
        yield results


def unrecorded(folder: Path) -> list[str]:
    """Names of images or masks directly in a folder for results that genseg did not write, sorted."""
    return _unrecorded(folder, read_manifest(folder / MANIFEST))


def _unrecorded(folder: Path, records: Iterable[Record]) -> list[str]:
    known = {one.path for record in records for one in record.files}
    return sorted(path.name for path in folder.iterdir() if suffix(path) and path.name not in known)


def _is_as_written(folder: Path, one: Written) -> bool:
    try:
        return file_sha256(folder / one.path) == one.sha256
    except OSError:
        return False


def _refuse_others(folder: Path, records: Sequence[Record], rank: int) -> None:
    """Raise RunError where the folder holds what no table can be made of together with these masks."""
    kinds = {2: "pictures", 3: "volumes"}
    tables = [name for name in (PREDICTIONS, MEASUREMENTS, CONTOURS) if (folder / name).exists()]
    found = ""
    if tables and not (folder / MANIFEST).exists():
        found = f"holds {', '.join(tables)} but no {MANIFEST}, so genseg did not write them"
    elif any(record.rank != rank for record in records):
        found = f"holds masks of {kinds[5 - rank]}, and this model segments {kinds[rank]}"
    if found:
        raise RunError(f"{folder}: {found}; choose another folder with -o")
