"""Parts of pages that are made from the code when the site is built, and so cannot go stale."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from importlib import import_module
from pathlib import Path

import griffe
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.cli import get_docs_for_click

import genseg
from genseg.cli.verbs import app

REPOSITORY = Path(__file__).parents[2]
TYPES: dict[object, str] = {int: "whole number", float: "number", str: "text", bool: "true or false"}
LIMITS = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}


def commands() -> str:
    """Every command with its arguments and options, as typer documents them."""
    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="genseg")
    overview = text.index("\n## ")  # before it, one line a command, cut short
    return text[overview:]


def fields_of(model: type[BaseModel], nothing: str = "none") -> str:
    """A table of the fields of a model, and of each model that its fields are made of. nothing: what None means."""
    rows = [_row(name, field, nothing) for name, field in model.model_fields.items()]
    table = "\n".join(["| field | values | default | meaning |", "|---|---|---|---|", *rows])
    inner = "".join(f"\n\n### {part.__name__}\n\n{fields_of(part)}" for part in _models_in(model))
    return table + inner


def _row(name: str, field: FieldInfo, nothing: str) -> str:
    named = {PydanticUndefined: "required", None: nothing}
    default = named.get(field.default) or f"`{field.default!r}`"
    values = " ".join([_shown(field.annotation), *_limits(field)])
    return f"| `{name}` | {_cell(values)} | {default} | {_cell(field.description or '')} |"


def _limits(field: FieldInfo) -> Iterator[str]:
    """The range of a number in words, such as "from 1", "to 100"."""
    for limit in field.metadata:
        for kind, word in LIMITS.items():
            if hasattr(limit, kind):
                yield f"{word} {getattr(limit, kind)}"


def _shown(annotation: object) -> str:
    """A type as a reader of the table takes it: choices by their values, nested models by name."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(map(str, arguments))
    if typing.get_origin(annotation) is typing.Annotated:
        return _shown(arguments[0])
    if typing.get_origin(annotation) is tuple:
        return f"list of {_shown(arguments[0])}s"
    if arguments:
        return " or ".join(_shown(part) for part in arguments if part is not type(None))
    return TYPES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _models_in(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for field in model.model_fields.values():
        yield from (part for part in _parts(field.annotation) if isinstance(part, type) and issubclass(part, BaseModel))


def _parts(annotation: object) -> Iterator[object]:
    """A type and all types that it is made of."""
    yield annotation
    for part in typing.get_args(annotation):
        yield from _parts(part)


def results() -> str:
    """Each class that public functions and methods of the model return, and that has no public name itself."""
    package = griffe.load("genseg", search_paths=[REPOSITORY / "src"])
    public = [package[name] for name in genseg.__all__]
    methods = [member for member in package["Model"].members.values() if not member.name.startswith("_")]
    paths = (path for one in [*public, *methods] if one.is_function for path in _classes_in(one.returns))
    shown = [path for path in dict.fromkeys(paths) if path.rpartition(".")[2] not in genseg.__all__]
    return "\n\n".join(
        _described(getattr(import_module(path.rpartition(".")[0]), path.rpartition(".")[2])) for path in shown
    )


def _classes_in(returns: object) -> Iterator[str]:
    """Paths of the package's own classes in a return type, without importing them."""
    names = [returns] if isinstance(returns, griffe.ExprName) else returns
    for name in names if isinstance(names, Iterable) else ():
        if isinstance(name, griffe.ExprName) and name.canonical_path.startswith("genseg."):
            yield name.canonical_path


def _described(record: type) -> str:
    """A class by its docstring, the fields it holds, and what else can be asked of it."""
    fields = [f"`{name}`" for name in inspect.get_annotations(record) if not name.startswith("_")]
    asked = [
        f"- `{name}`: {inspect.getdoc(member)}"
        for name, member in vars(record).items()
        if not name.startswith("_") and (callable(member) or isinstance(member, property | cached_property))
    ]
    lines = [f"### {record.__name__}", inspect.getdoc(record) or "", f"Fields: {', '.join(fields)}.", "\n".join(asked)]
    return "\n\n".join(lines)


def file(name: str) -> Callable[[], str]:
    """A file of the repository, its links seen from the folder of the pages."""
    return lambda: (REPOSITORY / name).read_text(encoding="utf-8").replace("](docs/", "](").partition("\n")[2]


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "fields of Settings": lambda: fields_of(genseg.Settings, nothing="decided"),
    "fields of Plan": lambda: fields_of(genseg.Plan),
    "results": results,
    "CONTRIBUTING.md": file("CONTRIBUTING.md"),
    "CHANGELOG.md": file("CHANGELOG.md"),
}
"""What a marker may name."""
