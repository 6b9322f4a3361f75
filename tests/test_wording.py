"""Words of the house that must not come back into what people read; the words of the field are used instead."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import generated
import genseg
from genseg.cli.verbs import app

SOURCE = Path(__file__).resolve().parents[1] / "src" / "genseg"
REPOSITORY = SOURCE.parents[1]
HOUSE_WORDS = re.compile(
    r"""\b(
    strangeness | familiar(ity)? | looks\ unlike | unlike\ the\ training
    | mend(s|ed|ing|ings)? | knobs? | waiting\ cases | surprise | made-up | lay-outs? | data\ sets?
    | pictures? | expert's\ outline | arms? | way\ of\ training | share\ of\ pairs | share\ of\ synthetic
    | an\ update\ has | there\ is\ none\ called | is\ asked\ (for|after) | be\ told\ here
    | read\ with\ care | please\ look
    | faults?
    )\b""",
    re.VERBOSE | re.IGNORECASE,
)
ALLOWED = {
    "arm": "the former name of the option, which is still taken",
    "--arm": "the same",
    "--arm: this is the former name of --method; use --method alone": "the same",
    "waiting cases": "a seed: changed, every run would draw other cases",
    "mended headers": "a name of temporary files",
}
"""String constants that hold a word of the house, and why."""

Run = Callable[..., tuple[int, str, str]]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string constant of a module that has a space or is shown, without docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = {id(one.value) for one in ast.walk(tree) if isinstance(one, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documented:
            yield node.lineno, node.value


def _prose(page: Path) -> str:
    """A page without what is between backticks or in blocks of code."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def test_messages_use_the_words_of_the_field() -> None:
    found = [
        f"{path.relative_to(SOURCE)}:{line}: {text!r}"
        for path in sorted(SOURCE.rglob("*.py"))
        for line, text in _texts(path)
        if " " in text and text not in ALLOWED and HOUSE_WORDS.search(text)
    ]
    assert found == []


def test_every_exception_is_one() -> None:
    texts = {text for path in SOURCE.rglob("*.py") for _, text in _texts(path)}
    assert set(ALLOWED) <= texts


@pytest.mark.parametrize("verb", [None, *(one.callback.__name__ for one in app.registered_commands if one.callback)])
def test_help_uses_the_words_of_the_field(run: Run, verb: str | None) -> None:
    shown = run(*([verb] if verb else []), "--help")[1]
    assert HOUSE_WORDS.findall(shown) == []


@pytest.mark.parametrize("template", sorted(SOURCE.rglob("*.j2")), ids=lambda path: path.name)
def test_templates_use_the_words_of_the_field(template: Path) -> None:
    text = re.sub(r"{[{%].*?[%}]}", "", template.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [match[0] for match in HOUSE_WORDS.finditer(text)] == []


def _documented() -> Iterator[tuple[str, str]]:
    """Name and docstring of everything that the reference shows."""
    for name in genseg.__all__:
        one = getattr(genseg, name)
        own = vars(one).items() if isinstance(one, type) else ()
        yield name, inspect.getdoc(one) or ""
        yield from ((f"{name}.{key}", inspect.getdoc(member) or "") for key, member in own if not key.startswith("_"))
    yield "results", generated.results()


def test_the_reference_uses_the_words_of_the_field() -> None:
    found = {
        name: HOUSE_WORDS.findall(re.sub(r"`[^`\n]*`|^faults:| faults:", "", text)) for name, text in _documented()
    }
    assert {name: words for name, words in found.items() if words} == {}


PAGES = sorted({REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *(REPOSITORY / "docs").rglob("*.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(REPOSITORY).as_posix())
def test_pages_use_the_words_of_the_field(page: Path) -> None:
    assert [match[0] for match in HOUSE_WORDS.finditer(_prose(page))] == []
