"""Options made from `Settings`: one for each field, checked by `Settings` alone."""

from __future__ import annotations

import inspect

import pytest

from genseg.cli.options import settings_from, settings_options
from genseg.cli.verbs import READING, check, train
from genseg.config import Settings
from genseg.errors import SettingsError


def _options(command: object) -> set[str]:
    parameters = inspect.signature(command).parameters.values()  # type: ignore[arg-type]
    return {p.name for p in parameters if p.name in Settings.model_fields}


def test_training_takes_every_setting_and_the_check_those_of_reading() -> None:
    assert _options(train) == set(Settings.model_fields)
    assert _options(check) == set(READING)


def test_the_command_gets_the_text_of_its_options_and_none_for_the_rest() -> None:
    seen = {}

    @settings_options({"seed", "size"})
    def command(data: str, **values: str | None) -> None:
        seen.update(values, data=data)

    assert list(inspect.signature(command).parameters) == ["data", "size", "seed"]
    command("folder", seed="3", size=None)
    assert seen == {"data": "folder", "seed": "3", "size": None}


def test_nothing_given_means_the_defaults() -> None:
    assert settings_from(dict.fromkeys(Settings.model_fields)) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("updates", "30", 30),
        ("learning_rate", "2e-3", 2e-3),
        ("segmenter", "unet-small", "unet-small"),
        ("flips", "none", "none"),
        ("flips", "0,2", (0, 2)),
        ("flips", "1", (1,)),
    ],
)
def test_text_becomes_the_value_of_the_field(name: str, text: str, value: object) -> None:
    assert getattr(settings_from({name: text, "seed": None}), name) == value


def test_every_bad_option_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)size.*updates.*arm"):
        settings_from({"size": "3", "updates": "many", "arm": "weak"})
