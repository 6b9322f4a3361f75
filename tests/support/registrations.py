"""A pytest plugin: what a test or a page registers with genseg ends with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from genseg.generators import registry as generators
from genseg.read import formats
from genseg.segmenters import registry as segmenters


@contextmanager
def registrations_end() -> Iterator[None]:
    """Afterwards genseg knows the segmenters, generators and readers that it knew before."""
    tables: list[dict[Any, Any]] = [segmenters._known, generators.GENERATORS, formats.SUFFIXES, formats._readers]
    before = [dict(table) for table in tables]
    try:
        yield
    finally:
        for table, entries in zip(tables, before, strict=True):
            table.clear()
            table.update(entries)


@pytest.fixture
def _registrations_end() -> Iterator[None]:
    with registrations_end():
        yield
