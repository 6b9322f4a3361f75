"""A sealed file tells of every change."""

from __future__ import annotations

import json

import pytest

from genseg.base.seals import BLANK, KEY, has_seal, is_whole, sealed

PLAIN = json.dumps({"name": "model", KEY: BLANK, "other": [1, 2]}, indent=1).encode()
IN_XML = PLAIN.replace(b'"', b"&quot;")


@pytest.mark.parametrize("content", [PLAIN, IN_XML, b"\0\xff" + PLAIN + b"\x80"])
def test_a_sealed_file_is_whole_until_any_bit_of_it_changes(content: bytes) -> None:
    whole = sealed(content, ["others"])
    assert len(whole) == len(content)
    assert has_seal(whole)
    assert is_whole(whole, ["others"])
    assert not is_whole(whole, ["another"])
    assert not is_whole(whole)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        assert not is_whole(bytes(changed), ["others"])


def test_a_file_without_a_seal_or_with_two_is_not_whole() -> None:
    assert not has_seal(b"{}")
    assert not is_whole(b"{}")
    assert not is_whole(sealed(PLAIN) * 2)


@pytest.mark.parametrize("content", [b"{}", PLAIN * 2])
def test_one_place_is_needed_for_the_hash(content: bytes) -> None:
    with pytest.raises(ValueError, match="one place"):
        sealed(content)
