"""Texts that are made from templates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jinja2


def load_template(package: str, name: str, filters: Mapping[str, Callable[..., Any]]) -> jinja2.Template:
    """A template from a package's folder `templates`. In HTML ("NAME.html.j2") what is put in is escaped.

    A name that the template uses and is not given raises jinja2.UndefinedError.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters)
    return environment.get_template(name)
