"""Settings and plans: what is refused and how, and the way to YAML and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from genseg.config import GenerationPlan, IntensityRule, Plan, Settings
from genseg.errors import SettingsError

PlanOf = Callable[..., Plan]


def _refusal(values: dict[str, Any], record: type[Settings] | type[IntensityRule] = Settings) -> str:
    with pytest.raises(SettingsError) as caught:
        record.from_mapping(values)
    return str(caught.value)


# Refusals


@pytest.mark.fault(42)
def test_an_unknown_key_suggests_the_nearest() -> None:
    assert _refusal({"bach_size": 4}) == "settings: bach_size: unknown key; did you mean 'batch_size'?"
    assert _refusal({"zzz": 4}) == "settings: zzz: unknown key"


@pytest.mark.fault(42)
def test_every_bad_key_is_named_at_once() -> None:
    message = _refusal({"updates": 0, "learning_rat": 1, "method": "weak", "batch_size": "many"})
    for part in ("updates: Input should be", "learning_rat: unknown key", "method:", "batch_size:"):
        assert part in message
    assert "(found 'many')" in message


def test_a_bad_value_in_a_list_names_the_key_alone() -> None:
    assert "flips: " in _refusal({"flips": "sideways"})
    assert "literal" not in _refusal({"flips": "sideways"})
    assert "." not in _refusal({"flips": [0, "x"]}).partition("settings: ")[2].partition(":")[0]


def test_a_long_value_is_shortened() -> None:
    assert len(_refusal({"updates": "9" * 5000 + "x"})) < 200


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0, 1, -0.1])
def test_a_learning_rate_that_cannot_be_is_refused(value: float) -> None:
    assert "learning_rate" in _refusal({"learning_rate": value})


def test_keys_must_be_text() -> None:
    assert "7: " in _refusal({7: 1})


@pytest.mark.fault(42)
def test_nested_keys_are_named_with_their_place(plan_of: PlanOf) -> None:
    with pytest.raises(SettingsError, match=r"intensity\.0\.rul: unknown key; did you mean 'rule'\?"):
        plan_of(2, intensity={"rul": "eight-bit"})
    with pytest.raises(SettingsError, match=r"intensity\.1\.std: .*greater than 0 \(found 0\)"):
        plan_of(2, channels=2, intensity=[{"rule": "z-score"}, {"rule": "window", "std": 0}])
    with pytest.raises(SettingsError, match=r"intensity: .*found 3\)"):
        plan_of(2, intensity=3)


def test_a_plan_without_its_keys_names_each() -> None:
    with pytest.raises(SettingsError) as caught:
        Plan.from_mapping({"rank": 2}, "plan.yaml")
    message = str(caught.value)
    assert message.startswith("plan.yaml: channels: missing; class_names: missing; ")
    assert "rank" not in message
    assert "weight_decay" not in message


@pytest.mark.parametrize("values", [{"low": 2}, {"high": -1}, {"low": 3, "high": 3}])
def test_an_empty_window_is_refused(values: dict[str, float]) -> None:
    assert "high: must be above low" in _refusal({"rule": "window", **values}, IntensityRule)


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("rank", "changes", "message"),
    [
        (2, {"patch_size": (16, 16, 16)}, r"patch_size: 2D data need 2 sizes"),
        (3, {"patch_size": (16, 16)}, r"patch_size: 3D data need 3 sizes"),
        (2, {"patch_size": (16, 0)}, r"patch_size: .*greater than or equal to 1"),
        (2, {"flip_axes": (0, 2)}, r"flip_axes: expected axes from \[0, 1\]"),
        (3, {"flip_axes": (-1,)}, r"flip_axes: expected axes from \[0, 1, 2\]"),
        (3, {"flip_axes": (1, 1)}, r"flip_axes: .*at most once"),
        (2, {"spacing": (1, 1, 1)}, r"spacing: 2D images have none"),
        (3, {"spacing": None}, r"spacing: volumes need a voxel size"),
        (3, {"spacing": (1, 0, 1)}, r"spacing: .*greater than 0"),
        (3, {"spacing": (1, float("inf"), 1)}, r"spacing: .*finite"),
        (2, {"intensity": [{"rule": "z-score"}] * 2}, r"intensity: 2 rule\(s\) for 1 channel\(s\)"),
        (2, {"channels": 3, "intensity": [{"rule": "z-score"}]}, r"intensity: 1 rule\(s\) for 3 channel\(s\)"),
        (2, {"class_names": ("background",)}, r"class_names: .*at least 2"),
        (2, {"class_names": [str(number) for number in range(256)]}, r"class_names: .*at most 255"),
        (4, {"patch_size": (8, 8)}, r"rank: Input should be 2 or 3"),
    ],
)
def test_a_plan_that_contradicts_itself_is_refused(
    plan_of: PlanOf, rank: int, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        plan_of(rank, **changes)


def test_a_volume_plan_that_leaves_spacing_out_is_refused(plan_of: PlanOf) -> None:
    values = plan_of(3).model_dump()
    del values["spacing"]
    with pytest.raises(SettingsError, match="spacing: volumes need"):
        Plan.from_mapping(values)


def test_contradictions_are_named_all_at_once(plan_of: PlanOf) -> None:
    with pytest.raises(SettingsError, match=r"(?s)spacing.*patch_size.*flip_axes"):
        plan_of(2, spacing=(1, 1, 1), patch_size=(8,), flip_axes=(2,))


def test_records_cannot_be_changed(plan_of: PlanOf) -> None:
    with pytest.raises(ValueError, match="frozen"):
        plan_of(2).updates = 3


# YAML


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"flips": [0, 1], "learning_rate": 0.001, "device": "cuda:1", "seed": 2**40},
        {"flips": "none", "segmenter": "unet-small", "size": 256, "updates": 7, "labels": 9, "folds": 3, "fold": 2},
    ],
)
def test_settings_survive_yaml(tmp_path: Path, values: dict[str, Any]) -> None:
    settings = Settings.from_mapping(values)
    settings.to_yaml(tmp_path / "settings.yaml")
    assert Settings.from_yaml(tmp_path / "settings.yaml") == settings


@pytest.mark.parametrize("rank", [2, 3])
def test_plans_survive_yaml(tmp_path: Path, plan_of: PlanOf, rank: int) -> None:
    plan = plan_of(
        rank,
        class_names=("background", "Größe: no", "yes", "007", "# null"),
        intensity={"rule": "window", "low": -1024.5, "high": 1 / 3, "mean": 1e-7, "std": 1e22},
        flip_axes=(1,),
        learning_rate=1e-5,
    )
    plan.to_yaml(tmp_path / "plan.yaml")
    again = Plan.from_yaml(tmp_path / "plan.yaml")
    assert again == plan
    assert again.classes == 5


@pytest.mark.fault(56)
def test_the_rule_of_each_channel_can_be_read_and_edited_in_yaml(tmp_path: Path, plan_of: PlanOf) -> None:
    window = {"channel": "CT", "rule": "window", "low": -990.0, "high": 120.5, "mean": 7.0, "std": 90.0}
    plan = plan_of(3, channels=2, intensity=[{"channel": "PET", "rule": "z-score"}, window])
    path = tmp_path / "plan.yaml"
    plan.to_yaml(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    start = lines.index("intensity:")
    assert lines[start + 1 : start + 9] == [
        "- channel: PET",
        "  rule: z-score",
        "- channel: CT",
        "  rule: window",
        "  low: -990.0",
        "  high: 120.5",
        "  mean: 7.0",
        "  std: 90.0",
    ]
    assert Plan.from_yaml(path) == plan
    lines[start + 2] = "  rule: unchanged"
    path.write_text("\n".join(lines), encoding="utf-8")
    assert [rule.rule for rule in Plan.from_yaml(path).intensity] == ["unchanged", "window"]


@pytest.mark.fault(56)
def test_one_rule_written_alone_is_that_of_every_channel(plan_of: PlanOf) -> None:
    # As plans were written up to format 5.
    old = {"rule": "window", "low": -100.0, "high": 200.0, "mean": 0.0, "std": 1.0}
    plan = plan_of(3, channels=2, intensity=old)
    assert plan.intensity == 2 * (IntensityRule(rule="window", low=-100, high=200, mean=0, std=1),)


@pytest.mark.parametrize(
    ("changes", "is_colour"),
    [
        ({}, True),
        ({"intensity": {"rule": "percentile"}}, True),
        ({"intensity": [{"rule": "eight-bit", "channel": name} for name in "RGB"]}, True),
        ({"intensity": [{"rule": "eight-bit", "channel": name} for name in ("T1", "T2", "FLAIR")]}, False),
        ({"intensity": [{"rule": rule} for rule in ("eight-bit", "eight-bit", "percentile")]}, False),
        ({"intensity": {"rule": "z-score"}}, False),
        ({"channels": 2}, False),
        ({"rank": 3, "patch_size": (16, 16, 16), "spacing": (1, 1, 1)}, False),
    ],
)
def test_three_channels_are_colours_where_nothing_says_otherwise(
    plan_of: PlanOf, changes: dict[str, Any], is_colour: bool
) -> None:
    assert plan_of(**{"rank": 2, "channels": 3, **changes}).is_colour == is_colour


def test_every_key_in_yaml_is_explained(tmp_path: Path) -> None:
    Settings().to_yaml(tmp_path / "settings.yaml")
    text = (tmp_path / "settings.yaml").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        meaning = str(field.description).replace("\n", "\n# ")
        assert f"# {meaning}\n{name}: " in text
    assert list(tmp_path.iterdir()) == [tmp_path / "settings.yaml"]


def test_numbers_written_as_people_write_them_are_understood(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("learning_rate: 1e-3\nupdates: 500\nflips: none\nsize: null\n", encoding="utf-8")
    settings = Settings.from_yaml(path)
    assert (settings.learning_rate, settings.updates, settings.flips, settings.size) == (1e-3, 500, "none", None)


@pytest.mark.parametrize(
    "content",
    [
        b"a: [1",
        b"\xff\xfe\x00",
        b"day: 2020-13-45",
        b"a: !!python/object:os.system x",
        b"[" * 1500,
        b"- 1\n- 2\n",
        b"word",
        b"",
    ],
)
def test_what_is_no_yaml_mapping_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=r"settings\.yaml: "):
        Settings.from_yaml(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.yaml", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read as YAML"):
            Settings.from_yaml(path)


def test_a_bad_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("bach_size: 4\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"mine\.yaml: bach_size.*'batch_size'"):
        Settings.from_yaml(path)


def test_the_explanations_are_valid_yaml(tmp_path: Path) -> None:
    Settings().to_yaml(tmp_path / "settings.yaml")
    loaded = yaml.safe_load((tmp_path / "settings.yaml").read_text(encoding="utf-8"))
    assert list(loaded) == list(Settings.model_fields)


def test_the_generator_takes_every_size_in_turn_once_half_of_its_own_updates_are_made(plan_of: PlanOf) -> None:
    generation = GenerationPlan(pretraining=16)
    plan = plan_of(2, patch_size=(256, 192), growing=0.75, generation=generation)
    half, more, whole = (128, 96), (192, 144), (256, 192)
    assert [plan.pretraining_size_at(update) for update in range(16)] == [half] * 8 + [half, more, half, whole] * 2
    fixed = plan_of(2, patch_size=(256, 192), generation=generation)
    assert {fixed.pretraining_size_at(update) for update in range(16)} == {whole}
