"""From what the data are like and what the machine can do to a plan of training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from genseg.config import Arm, GenerationPlan, Plan, Settings
from genseg.data.labels import LabelMap
from genseg.data.statistics import Statistics
from genseg.device import Machine
from genseg.errors import SettingsError
from genseg.segmenters.registry import SEGMENTERS, default_segmenter, segmenter_spec

MULTIPLE = 16
"""Sizes of pictures are multiples of it: four halvings without remainder."""

SIZE = {"cpu": 128, "cuda": 256}
UPDATES = {2: {"cpu": 600, "cuda": 3000}, 3: {"cpu": 600, "cuda": 3000}}
PRETRAINING = {2: {"cpu": 400, "cuda": 3000}, 3: {"cpu": 200, "cuda": 2000}}
STAGE_ONE_BATCH = {2: 4, 3: 2}
PATCH_VOXELS = {"cpu": 64**3 // 2, "cuda": 128**3}
BATCH_VOXELS = {"cpu": 64**3, "cuda": 2 * 128**3}
BATCH_PICTURES = 16

AUGMENTATION: dict[Arm, Literal["none", "copy-paste", "cutmix"]] = {
    "plain": "none",
    "copy-paste": "copy-paste",
    "cutmix": "cutmix",
}
"""Random changes of the training images, where not strong ones alone."""

PAYING_BATCH = 4
"""Smallest batch that half of is given to generated images: fewer real ones than two an update teach too little."""

LEAST_PATCH = 8
"""Smallest side of a patch: less is gone after three halvings."""

SIDED = re.compile(
    r"(?<![^\W\d_])(?i:left|right)"  # "right lung", "lung_left", "LeftLung", "rightlung"
    r"|(?<=[a-z])(?:Left|Right|[LR](?![a-z\d]))"  # "lungLeft", "kidneyL"
    r"|(?<![^\W\d_])[LRlr](?![^\W_])"  # "L kidney", "kidney_r", but not the vertebra "L1"
)
"""Names of classes that have a side: mirrored, such an object would carry the other side's name."""

DECIDED_BY = {
    "segmenter": "segmenter",
    "size": "patch_size",
    "updates": "updates",
    "pretraining": "pretraining",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "arm": "arm",
    "flips": "flip_axes",
}
"""Settings that decide a value of the plan, and which."""


def make_plan(statistics: Statistics, labels: LabelMap, settings: Settings, machine: Machine, patients: int) -> Plan:
    """Derive a complete plan; what `settings` gives is kept. patients: how many of them train.

    Raises SettingsError for a segmenter that does not exist or does not work on the data's dimensions, a flip axis
    that the data do not have, updates of a generator that the arm does not have, or too few images an update for it.
    """
    rank, kind = statistics.rank, "cuda" if machine.device.type == "cuda" else "cpu"
    name = settings.segmenter or default_segmenter(rank)
    spec = segmenter_spec(name, rank)
    patch_size = (
        _picture_size(statistics, settings, spec.size or SIZE[kind]) if rank == 2 else _volume_patch(statistics, kind)
    )
    batch_size = settings.batch_size or _batch_size(patch_size, kind)
    usual: Arm = "strong-augmentation" if spec.is_frozen else _default_arm(settings, rank, kind, patients, batch_size)
    arm = settings.arm or usual
    plan = Plan(
        rank=2 if rank == 2 else 3,
        channels=statistics.channels,
        class_names=labels.names,
        intensity=tuple(channel.rule for channel in statistics.by_channel),
        spacing=None if rank == 2 else _spacing(statistics),
        spacing_unit="mm" if rank == 2 else statistics.spacing_unit,
        patch_size=patch_size,
        segmenter=name,
        batch_size=batch_size,
        updates=settings.updates or spec.updates or UPDATES[rank][kind],
        learning_rate=settings.learning_rate or spec.learning_rate,
        augmentation=AUGMENTATION.get(arm, "strong"),
        flip_axes=_flip_axes(settings, rank, labels.names),
        # A network that has never seen a mirrored image is no judge of one.
        mirroring=arm != "plain",
        generation=_generation(arm, settings, rank, kind),
    )
    for problem in _pairs_in_vain(plan):
        raise SettingsError(problem)
    return plan


def check_plan(plan: Plan, derived: Plan, settings: Settings) -> None:
    """Raise SettingsError, with all that is wrong, where a plan that was given cannot be carried out.

    derived: what `make_plan` made of the same data and settings. The given plan may differ from it in everything but
    what the data fix, and what the settings ask for by name.
    """
    Plan.from_mapping(plan.model_dump(mode="json"), "plan")  # `model_copy` makes plans that nobody has checked
    wrong = [
        f"{key}: the plan says {getattr(plan, key)}, the data have {getattr(derived, key)}"
        for key in ("rank", "channels", "class_names")
        if getattr(plan, key) != getattr(derived, key)
    ]
    wrong += _other_channels(plan, derived)
    wrong += [
        f"{key}: {getattr(settings, name)} is asked for ({name}), the plan says {getattr(plan, key)}"
        for name, key in DECIDED_BY.items()
        if getattr(settings, name) != Settings.model_fields[name].default
        and getattr(plan, key) != getattr(derived, key)
    ]
    wrong += _pairs_in_vain(plan)
    if min(plan.patch_size) < LEAST_PATCH:
        wrong.append(f"patch_size: {plan.patch_size} found, sides of {LEAST_PATCH} and more expected")
    if wrong:
        raise SettingsError("the plan cannot be carried out; " + "; ".join(wrong))
    segmenter_spec(plan.segmenter, plan.rank)


