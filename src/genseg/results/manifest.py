"""The manifest of a folder of masks: for each, what it was made from, and what there is to say about it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from genseg.base.files import atomic_write_bytes
from genseg.errors import RunError, SettingsError, unknown
from genseg.index.names import match_key

FORMAT: Literal[1] = 1

Extra = Literal["overlays", "confidence", "contours", "dicom-seg"]


def check_extras(extras: Iterable[str]) -> None:
    """Raise SettingsError for a name that is no extra."""
    for extra in extras:
        if extra not in get_args(Extra):
            raise SettingsError(unknown("extra", extra, get_args(Extra)))


def _text(value: Any) -> str:
    """Any text: pydantic's own takes no names whose bytes are no text."""
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _place(value: Any) -> str:
    """A path within the folder, at most one folder deep."""
    parts = PurePosixPath(_text(value)).parts
    if not 1 <= len(parts) <= 2 or ".." in parts or Path(value).is_absolute() or Path(value).drive or "\0" in value:
        raise ValueError("not a path within the folder")
    return str(value)


def _cell(value: Any) -> str | int | float | None:
    if value is not None and not isinstance(value, str | int | float):
        raise ValueError("not a cell of a table")
    return value


Text = Annotated[str, PlainValidator(_text)]
Cell = Annotated[str | int | float | None, PlainValidator(_cell)]


class Written(BaseModel):
    """A file that was written: its path within the folder, with "/", and the SHA-256 of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Annotated[str, PlainValidator(_place)]
    sha256: str


class Record(BaseModel):
    """A mask and what is known of it.

    mask, others: the mask, and what else was written for the case. extras: what was asked for beside the mask, also
    where it leaves no file of its own. image_sha256, image_files: see `content_sha256` and `Stamp`. settings_sha256:
    of all but the weights that decides a mask. genseg, written: version, and time with its zone (ISO 8601). rank: 2 for
    pictures, 3 for volumes. expected_dice, ood_score, notes: as in `Prediction`. measurements: rows of the table.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    format: Literal[1] = FORMAT
    case: Text
    mask: Written
    others: tuple[Written, ...]
    extras: tuple[Extra, ...]
    image_sha256: str
    image_files: tuple[tuple[Text, int, int, int, int], ...]
    model_sha256: str
    settings_sha256: str
    genseg: str
    written: str
    rank: Literal[2, 3]
    expected_dice: float | None
    ood_score: Annotated[float | None, Field(validation_alias=AliasChoices("ood_score", "strangeness"))]
    notes: tuple[Text, ...]
    measurements: tuple[tuple[Cell, ...], ...]

    @property
    def key(self) -> str:
        """What tells cases apart: names that some system cannot tell apart are one."""
        return match_key(self.case)

    @property
    def files(self) -> tuple[Written, ...]:
        """All that was written, the mask last."""
        return (*self.others, self.mask)

    def adding_to(self, earlier: Record) -> Record:
        """This record with what an earlier one of the same mask has besides."""
        own = {one.path for one in self.others}
        others = (*self.others, *(one for one in earlier.others if one.path not in own))
        return self.model_copy(update={"others": others, "extras": tuple(sorted({*self.extras, *earlier.extras}))})

    def without(self, extra: Extra) -> Record:
        """This record as if `extra` had not been asked for."""
        return self.model_copy(update={"extras": tuple(one for one in self.extras if one != extra)})

    def to_line(self) -> str:
        """A line of the manifest: JSON in ASCII, for names may hold bytes that are no text."""
        return json.dumps(self.model_dump()) + "\n"


def read_manifest(path: Path) -> list[Record]:
    """The records of a manifest, of each case the last one; none where there is no file.

    A last line that was cut short by a crash is left out. Raises RunError where another line is damaged.
    """
    try:
        *lines, _ = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise _damaged(path) from error
    try:
        records = [Record.model_validate(json.loads(line)) for line in lines]
    except (ValueError, ValidationError, RecursionError) as error:
        raise _damaged(path) from error
    by_key: dict[str, Record] = {}
    for record in records:
        by_key.pop(record.key, None)
        by_key[record.key] = record
    return list(by_key.values())


def write_manifest(path: Path, records: Iterable[Record]) -> None:
    """Write records, atomically. Raises OSError."""
    atomic_write_bytes(path, "".join(record.to_line() for record in records).encode())


def _damaged(path: Path) -> RunError:
    return RunError(f"{path}: damaged, or of another version of genseg; choose another folder with -o")
