"""TeX in `$...$` and `$$...$$` becomes MathML when the site is built: readers need neither script nor network."""

from __future__ import annotations

import html
import re

from latex2mathml.converter import convert

WRAPPED = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', flags=re.DOTALL)
"""What the Markdown extension arithmatex leaves of a formula."""


def with_mathml(page: str) -> str:
    """The page with each formula in place of its TeX."""
    return WRAPPED.sub(_mathml, page)


def _mathml(found: re.Match[str]) -> str:
    display = "block" if found[2] == "[" else "inline"
    return convert(html.unescape(found[3]).strip(), display=display)
