"""Options made from `Settings`: one for each field, checked by `Settings` alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest
from typer.models import OptionInfo

from genseg.cli.options import settings_from, settings_options, whole_numbers
from genseg.cli.verbs import READING, app, check, train
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
        ("flips", "0, 1", (0, 1)),
        ("flips", " 0 ,2 ", (0, 2)),
        ("flips", "1 2", (1, 2)),
        ("updates", " 30 ", 30),
    ],
)
def test_text_becomes_the_value_of_the_field(name: str, text: str, value: object) -> None:
    assert getattr(settings_from({name: text, "seed": None}), name) == value


def test_every_bad_option_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"(?s)size.*updates.*method"):
        settings_from({"size": "3", "updates": "many", "method": "weak"})


@pytest.mark.fault(87)
@pytest.mark.parametrize("text", ["4,8,16", "4, 8, 16", " 4 8  16 ", "4 ,8,16,"])
def test_lists_may_hold_spaces(text: str) -> None:
    assert whole_numbers(text, "counts") == [4, 8, 16]


IMPOSSIBLE = ("-1", "0", "nan", "inf", "-inf", "1" + 30 * "0", "1.5", "1e5", "0x10", "x", "")
FLOATS = {"points": {"1.5"}, "learning_rate": set()}
"""Options that take fractions, and which of the impossible whole numbers are none for them."""


def _number_options() -> list[tuple[str, str]]:
    """Verb and option, for every option that takes numbers."""
    found = []
    for verb in app.registered_commands:
        assert verb.callback is not None
        for name, parameter in inspect.signature(verb.callback, eval_str=True).parameters.items():
            options = [one for one in getattr(parameter.annotation, "__metadata__", ()) if isinstance(one, OptionInfo)]
            if any(re.search("<(int|float)>", one.metavar or "") for one in options):
                found.append((verb.name or verb.callback.__name__, name))
            types = get_args(parameter.annotation)[:1]
            assert options == [] or not {int, float}.intersection({*types, *get_args(types[0])}) or options[0].metavar
    return found


ARGUMENTS = {"train": 1, "plan": 1, "curve": 1, "predict": 2, "generate": 1, "phantom": 1, "next": 2}
"""How many each verb with numbers has."""


@pytest.mark.fault(87)
@pytest.mark.parametrize(("verb", "name"), _number_options())
def test_an_impossible_number_is_refused_in_one_line_that_names_the_option(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, verb: str, name: str
) -> None:
    places = [tmp_path / f"nowhere-{number}" for number in range(ARGUMENTS[verb])]
    option = f"--{name.replace('_', '-')}"
    out = [] if verb == "phantom" else ["-o", tmp_path / "out"]
    # The options that `plan` and `curve` share with `train` are made and read by the same code.
    texts = IMPOSSIBLE if verb not in ("plan", "curve") or name in ("counts", "points") else IMPOSSIBLE[:1]
    for text in texts:
        if text in FLOATS.get(name, {"0"} if name in ("seed", "fold", "flips") else set()):
            continue
        code, _, said = run(verb, *places, *out, option, text)
        assert (code, len(said.splitlines())) == (2, 1), said
        assert f"{option}: " in said
        assert repr(text)[:8] in said
    assert list(tmp_path.iterdir()) == []


def test_every_verb_with_numbers_is_tried() -> None:
    tried = set(_number_options())
    assert {("predict", "threads"), ("generate", "count"), ("generate", "seed"), ("curve", "points")} < tried
    assert ("next", "count") in tried
    assert {("phantom", "cases"), ("phantom", "size"), ("phantom", "seed"), ("curve", "counts")} < tried
    numbers = {"size", "updates", "pretraining", "batch_size", "learning_rate", "labels", "training_cases", "folds"}
    assert {(verb, name) for verb in ("train", "plan", "curve") for name in {*numbers, "fold", "seed", "flips"}} < tried


@pytest.mark.fault(87)
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--kind", "volume", "--size", 4096), "size: 4096 found; expected 16 to 512 pixels for volume"),
        (("--size", 15), "size: 15 found; expected 16 to 4096 pixels for rgb"),
        (("--cases", 2), "cases: 2 found, at least 3 expected"),
    ],
)
def test_a_phantom_that_cannot_be_drawn_is_refused(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, arguments: tuple[object, ...], said: str
) -> None:
    code, _, error = run("phantom", tmp_path / "new", *arguments)
    assert code == 2
    assert said in error
    assert list(tmp_path.iterdir()) == []
