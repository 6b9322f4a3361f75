"""Texts that are made from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jinja2

from genseg.files import printable


def load_template(package: str, name: str, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Template:
    """A template from a package's folder `templates`. In HTML ("NAME.html.j2") what is put in is escaped, and so are
    characters that cannot be seen there, such as those that turn the direction of writing.

    A name that the template uses and is not given raises jinja2.UndefinedError.
    """
    is_html = name.endswith(".html.j2")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=is_html,
        finalize=_visible if is_html else None,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)


def _visible(value: Any) -> Any:
    return printable(value) if type(value) is str else value
