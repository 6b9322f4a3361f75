"""What an index holds, and what is collected while it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from genseg.base.files import printable
from genseg.errors import Fault, FaultCode
from genseg.read.case import CaseFiles, patients_known_from


@dataclass(frozen=True)
class Description:
    """What a `dataset.json` says about the data beside it.

    class_names: background first, or None where nothing is said.
    label_values: class name -> value stored in the masks, where the file lists them.
    modality: as written, for instance "MRI" or "RGB dermoscopy"; "" where nothing is said.
    channel_names: one a channel, or empty. title, licence: of the data, as written; "" where nothing is said.
    content: the whole file, for what only one layout knows.
    """

    path: Path
    class_names: tuple[str, ...] | None = None
    label_values: Mapping[str, int] | None = None
    modality: str = ""
    channel_names: tuple[str, ...] = ()
    title: str = ""
    licence: str = ""
    content: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Findings:
    """Faults met and files passed over while a dataset is indexed; looking twice adds nothing twice."""

    faults: list[Fault] = field(default_factory=list)
    ignored: set[Path] = field(default_factory=set)

    def stop(self, code: FaultCode, file: Path | str, found: str, expected: str, cure: str) -> None:
        """Add a fault that makes the dataset unusable as it is."""
        self.faults.append(Fault(code, printable(file), found, expected, cure))

    def warn(self, code: FaultCode, file: Path, found: str, expected: str, cure: str) -> None:
        """Add a fault that is only shown."""
        self.faults.append(Fault(code, printable(file), found, expected, cure, stops=False))


@dataclass(frozen=True)
class Contents:
    """What the reader of one layout found.

    entries: the labelled cases.
    without_mask: cases whose mask is missing, a fault unless the person allows it.
    unlabelled: images that the layout keeps without masks on purpose, for testing.
    declared_order: the order of `entries` is written in a list by the dataset's author.
    by_names: images and masks were told apart and paired by the names of folders and files.
    """

    layout: str
    entries: list[CaseFiles]
    without_mask: list[CaseFiles] = field(default_factory=list)
    unlabelled: list[Path] = field(default_factory=list)
    channels_last_axis: bool = False
    declared_order: bool = False
    by_names: bool = False


@dataclass(frozen=True)
class Index:
    """The cases of a dataset, paired.

    root: folder of the dataset (of the list, for a CSV).
    layout: name of the layout, for printing.
    entries: the labelled cases, each with image and mask: in the order of the dataset's own lists (train, val, test)
        where it has them, else sorted by name.
    class_names, label_values, modality, channel_names, title, licence: as the dataset declares them; see
        `Description`.
    without_mask: images without mask: those of a layout's unlabelled part and, where allowed, any other.
    ignored: number of hidden and foreign files passed over.
    warnings: faults that do not stop.
    channels_last_axis: the last axis of 4D volumes holds channels (`ReadOptions.channels_last_axis`).
    declared_order: the order of `entries` was written by the dataset's author, so that "the first k" has a meaning.
    usable: the cases without mask that a model may learn from too: none of a part for testing.
    """

    root: Path
    layout: str
    entries: tuple[CaseFiles, ...]
    class_names: tuple[str, ...] | None
    label_values: Mapping[str, int] | None
    modality: str
    channel_names: tuple[str, ...]
    without_mask: tuple[Path, ...]
    ignored: int
    warnings: tuple[Fault, ...]
    channels_last_axis: bool = False
    declared_order: bool = False
    title: str = ""
    licence: str = ""
    usable: tuple[CaseFiles, ...] = ()

    @property
    def patients(self) -> str:
        """How many cases are of how many patients, and what says so."""
        source = patients_known_from(self.entries)
        if not source:
            return f"{len(self.entries)} cases; patients not known, so each image stands alone"
        return f"{len(self.entries)} cases of {len({case.patient for case in self.entries})} patients (from {source})"

    def table(self) -> list[tuple[str, str, str, str, str]]:
        """Name, image files, mask file, patient and split of each case, paths relative to `root`, for printing.

        A patient that is not known, and a split that is not fixed, are "".
        """
        return [
            (
                printable(Path(entry.name)),
                ", ".join(self._relative(image) for image in entry.images),
                "" if entry.mask is None else self._relative(entry.mask),
                printable(entry.patient) if entry.patient_source else "",
                entry.split or "",
            )
            for entry in self.entries
        ]

    def _relative(self, path: Path) -> str:
        return printable(path.relative_to(self.root) if path.is_relative_to(self.root) else path)
