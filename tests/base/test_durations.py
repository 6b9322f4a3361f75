"""Lengths of time as people write them."""

from __future__ import annotations

import pytest

from genseg.base.durations import in_words
from genseg.config import Settings
from genseg.errors import SettingsError


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("20m", 1200), ("2h", 7200), ("1h30m", 5400), ("1.5 h", 5400), ("90 s", 90), ("45min", 2700), ("1d", 86_400)],
)
def test_a_time_is_a_number_with_its_unit(written: str, seconds: float) -> None:
    assert Settings.from_mapping({"time": written}).time == seconds


def test_seconds_come_back_from_a_file_of_settings_as_they_were(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("settings") / "settings.yaml"
    settings = Settings.from_mapping({"time": "1h30m"})
    settings.to_yaml(path)
    assert Settings.from_yaml(path) == settings


@pytest.mark.parametrize("written", ["20", "", "soon", "-5m", "m", "20 m or so", "1s", "99d", "nan m"])
def test_anything_else_is_refused_with_what_is_expected(written: str) -> None:
    with pytest.raises(SettingsError, match="time: "):
        Settings.from_mapping({"time": written})


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (12, "12 s"),
        (99, "99 s"),
        (660, "11 min"),
        (5400, "90 min"),
        (7200, "2 h"),
        (8100, "2 h 15 min"),
        (90_000, "25 h"),
    ],
)
def test_seconds_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
