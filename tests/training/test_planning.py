"""From figures of the data to a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from genseg.compute.device import Machine
from genseg.config import IntensityRule, Plan, Settings
from genseg.errors import SettingsError
from genseg.examine.channels import ChannelStatistics, Distribution
from genseg.examine.statistics import Statistics
from genseg.labels import LabelMap
from genseg.training import planning
from genseg.training.planning import BATCH_VOXELS, PATCH_VOXELS, PROBED, check_plan, make_plan

LABELS = LabelMap(("background", "object"), {0: 0, 1: 1})
ONE_RULE = IntensityRule(rule="z-score")
CPU = Machine(torch.device("cpu"), torch.float32, 1)
FAST = Machine(torch.device("cpu"), torch.bfloat16, 8)
GPU = Machine(torch.device("cuda"), torch.bfloat16, 1)


def _figures(size: tuple[int, ...], **changes: Any) -> Statistics:
    rank = len(size)
    usual: dict[str, Any] = {
        "cases": 9,
        "labelled": 9,
        "empty_masks": 0,
        "rank": rank,
        "channels": 1,
        "modality": "gray" if rank == 2 else "mr",
        "dtypes": ("uint8",) if rank == 2 else ("int16",),
        **{f"size_{kind}": size for kind in ("min", "median", "max")},
        **{f"spacing_{kind}": (1.0, 1.0, 2.5)[:rank] for kind in ("min", "median", "max")},
        "classes": (),
        "foreground_fraction": 0.1,
        "by_channel": _by_channel("eight-bit" if rank == 2 else "z-score"),
    }
    return Statistics(**{**usual, **changes})


def _by_channel(*rules: Any, names: Sequence[str] = ("", "", "")) -> tuple[ChannelStatistics, ...]:
    values = Distribution(0, 1, 2, 1, 1)
    return tuple(
        ChannelStatistics(name, "", ("uint8",), values, None, IntensityRule(rule=rule, channel=name))
        for rule, name in zip(rules, names, strict=False)
    )


def _plan(
    figures: Statistics, machine: Machine = CPU, labels: LabelMap = LABELS, patients: int = 7, **settings: Any
) -> Plan:
    return make_plan(figures, labels, Settings(**settings), machine, patients)


@pytest.mark.parametrize("machine", [FAST, GPU])
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (512, 512), (1024, 300), (2000, 2000), (767, 1022)])
def test_pictures_keep_their_aspect_within_the_budget_of_pixels(size: tuple[int, int], machine: Machine) -> None:
    patch = _plan(_figures(size), machine).patch_size
    assert all(side % 16 == 0 for side in patch)
    assert math.prod(patch) == pytest.approx(256**2, rel=0.16)
    assert patch[0] / patch[1] == pytest.approx(size[0] / size[1], rel=0.16)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((44, 44), (32, 32)),
        ((120, 120), (112, 112)),
        ((100, 60), (96, 48)),
        ((40, 400), (32, 256)),
        ((9, 12), (16, 16)),
    ],
)
def test_small_pictures_are_not_enlarged(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert _plan(_figures(size)).patch_size == expected


def test_a_size_that_is_asked_for_is_kept() -> None:
    assert _plan(_figures((32, 32)), size=64).patch_size == (64, 64)
    assert _plan(_figures((300, 400)), size=64).patch_size == (48, 80)


def test_pictures_grow_where_half_of_them_still_shows_something() -> None:
    assert _plan(_figures((300, 300)), size=160).growing == 0.75
    assert _plan(_figures((300, 300)), size=144).growing == 0
    assert _plan(_figures((300, 300, 300))).growing == 0


@pytest.fixture
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> list[Plan]:
    """A machine that trains on 1000 pixels of images in a millisecond; the plans that it was measured on."""
    measured: list[Plan] = []

    def seconds(plan: Plan, _: Machine) -> float:
        measured.append(plan)
        return plan.updates * plan.batch_size * math.prod(plan.patch_size) / 1e6

    monkeypatch.setattr(planning, "estimate_seconds", seconds)
    return measured


@pytest.mark.parametrize(
    ("time", "side", "updates"),
    [("2h", 256, 600), ("4m", 192, 600), ("100s", 96, 600), ("40s", 96, 271), ("20s", 96, 135)],
)
def test_a_time_decides_size_first_and_updates_after(time: str, side: int, updates: int, stopwatch: list[Plan]) -> None:
    plan = _plan(_figures((512, 512)), method="strong-augmentation", time=time)
    assert (plan.patch_size, plan.updates) == ((side, side), updates)
    assert [(one.method, one.growing, one.updates) for one in stopwatch] == [("strong-augmentation", 0.0, 1)]
    assert max(stopwatch[0].patch_size) <= PROBED
    # What was planned is made in that time, by the same stopwatch.
    seconds = sum(math.prod(plan.size_at(update)) * plan.batch_size for update in range(plan.updates)) / 1e6
    assert seconds <= Settings(time=time).time * 1.01  # type: ignore[operator,arg-type]


def test_what_a_time_allows_is_said(stopwatch: list[Plan]) -> None:
    plan = _plan(_figures((512, 512)), method="strong-augmentation", time="4m")
    assert plan.size_note == (
        "as many pixels as 192 x 192, not 256 x 256, which would take about 5 min: 4 min of training allow no more on "
        "this machine; --time gives it more"
    )
    plan = _plan(_figures((512, 512)), method="strong-augmentation", time="20s")
    assert "as many pixels as 96 x 96; 135 updates, not 600: 20 s" in plan.size_note
    plan = _plan(_figures((512, 512)), method="strong-augmentation", time="10s")
    assert "100 updates, not 600, takes about 15 s, and no less can be done" in plan.size_note
    assert stopwatch


def test_a_time_decides_updates_alone_where_the_size_is_given_or_fixed(stopwatch: list[Plan]) -> None:
    plan = _plan(_figures((512, 512)), method="joint", size=128, time="2m")
    assert plan.patch_size == (128, 128)
    assert plan.updates == int(600 * 120 / (600 * 16 * 128**2 * 2.0 / 1e6))
    assert plan.generation is not None
    assert plan.generation.pretraining == round(400 * plan.updates / 600)
    plan = _plan(_figures((40, 40, 40)), method="strong-augmentation", time="30s")
    assert plan.patch_size == (40, 40, 40)
    assert plan.updates < 600
    for size, given in (((512, 512), {"size": 128}), ((40, 40, 40), {})):
        with pytest.raises(SettingsError, match=r"time: .* leave out --time"):
            _plan(_figures(size), updates=60, time="2m", **given)
    assert len(stopwatch) == 2


def test_updates_that_are_asked_for_are_made_however_long_they_take(stopwatch: list[Plan]) -> None:
    plan = _plan(_figures((512, 512)), method="strong-augmentation", updates=900, time="20s")
    assert (plan.patch_size, plan.updates) == ((96, 96), 900)
    assert "takes about 2 min, and no less can be done" in plan.size_note
    assert stopwatch


@pytest.mark.parametrize(("width", "side"), [(0.0, 256), (0.3, 256), (0.05, 320), (0.04, 400), (0.01, 512)])
def test_small_objects_are_given_more_pixels(width: float, side: int) -> None:
    plan = _plan(_figures((1000, 1000), object_width=width), FAST, method="strong-augmentation")
    assert plan.patch_size == (side, side)
    assert ("--size 1024 shows them twice as large" in plan.size_note) == (width == 0.01)


def test_without_a_time_the_same_machine_always_plans_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "estimate_seconds", None)  # no stopwatch
    sides = [
        _plan(_figures((512, 512)), Machine(torch.device("cpu"), torch.float32, n)).patch_size[0] for n in (1, 2, 8)
    ]
    assert sides == sorted(sides)
    assert sides[0] < 256 == sides[-1]


@pytest.mark.parametrize("machine", [CPU, GPU])
@pytest.mark.parametrize("size", [(35, 51, 35), (512, 512, 120), (1, 512, 512), (20, 20, 20), (320, 320, 12)])
def test_patches_of_volumes_fit_the_machine(size: tuple[int, int, int], machine: Machine) -> None:
    plan = _plan(_figures(size), machine)
    kind = machine.device.type
    assert all(side % 8 == 0 and 8 <= side < own + 8 for side, own in zip(plan.patch_size, size, strict=True))
    assert math.prod(plan.patch_size) <= PATCH_VOXELS[kind]
    assert 2 <= plan.batch_size <= max(2, BATCH_VOXELS[kind] // math.prod(plan.patch_size))
    assert plan.spacing == (1.0, 1.0, 2.5)


def test_a_small_volume_is_one_patch() -> None:
    assert _plan(_figures((35, 51, 33))).patch_size == (40, 56, 40)


@pytest.mark.parametrize(
    "name",
    [
        "right lung",
        "lung_left",
        "LEFT KIDNEY",
        "rightLung",
        "LeftLung",
        "lungLeft",
        "rightlung",
        "L kidney",
        "kidney_r",
    ],
)
def test_a_class_with_a_side_forbids_all_flips(name: str) -> None:
    labels = LabelMap(("background", "heart", name), {0: 0, 1: 1, 2: 2})
    assert _plan(_figures((64, 64)), labels=labels).flip_axes == ()
    assert _plan(_figures((64, 64)), labels=labels, flips="all").flip_axes == (0, 1)


@pytest.mark.parametrize(
    "name", ["lesion", "bright spot", "cleft", "label 1", "vertebra_L1", "liver", "colour #ff0000"]
)
def test_other_classes_may_be_flipped(name: str) -> None:
    labels = LabelMap(("background", name), {0: 0, 1: 1})
    assert _plan(_figures((64, 64)), labels=labels).flip_axes == (0, 1)
    assert _plan(_figures((9, 9, 9)), labels=labels).flip_axes == (0, 1, 2)


def test_flips_that_are_asked_for_are_kept_where_there_is_such_an_axis() -> None:
    assert _plan(_figures((64, 64)), flips=(1,)).flip_axes == (1,)
    assert _plan(_figures((64, 64)), flips="none").flip_axes == ()
    with pytest.raises(SettingsError, match="flips"):
        _plan(_figures((64, 64)), flips=(2,))
    with pytest.raises(SettingsError, match="flips"):
        Settings.from_mapping({"flips": (-1,)})


@pytest.mark.fault(56)
def test_each_channel_keeps_the_rule_that_it_was_found_to_need() -> None:
    by_channel = _by_channel("window", "z-score", "unchanged", names=("CT", "PET", "noNorm"))
    plan = _plan(_figures((9, 9, 9), channels=3, by_channel=by_channel))
    assert [(rule.channel, rule.rule) for rule in plan.intensity] == [
        ("CT", "window"),
        ("PET", "z-score"),
        ("noNorm", "unchanged"),
    ]


@pytest.mark.fault(56)
def test_rules_for_channels_in_another_order_are_refused() -> None:
    figures = _figures((9, 9, 9), channels=2, by_channel=_by_channel("window", "z-score", names=("CT", "PET")))
    derived = _plan(figures)
    turned = derived.model_copy(update={"intensity": derived.intensity[::-1]})
    with pytest.raises(SettingsError, match=r"intensity: channels \['PET', 'CT'\] in the plan, "):
        check_plan(turned, derived, Settings())
    unnamed = derived.model_copy(update={"intensity": 2 * (ONE_RULE,)})
    check_plan(unnamed, derived, Settings())


def test_what_is_asked_for_is_kept() -> None:
    plan = _plan(
        _figures((64, 64)),
        segmenter="unet-small",
        updates=7,
        batch_size=3,
        learning_rate=0.25,
        method="plain",
    )
    found = (plan.segmenter, plan.updates, plan.batch_size, plan.learning_rate, plan.augmentation)
    assert found == ("unet-small", 7, 3, 0.25, "none")


def test_segmenters_that_do_not_exist_or_suit_are_refused() -> None:
    with pytest.raises(SettingsError, match="unknown segmenter 'unet'; did you mean 'unet-"):
        _plan(_figures((64, 64)), segmenter="unet")
    with pytest.raises(SettingsError, match="does not support 3D"):
        _plan(_figures((9, 9, 9)), segmenter="unet-pretrained")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 3, "patch_size": (8, 8, 8), "spacing": (1.0, 1.0, 1.0)}, "rank: 3 in the plan, 2 in the data"),
        ({"channels": 2, "intensity": 2 * (ONE_RULE,)}, "channels: 2 in the plan, 1 in the data"),
        ({"channels": 2}, r"intensity: 1 rule\(s\) for 2 channel\(s\)"),
        ({"class_names": ("background", "other")}, "class_names"),
        ({"patch_size": (64,)}, "patch_size"),
        ({"patch_size": (64, 4)}, "patch_size"),
        ({"flip_axes": (2,)}, "flip_axes"),
        ({"spacing": (1.0, 1.0, 1.0)}, "spacing"),
        ({"segmenter": "unet-smal"}, "unknown segmenter 'unet-smal'; did you mean 'unet-small'"),
    ],
)
def test_a_given_plan_that_cannot_be_carried_out_is_refused(change: dict[str, Any], message: str) -> None:
    derived = _plan(_figures((64, 64)))
    with pytest.raises(SettingsError, match=message):
        check_plan(derived.model_copy(update=change), derived, Settings())


@pytest.mark.parametrize("spacing", [None, (1.0, 0.0, 1.0)])
def test_a_plan_for_volumes_needs_a_spacing(spacing: tuple[float, float, float] | None) -> None:
    derived = _plan(_figures((9, 9, 9)))
    with pytest.raises(SettingsError, match="spacing"):
        check_plan(derived.model_copy(update={"spacing": spacing}), derived, Settings())


def test_all_that_is_wrong_with_a_plan_is_said_at_once() -> None:
    derived = _plan(_figures((64, 64)), updates=8)
    edited = derived.model_copy(
        update={"channels": 2, "intensity": 2 * (ONE_RULE,), "patch_size": (1, 64), "updates": 9}
    )
    with pytest.raises(SettingsError, match=r"channels.*updates.*patch_size"):
        check_plan(edited, derived, Settings(updates=8))


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ({"updates": 9}, "updates"),
        ({"size": 128}, "patch_size"),
        ({"flips": "none"}, "flip_axes"),
        ({"batch_size": 3}, "batch_size"),
        ({"learning_rate": 0.5}, "learning_rate"),
        ({"method": "plain"}, "method"),
        ({"segmenter": "unet-small"}, "segmenter"),
    ],
)
def test_a_plan_and_settings_that_contradict_each_other_are_refused(asked: dict[str, Any], key: str) -> None:
    figures, settings = _figures((64, 64)), Settings(**asked)
    given, derived = _plan(figures), _plan(figures, **asked)
    with pytest.raises(SettingsError, match=f"{key}: .* in the plan, .* requested"):
        check_plan(given, derived, settings)
    check_plan(derived, derived, settings)


def test_an_edited_plan_is_kept_where_nothing_else_is_asked_for() -> None:
    derived = _plan(_figures((64, 64)))
    edited = {"updates": 9, "patch_size": (24, 40), "flip_axes": (1,), "segmenter": "deeplab", "average_decay": 0.5}
    check_plan(derived.model_copy(update=edited), derived, Settings(seed=3, labels=9, segmenter=None))


@pytest.mark.parametrize("method", ["plain", "strong-augmentation", "copy-paste", "cutmix", "separate", "joint"])
def test_a_network_that_saw_no_mirrored_image_is_shown_none(method: str) -> None:
    assert _plan(_figures((64, 64)), method=method).mirroring == (method != "plain")


def test_updates_of_a_generator_are_asked_of_methods_that_have_one() -> None:
    assert _plan(_figures((64, 64)), method="separate", pretraining=7).pretraining == 7
    for method in ("plain", "strong-augmentation", "copy-paste", "cutmix"):
        with pytest.raises(
            SettingsError, match=f"pretraining: 7 generator updates .* method {method} has no generator"
        ):
            _plan(_figures((64, 64)), method=method, pretraining=7)
    given, wanted = (_plan(_figures((64, 64)), method="joint", pretraining=count) for count in (7, 9))
    with pytest.raises(SettingsError, match=r"pretraining: 7 in the plan, 9 requested \(pretraining\)"):
        check_plan(given, wanted, Settings(method="joint", pretraining=9))


def test_a_generator_is_chosen_by_name_for_methods_that_have_one() -> None:
    assert _plan(_figures((64, 64)), method="separate").generator == "small"
    assert _plan(_figures((64, 64)), method="plain").generator is None
    assert _plan(_figures((64, 64)), generator="medium", batch_size=3).method == "joint"
    with pytest.raises(SettingsError, match=r"unknown generator 'smal'; did you mean 'small'"):
        _plan(_figures((64, 64)), generator="smal")
    with pytest.raises(SettingsError, match="generator: large requested, but training method plain has no generator"):
        _plan(_figures((64, 64)), method="plain", generator="large")
    given, wanted = (_plan(_figures((64, 64)), generator=name) for name in ("small", "large"))
    with pytest.raises(SettingsError, match=r"generator: small in the plan, large requested \(generator\)"):
        check_plan(given, wanted, Settings(generator="large"))
    edited = given.model_copy(update={"generation": given.generation.model_copy(update={"generator": "gone"})})
    with pytest.raises(SettingsError, match="unknown generator 'gone'"):
        check_plan(edited, given, Settings())


@pytest.mark.parametrize(
    ("given", "method"),
    [
        ({}, "joint"),
        ({"patients": 2}, "joint"),
        ({"patients": 1}, "strong-augmentation"),
        ({"batch_size": 1}, "strong-augmentation"),
        ({"batch_size": 2, "pretraining": 9, "method": "joint"}, "joint"),
        ({"batch_size": 3}, "strong-augmentation"),
        ({"batch_size": 3, "pretraining": 9}, "joint"),
        ({"batch_size": 4}, "joint"),
        ({"patients": 1, "method": "separate"}, "separate"),
        ({"method": "plain"}, "plain"),
        ({"method": "copy-paste"}, "copy-paste"),
        ({"method": "cutmix"}, "cutmix"),
    ],
)
def test_feedback_is_the_default_where_patients_can_be_held_out(given: dict[str, Any], method: str) -> None:
    assert _plan(_figures((64, 64)), **given).method == method


@pytest.mark.parametrize("method", ["joint", "separate"])
def test_an_update_has_a_real_and_a_synthetic_image(method: str) -> None:
    message = rf"batch_size: 1 found; training method {method} needs .* in every update \(synthetic fraction: 0\.5\)"
    with pytest.raises(SettingsError, match=message):
        _plan(_figures((64, 64)), batch_size=1, method=method)
    derived = _plan(_figures((64, 64)), batch_size=2, method=method)
    assert derived.generation is not None
    greedy = derived.generation.model_copy(update={"share": 0.79})
    with pytest.raises(SettingsError, match=r"batch_size: 2 found; .* \(synthetic fraction: 0\.79\)"):
        check_plan(derived.model_copy(update={"generation": greedy}), derived, Settings(method=method, batch_size=2))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("machine", "given", "method"),
    [
        (CPU, {}, "strong-augmentation"),
        (CPU, {"pretraining": 9}, "joint"),
        (CPU, {"method": "joint"}, "joint"),
        (GPU, {}, "joint"),
        (GPU, {"batch_size": 2}, "strong-augmentation"),
    ],
)
def test_volumes_have_a_generator_on_a_gpu_or_where_it_is_asked_for(
    machine: Machine, given: dict[str, Any], method: str
) -> None:
    assert _plan(_figures((40, 40, 40)), machine, **given).method == method


def test_a_frozen_encoder_is_trained_on_real_pairs_alone_as_large_and_as_long_as_suits_it() -> None:
    assert _plan(_figures((500, 500)), segmenter="readout").patch_size == (256, 256)
    assert _plan(_figures((500, 500)), segmenter="readout", size=64).patch_size == (64, 64)
    plan = _plan(_figures((64, 64)), segmenter="readout")
    assert plan.patch_size == (64, 64)
    assert (plan.method, plan.updates, plan.generation) == ("strong-augmentation", 100, None)
    assert _plan(_figures((64, 64)), segmenter="readout", updates=7, method="copy-paste").updates == 7
    assert _plan(_figures((64, 64))).method == "joint"


def test_generated_pairs_for_a_frozen_encoder_are_refused_in_settings_and_in_a_plan() -> None:
    with pytest.raises(SettingsError, match=r"method: joint found; .* readout .* --method strong-augmentation"):
        _plan(_figures((64, 64)), segmenter="readout", method="joint")
    with pytest.raises(SettingsError, match=r"pretraining: 5 .* leave it out"):
        _plan(_figures((64, 64)), segmenter="readout", pretraining=5)
    derived = _plan(_figures((64, 64)), segmenter="readout")
    generation = _plan(_figures((64, 64))).generation
    given = derived.model_copy(update={"generation": generation})
    with pytest.raises(SettingsError, match="the plan cannot be used: method: joint found"):
        check_plan(given, derived, Settings(segmenter="readout"))
