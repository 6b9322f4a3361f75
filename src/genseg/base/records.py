"""JSON that genseg wrote, read again: what does not fit ends in a RunError with the file and every value that is wrong.

What a file may hold is said by types that pydantic checks: records of its own, or plain dataclasses.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from genseg.errors import RunError

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
AboveZero = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_MOST_NAMED = 3
_Kind = TypeVar("_Kind")


class Record(BaseModel):
    """What a JSON file holds; keys that are not known are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def parse_json(text: str | bytes, origin: Path | str) -> dict[str, Any]:
    """Keys and values of a JSON text. Raises RunError for anything else. origin: the file that it is from."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also for text that is not UTF-8
        raise RunError(f"{origin}: damaged; it cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise RunError(f"{origin}: damaged; expected keys and values, found {type(content).__name__}")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Keys and values of a JSON file. Raises RunError where it is missing, unreadable or holds anything else."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_json(text, path)


def fitted(kind: type[_Kind], content: object, origin: Path | str, cure: str) -> _Kind:
    """`content` as a record or dataclass. Raises RunError that names the values that do not fit. cure: what to do."""
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise RunError(f"{origin}: damaged: {problems_of(error)}; {cure}") from None


def problems_of(error: ValidationError) -> str:
    """The first of pydantic's problems, each with its place and what was found there, and how many more there are."""
    problems = error.errors(include_url=False, include_context=False)
    lines = [
        f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg'].removeprefix('Value error, ')}"
        + ("" if problem["type"] == "missing" else f" (found {reprlib.repr(problem['input'])})")
        for problem in problems[:_MOST_NAMED]
    ]
    more = len(problems) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")
