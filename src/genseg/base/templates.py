"""Texts that are made from templates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import jinja2
from markupsafe import Markup

from genseg.base.files import printable

# An underscore within a word means nothing, and names of classes are full of them.
_MARKS = re.compile(r"[\\`*\[\]#|~$]|(?<![^\W_])_|_(?![^\W_])")
_LIST_ITEM = re.compile(r"^(\s*\d{0,9})([-+.)])(?=\s|$)")


def load_template(package: str, name: str, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Template:
    """A template from a package's folder `templates`.

    What is put in is escaped, in HTML ("NAME.html.j2") for HTML, in Markdown ("NAME.md.j2") for both: a name of a class
    or a title is never a heading, a link or a script. In Markdown, `| code` writes a value as code. Characters that
    cannot be seen, such as those that turn the direction of writing, appear as escapes.

    A name that the template uses and is not given raises jinja2.UndefinedError.
    """
    is_html = name.endswith(".html.j2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=is_html,
        finalize=_visible if is_html else in_markdown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({"code": as_code, **filters})
    return environment.get_template(name)


def in_markdown(value: object) -> object:
    """A text as one line that Markdown shows as it is; numbers and what is `Markup` already stay as they are.

    Source: CommonMark 0.31.2, sections 2.4 (backslash escapes) and 2.5 (entities); "~" and "|" are GitHub's.
    """
    if isinstance(value, int | float | Markup):
        return value
    text = _MARKS.sub(r"\\\g<0>", printable(str(value)))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LIST_ITEM.sub(r"\1\\\2", text)


def as_code(value: object) -> Markup:
    """A value as code in Markdown, in which nothing has a meaning but the backtick that ends it."""
    return Markup("`{}`").format(Markup(printable(str(value)).replace("`", "'").replace("|", "/")))


def _visible(value: Any) -> Any:
    return printable(value) if type(value) is str else value