def _other_channels(plan: Plan, derived: Plan) -> list[str]:
    """What is wrong where a plan names its channels otherwise than the data do: its rules would be for others."""
    named, found = ([rule.channel for rule in one.intensity] for one in (plan, derived))
    if named == found or not any(named) or len(named) != len(found):
        return []
    return [f"intensity: the plan has rules for the channels {named}, the data have {found}, in this order"]


def _pairs_in_vain(plan: Plan) -> list[str]:
    """What is wrong with generated pairs that nothing could learn from, or that leave no room for real ones."""
    if plan.generation is None:
        return []
    spec = SEGMENTERS.get(plan.segmenter)
    if spec is not None and spec.is_frozen:
        return [
            f"arm: {plan.arm} found; the segmenter {plan.segmenter} is trained on features that are computed once, and "
            "so has no use for generated pairs; choose --arm strong-augmentation, or another segmenter"
        ]
    if plan.has_room:
        return []
    cure = "give more images an update, or --arm strong-augmentation"
    return [
        f"batch_size: {plan.batch_size} found; the arm {plan.arm} needs a real and a synthetic image in every update "
        f"(share: {plan.generation.share:g}); {cure}"
    ]


def _picture_size(statistics: Statistics, settings: Settings, usual: int) -> tuple[int, ...]:
    """Rows and columns with the median picture's aspect and as many pixels as a square of the size asked for.

    usual: that size where none is asked for, unless the pictures are smaller.
    """
    rows, columns = statistics.size_median
    side = settings.size or min(usual, math.isqrt(rows * columns))
    aspect = min(max(rows / columns, 0.25), 4.0)
    ideal = side * math.sqrt(aspect), side / math.sqrt(aspect)
    size = [max(1, round(length / MULTIPLE)) for length in ideal]
    if settings.size is None:  # enlarging pictures costs time and adds nothing
        most = [max(1, length // MULTIPLE) for length in statistics.size_median]
        size = [min(pair) for pair in zip(size, most, strict=True)]
    return tuple(length * MULTIPLE for length in size)


def _spacing(statistics: Statistics) -> tuple[float, float, float]:
    first, second, third = (float(step) for step in statistics.spacing_median)
    return first, second, third


def _volume_patch(statistics: Statistics, kind: str) -> tuple[int, ...]:
    """The median volume rounded up to multiples of 8, its longest axes cut until it fits the machine."""
    patch = [math.ceil(size / 8) * 8 for size in statistics.size_median]
    while math.prod(patch) > PATCH_VOXELS[kind]:
        patch[patch.index(max(patch))] -= 8
    return tuple(patch)


def _batch_size(patch_size: Sequence[int], kind: str) -> int:
    if len(patch_size) == 2:
        return BATCH_PICTURES
    return min(8, max(2, BATCH_VOXELS[kind] // math.prod(patch_size)))


def _default_arm(settings: Settings, rank: int, kind: str, patients: int, batch_size: int) -> Arm:
    """Feedback where somebody can be held out, and where it is asked for or pays; see docs/experiments.md.

    It does not on volumes without a GPU: in the few updates that a CPU can make, real ones are not yet exhausted, and
    synthetic ones in their place cost more than they bring. Nor where a batch would hold one real image alone.
    """
    pays = (rank == 2 or kind != "cpu") and batch_size >= PAYING_BATCH
    is_asked_for = settings.pretraining is not None
    return "joint" if min(patients, batch_size) > 1 and (pays or is_asked_for) else "strong-augmentation"


def _generation(arm: Arm, settings: Settings, rank: int, kind: str) -> GenerationPlan | None:
    if arm == "separate" or arm == "joint-cut" or arm == "joint":
        pretraining = settings.pretraining or PRETRAINING[rank][kind]
        return GenerationPlan(arm=arm, pretraining=pretraining, batch_size=STAGE_ONE_BATCH[rank])
    if settings.pretraining is not None:
        raise SettingsError(
            f"pretraining: {settings.pretraining} updates of a generator are asked for, but the arm "
            f"{arm} has none; leave it out, or choose --arm separate or joint"
        )
    return None


def _flip_axes(settings: Settings, rank: int, names: Sequence[str]) -> tuple[int, ...]:
    every = tuple(range(rank))
    if isinstance(settings.flips, tuple):
        if not set(settings.flips) <= set(every):
            raise SettingsError(f"flips: {settings.flips} names an axis that {rank}D data lack; choose of {every}")
        return settings.flips
    if settings.flips == "none" or (settings.flips == "auto" and any(SIDED.search(name) for name in names)):
        return ()
    return every
