"""What users call things is text in cards and reports, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from genseg.base.templates import as_code, in_markdown, load_template

NASTY = (
    "# Approved as a medical device",
    "x\n\n# Approved",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[click](javascript:alert(1))",
    "![x](http://evil)",
    "a | b | c",
    "`code` *bold* __strong__ ~~gone~~",
    "- item",
    "1. item",
    "&lt;script&gt;",
    "\x1b[31mred",
    "\u202etxet",
    "$x^2$",
)


@pytest.mark.fault(92)
@pytest.mark.parametrize("text", NASTY)
def test_user_text_is_shown_as_it_is_written(text: str) -> None:
    from html.parser import HTMLParser

    class Tags(HTMLParser):
        found = 0

        def handle_starttag(self, *_: object) -> None:
            self.found += 1

    shown = str(in_markdown(text))
    assert "\n" not in shown
    assert shown.isprintable()
    tags = Tags()
    tags.feed(shown)
    assert tags.found == 0
    bare = [mark for place, mark in enumerate(shown) if mark in "#[]`*|~$" and shown[place - 1] != "\\"]
    assert bare == []
    assert not shown.startswith(("- ", "1. "))


@pytest.mark.parametrize(
    "text", ["left_kidney", "1.5 (0.912 to 1.0)", "lesion, grade 2", "Läsion", "-0.3", "CC-BY 4.0", 3]
)
def test_plain_text_stays_as_it_is(text: object) -> None:
    assert in_markdown(text) == text


def test_code_ends_where_it_should() -> None:
    assert as_code("unet`small|x") == "`unet'small/x`"
    assert as_code("unet_pretrained") == "`unet_pretrained`"


@pytest.mark.fault(92)
@pytest.mark.parametrize("name", ["card.md.j2", "bundle.md.j2"])
def test_no_template_writes_a_value_without_escaping(name: str) -> None:
    source = Path(str(load_template("genseg.export", name, {"interval": str}).filename)).read_text()
    assert "| safe" not in source
