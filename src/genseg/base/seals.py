"""Files that hold a SHA-256 over all their other bytes, so that every later edit or damage is noticed.

The hash is no signature: who changes a file and computes its hash anew is not found out. Against that, keep a copy of
the hash elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

KEY = "digest"
BLANK = hashlib.sha256(b"genseg: here will stand the hash of this file").hexdigest()
"""What stands in the place of the hash while that is computed."""

# JSON as it is, or as the text of an XML attribute.
_SEAL = re.compile(rb'digest(?:"|&quot;): ?(?:"|&quot;)([0-9a-f]{64})(?:"|&quot;)')


def sealed(content: bytes, others: Sequence[str] = ()) -> bytes:
    """`content`, whose JSON has `KEY: BLANK` in one place, with its hash in that place.

    others: SHA-256 of the files that belong to this one, in their order. Raises ValueError without that place.
    """
    if content.count(BLANK.encode()) != 1:
        raise ValueError("a file that is to be sealed has one place for its hash")
    return content.replace(BLANK.encode(), _digest(content, others).encode())


def has_seal(content: bytes) -> bool:
    """Whether a file says of itself what it must hold."""
    return _SEAL.search(content) is not None


def is_whole(content: bytes, others: Sequence[str] = ()) -> bool:
    """Whether a file, and those that belong to it, are what was `sealed`."""
    seals = list(_SEAL.finditer(content))
    if len(seals) != 1:
        return False
    start, end = seals[0].span(1)
    blank = content[:start] + BLANK.encode() + content[end:]
    return _digest(blank, others).encode() == seals[0].group(1)


def _digest(blank: bytes, others: Sequence[str]) -> str:
    return hashlib.sha256(blank + "".join(others).encode()).hexdigest()
