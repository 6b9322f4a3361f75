#!/usr/bin/env python3
"""Writes docs/reference/errors.md from `genseg.errors`; a test holds the page to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from genseg.cli import main as command_line
from genseg.errors import Fault, FaultCode, GensegError

PAGE = Path(__file__).with_name("errors.md")
EXAMPLE = Fault(
    FaultCode.SIZE_MISMATCH,
    "masks/p07.png",
    "size 480 x 640",
    "640 x 480, the size of p07.png",
    "It would fit with its axes swapped: export it again in the image's orientation.",
)

TEXT = """\
# Errors and their codes

Written by `docs/reference/make_errors_page.py`; edit the texts in `src/genseg/errors.py`.

## Exit codes

| code | meaning |
|---|---|
{exits}

## Problems in data

All problems in a dataset are listed at once. Each names the file, what was found, what was expected and what to do,
under a code that stays the same in all versions:

```
{example}
```

A problem stops the command, or is a warning if the data can be used as they are; `genseg check` shows warnings too. In
Python they are in `faults` of the error and of the examination, with `code`, `file`, `found`, `expected`, `cure` and
`stops`.

| code | meaning | cure |
|---|---|---|
{codes}

## Errors

{tree}
"""


def page() -> str:
    """The page in Markdown."""
    exits = re.findall(r"(\d+) ([^;.]+)[;.]", (command_line.__doc__ or "").partition("Exit codes:")[2])
    return TEXT.format(
        exits="\n".join(f"| {number} | {meaning} |" for number, meaning in exits),
        example=EXAMPLE,
        codes="\n".join(f"| `{code}` | {code.meaning} | {code.cure} |" for code in FaultCode),
        tree="\n".join(_tree(GensegError, "")),
    )


def _tree(error: type[GensegError], indent: str) -> Iterator[str]:
    """A line for an error and for each that is one of its kind."""
    yield f"{indent}- `{error.__name__}`: {' '.join((error.__doc__ or '').split())}"
    for kind in error.__subclasses__():
        yield from _tree(kind, indent + "  ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
