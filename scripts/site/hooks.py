"""What mkdocs does beside rendering Markdown: pages made from the code, formulas without scripts, nothing from outside.

A page names what is put into it in a comment of its own line: `<!-- generated: commands -->`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError

from formulas import with_mathml
from generated import PARTS

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig

MARKER = re.compile(r"^<!-- generated: (.+?) -->$", flags=re.MULTILINE)
FROM_OUTSIDE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>""")


def on_page_markdown(markdown: str, **_: object) -> str:
    """Put what is generated in the place of its markers. An unknown name raises KeyError and fails the build."""
    return MARKER.sub(lambda found: PARTS[found[1]](), markdown)


def on_page_content(html: str, **_: object) -> str:
    """Formulas as MathML, which browsers show by themselves."""
    return with_mathml(html)


def on_post_build(config: MkDocsConfig) -> None:
    """Fail where a page would load anything from another place than the built folder."""
    stop_at_loads_from_outside(Path(config.site_dir))


def stop_at_loads_from_outside(site: Path) -> None:
    """Raise PluginError for the first page that names a script, style, picture or frame of another host."""
    for page in site.rglob("*.html"):
        loaded = FROM_OUTSIDE.search(page.read_text(encoding="utf-8"))
        if loaded:
            raise PluginError(f"{page}: loads from outside the site: {loaded[0]}")
