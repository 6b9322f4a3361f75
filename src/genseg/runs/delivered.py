"""What a delivered model says of itself, `model.json`: what it is, and what every file beside it must hold. No torch.

Everything that is read from it is checked: the hash of the file itself, types and ranges, and that its parts agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from genseg.base.files import atomic_write_bytes, file_sha256
from genseg.base.records import Record, Sha256, fitted, parse_json
from genseg.base.seals import BLANK, KEY, is_whole, sealed
from genseg.config import FORMAT, Plan
from genseg.errors import RunError
from genseg.examine.cases import LoadOptions
from genseg.labels import LabelMap
from genseg.read.identity import SeenImages

MODEL = "model.json"
CARDS = ("card.md", "card.json", "docs/README.md")
"""Files that tell and are not computed with: a model is used without them, though not with others in their place."""

RESTORE = "restore the folder from a copy, or train again"
KEEP_TEXT = "to keep what you wrote, move it to a file of another name; a card may be missing, but not be another"


def _label_map(content: Any) -> LabelMap:
    if isinstance(content, LabelMap):
        return content
    try:
        return LabelMap.from_json(content)
    except RunError as error:
        raise ValueError(str(error)) from error


class Description(Record):
    """A model, wherever it is kept. weights, sha256: the name of the weights' file in the run folder, and its hash.

    generator: what goes with the generator's weights, or why it is off. seen: the images of its training; None where
    they are not known.
    """

    format: int
    genseg: str
    weights: Annotated[str, Field(pattern=r"^[\w-]+\.safetensors$")]
    sha256: Sha256
    plan: Plan
    labels: Annotated[LabelMap, PlainValidator(_label_map), PlainSerializer(lambda labels: labels.to_json())]
    reading: LoadOptions
    generator: dict[str, Any] | None
    channel_files: bool
    seen: SeenImages | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Self:
        if self.labels.names != self.plan.class_names:
            raise ValueError(f"labels name the classes {list(self.labels.names)}, the plan {[*self.plan.class_names]}")
        indices = {*self.labels.values.values(), *self.labels.colours.values()}
        if not indices <= set(range(self.plan.classes)):
            raise ValueError(f"labels map to the classes {sorted(indices)}, of which there are {self.plan.classes}")
        return self

    @property
    def why_no_generator(self) -> str:
        """Why the generator was switched off; empty where it was not, or there was none."""
        return str((self.generator or {}).get("off") or "")


class Delivery(Description):
    """A model in a folder. files: SHA-256 of every file that belongs to it, by its path from the folder."""

    files: dict[Annotated[str, Field(pattern=r"^\w[\w./-]*$")], Sha256]


def read_sealed(path: Path) -> dict[str, Any]:
    """What a sealed JSON file says, once it is seen to be whole. Raises RunError for a missing, changed or old one."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    described = parse_json(content, path)
    check_format(path, described.get("model", described))
    if not is_whole(content):
        raise RunError(f"{path}: damaged, or edited after it was written (its SHA-256 differs); {RESTORE}")
    return described


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with its own hash, atomically; in ASCII, for names of files may hold bytes that are no text."""
    atomic_write_bytes(path, sealed(json.dumps({**content, KEY: BLANK}, indent=1).encode()))


def check_format(path: Path, described: Any) -> None:
    """Raise RunError where what `described` tells of was made by another version."""
    told = described if isinstance(described, dict) else {}
    if told.get("format") != FORMAT:
        writer = f"format {told.get('format')}, by genseg {told.get('genseg')}"
        raise RunError(f"{path}: the model is of another version ({writer}); this genseg reads format {FORMAT}")


def read_delivery(folder: Path) -> Delivery:
    """What `model.json` in a folder says, once it and all files that it names are seen to be whole. Raises RunError."""
    delivery = fitted(Delivery, read_sealed(folder / MODEL), folder / MODEL, RESTORE)
    check_files(folder, delivery.files)
    return delivery


def check_files(folder: Path, files: Mapping[str, str]) -> None:
    """Raise RunError that names every file of a delivery that is missing, or not what was delivered."""
    missing = [name for name in files if name not in CARDS and not (folder / name).is_file()]
    changed = [name for name in files if (folder / name).is_file() and file_sha256(folder / name) != files[name]]
    problems = [f"{folder / name} is missing" for name in sorted(missing)]
    problems += [f"{folder / name} is damaged, or edited (its SHA-256 differs)" for name in sorted(changed)]
    if problems:
        only_cards = not missing and set(changed) <= set(CARDS)
        raise RunError(f"{'; '.join(problems)}; {KEEP_TEXT if only_cards else RESTORE}")
