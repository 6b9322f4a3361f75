"""Command-line options made from the fields of `Settings`, so that a setting is named and described once."""

from __future__ import annotations

import inspect
import reprlib
import types
from collections.abc import Callable, Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from rich.console import Console

from genseg.base.durations import Duration
from genseg.config import MOST_CASES, Settings, renamed
from genseg.errors import SettingsError, unknown

Command = TypeVar("Command", bound=Callable[..., None])
Choice = TypeVar("Choice", bound=str)
_METAVARS = {int: "<int>", float: "<float>", str: "<text>"}
LONGEST_METAVAR = 40
FORMER_METHOD = inspect.Parameter(
    "arm",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[str | None, typer.Option("--arm", hidden=True)],
)
"""`--method` as it was called before; taken for one version."""


def settings_options(names: Collection[str] | None = None) -> Callable[[Command], Command]:
    """Decorator that gives a command an option for each field of `Settings`, or for the fields in `names`.

    The command must end in `**values: str | None`; it gets the text given to each option, None for those left out.
    """

    def decorate(command: Command) -> Command:
        signature = inspect.signature(command, eval_str=True)
        given = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        fields = {name: field for name, field in Settings.model_fields.items() if names is None or name in names}
        added = [_parameter(name, field) for name, field in fields.items()]
        added += [FORMER_METHOD] if "method" in fields else []
        command.__signature__ = signature.replace(parameters=[*given, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in [*given, *added]} | {"return": None}
        return command

    return decorate


def settings_from(values: Mapping[str, str | None]) -> Settings:
    """The settings that the options ask for. Raises SettingsError naming every bad one."""
    asked = {name: text for name, text in values.items() if text is not None}
    if "arm" in asked:
        if "method" in asked:
            raise SettingsError("--arm: this is the former name of --method; use --method alone")
        Console(stderr=True).print(f"Notice: {renamed('--arm', '--method')}.", highlight=False)
        asked["method"] = asked.pop("arm")
    given = {name: _split(text, Settings.model_fields[name]) for name, text in asked.items()}
    return Settings.from_mapping(given, "", spelled=_option)


def whole_numbers(text: str, name: str) -> list[int]:
    """Numbers of cases with commas or spaces between: "4, 8" -> [4, 8]. Raises SettingsError for anything else."""
    parts = _parts(text)
    if not parts or not all(part.isdecimal() and 1 <= int(part) <= MOST_CASES for part in parts):
        raise SettingsError(
            f"{_option(name)}: {text!r} found; expected positive whole numbers separated with commas, such as 4,8,16"
        )
    return [int(part) for part in parts]


def one_of(name: str, choices: Any) -> dict[str, Any]:
    """What makes an option of the choices of a `Literal`; another name raises SettingsError with the nearest."""
    known = get_args(choices)

    def parse(text: str) -> str:
        if text not in known:
            raise SettingsError(f"{_option(name)}: {unknown('value', text, known)}")
        return text

    return {"parser": parse, "metavar": "|".join(known)}


def whole_number(name: str, low: int, high: int) -> Callable[[str | int], int]:
    """What turns the text of an option into a whole number; it raises SettingsError for any not in `low`..`high`."""

    def parse(text: str | int) -> int:
        try:
            number = int(text)
        except ValueError:
            number = low - 1
        if not low <= number <= high:
            raise SettingsError(
                f"{_option(name)}: {reprlib.repr(text)} found; expected a whole number from {low} to {high}"
            )
        return number

    return parse


def number_between(name: str, low: float, high: float) -> Callable[[str | float], float]:
    """What turns the text of an option into a number; it raises SettingsError for any not between `low` and `high`."""

    def parse(text: str | float) -> float:
        try:
            number = float(text)
        except ValueError:
            number = low
        if not low < number < high:
            raise SettingsError(
                f"{_option(name)}: {reprlib.repr(text)} found; expected a number between {low:g} and {high:g}"
            )
        return number

    return parse


def _option(name: str) -> str:
    """A setting as it is typed: batch_size -> --batch-size."""
    return f"--{name.replace('_', '-')}"


def _parts(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(
        _option(name),
        help=(field.description or "").replace("\n", "\n\n"),  # typer takes a single line break for a space
        metavar=_metavar(field.annotation),
        show_default=False if field.default is None else str(field.default),
        rich_help_panel="Settings",
    )
    annotation = Annotated[str | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _metavar(annotation: Any) -> str:
    """What may be typed for a field of this type; a long list of names is left to the help text."""
    every = "|".join(_metavars(annotation))
    return every if len(every) <= LONGEST_METAVAR else "<name>"


def _metavars(annotation: Any) -> list[str]:
    """What may be typed for a field of this type, one entry for each alternative."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return [str(value) for value in arguments]
    if origin in (Union, types.UnionType):
        return [text for part in arguments if part is not type(None) for text in _metavars(part)]
    if origin is tuple:
        return [f"{_metavars(arguments[0])[0]},..."]
    if annotation == Duration:
        return ["<time>"]
    if origin is Annotated:
        return _metavars(arguments[0])
    return [_METAVARS[annotation]]


def _split(text: str, field: FieldInfo) -> str | list[str]:
    """Where a field takes a list, numbers with commas or spaces between them are one: "0, 2" -> ["0", "2"]."""
    lists = any(get_origin(part) is tuple for part in get_args(field.annotation))
    parts = _parts(text)
    return parts if lists and parts and all(part.lstrip("-").isdecimal() for part in parts) else text
