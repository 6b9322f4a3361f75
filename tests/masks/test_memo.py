"""The memo makes each result once and forgets the one not used for longest."""

from __future__ import annotations

from genseg.masks.memo import Memo


def _memo(budget: int) -> tuple[Memo[str], list[str]]:
    return Memo(budget, len), []


def _ask(memo: Memo[str], made: list[str], key: str) -> str:
    def make() -> str:
        made.append(key)
        return key

    return memo.get(key, make)


def test_makes_a_result_once() -> None:
    memo, made = _memo(10)
    assert [_ask(memo, made, "aaa") for _ in range(3)] == ["aaa"] * 3
    assert made == ["aaa"]


def test_forgets_what_was_not_used_for_longest() -> None:
    memo, made = _memo(8)
    for key in ("aaa", "bbb", "aaa", "ccc", "aaa", "bbb"):
        assert _ask(memo, made, key) == key
    assert made == ["aaa", "bbb", "ccc", "bbb"]


def test_keeps_again_after_forgetting() -> None:
    memo, made = _memo(8)
    for key in ("aaa", "bbb", "ccc", "bbb", "ccc", "bbb"):
        _ask(memo, made, key)
    assert made == ["aaa", "bbb", "ccc"]


def test_gives_a_result_too_large_to_keep() -> None:
    memo, made = _memo(2)
    assert [_ask(memo, made, "aaa"), _ask(memo, made, "aaa")] == ["aaa", "aaa"]
    assert made == ["aaa", "aaa"]
