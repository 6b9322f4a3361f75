"""Lengths of time as people write them: "20m", "1h30m"."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
PART = re.compile(r"(\d+(?:\.\d+)?)\s*([dhms])", re.IGNORECASE)
WRITTEN = re.compile(rf"(?:{PART.pattern}[a-z]*\s*)+", re.IGNORECASE)

LEAST, MOST = 10, 30 * UNITS["d"]


def seconds_of(written: Any) -> Any:
    """Seconds that a text means; anything but text as it is. Raises ValueError for a text without a unit."""
    if not isinstance(written, str):
        return written
    if not WRITTEN.fullmatch(written.strip()):
        raise ValueError("expected a number with its unit, as in 90s, 20m, 2h or 1h30m")
    return sum(float(number) * UNITS[unit.lower()] for number, unit in PART.findall(written))


def in_words(seconds: float) -> str:
    """Seconds to two digits or so: "40 s", "12 min", "1 h 30 min"."""
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest and hours < 10 else f"{hours + (rest >= 30)} h"


Duration = Annotated[float, BeforeValidator(seconds_of), Field(ge=LEAST, le=MOST)]
"""A number of seconds, or such a text."""
