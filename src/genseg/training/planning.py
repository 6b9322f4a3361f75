"""From what the data are like and what the machine can do to a plan of training."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from genseg.compute.device import Machine
from genseg.config import MULTIPLE, GenerationPlan, Plan, Settings, TrainingMethod
from genseg.errors import SettingsError
from genseg.examine.statistics import Statistics
from genseg.generators.registry import DEFAULT_GENERATOR, generator_spec
from genseg.labels import LabelMap
from genseg.segmenters.registry import default_segmenter, segmenter_spec, segmenters
from genseg.training.estimate import estimate_seconds
from genseg.training.sizing import (
    LEAST_UPDATES,
    USUAL_TIME,
    Effort,
    Sized,
    fit_size,
    fit_updates,
    growing,
    nominal_rate,
    seconds_at,
)
from genseg.training.views import has_views

UPDATES = {2: {"cpu": 600, "cuda": 3000}, 3: {"cpu": 600, "cuda": 3000}}
PRETRAINING = {2: {"cpu": 400, "cuda": 3000}, 3: {"cpu": 200, "cuda": 2000}}
STAGE_ONE_BATCH = {2: 4, 3: 2}
PATCH_VOXELS = {"cpu": 64**3 // 2, "cuda": 128**3}
BATCH_VOXELS = {"cpu": 64**3, "cuda": 2 * 128**3}
BATCH_PICTURES = 16

AUGMENTATION: dict[TrainingMethod, Literal["none", "copy-paste", "cutmix"]] = {
    "plain": "none",
    "copy-paste": "copy-paste",
    "cutmix": "cutmix",
}
"""Random changes of the training images, where not strong ones alone."""

PROBED = 128
"""Longest side of the images that the machine's speed is measured on, where a time is asked for."""

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
    "generator": "generator",
    "size": "patch_size",
    "updates": "updates",
    "pretraining": "pretraining",
    "batch_size": "batch_size",
    "learning_rate": "learning_rate",
    "method": "method",
    "flips": "flip_axes",
}
"""Settings that decide a value of the plan, and which."""


def make_plan(statistics: Statistics, labels: LabelMap, settings: Settings, machine: Machine, patients: int) -> Plan:
    """Derive a complete plan; what `settings` gives is kept. patients: how many of them train.

    Raises SettingsError for a segmenter that does not exist or does not work on the data's dimensions, a flip axis
    that the data do not have, generator updates for a training method without one, or too few images per update for it.
    """
    rank, kind = statistics.rank, "cuda" if machine.device.type == "cuda" else "cpu"
    name = settings.segmenter or default_segmenter(rank)
    spec = segmenter_spec(name, rank)
    volume = None if rank == 2 else _volume_patch(statistics, kind)
    batch_size = settings.batch_size or (BATCH_PICTURES if volume is None else _batch_size(volume, kind))
    usual = _default_method(settings, rank, kind, patients, batch_size)
    method = settings.method or ("strong-augmentation" if spec.is_frozen else usual)
    updates = settings.updates or spec.updates or UPDATES[rank][kind]
    effort = Effort(updates, settings.updates or min(LEAST_UPDATES, updates), batch_size, method)
    sized = _usual_size(statistics, settings.size or spec.size, effort, kind, nominal_rate(machine))
    patch_size = volume or _picture_size(statistics, sized.side, enlarge=settings.size is not None)
    plan = Plan(
        rank=2 if rank == 2 else 3,
        channels=statistics.channels,
        class_names=labels.names,
        intensity=tuple(channel.rule for channel in statistics.by_channel),
        spacing=None if rank == 2 else _spacing(statistics),
        spacing_unit="mm" if rank == 2 else statistics.spacing_unit,
        patch_size=patch_size,
        size_note=sized.note,
        segmenter=name,
        batch_size=batch_size,
        updates=updates,
        growing=0.0 if spec.is_frozen else growing(patch_size),
        learning_rate=settings.learning_rate or spec.learning_rate,
        augmentation=AUGMENTATION.get(method, "strong"),
        flip_axes=_flip_axes(settings, rank, labels.names),
        # A network that has never seen a mirrored image is no judge of one.
        mirroring=method != "plain",
        generation=_generation(method, settings, rank, kind),
    )
    if settings.time is not None:
        plan = _in_time(plan, statistics, settings, effort, machine, kind, settings.time)
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
        f"{key}: {getattr(plan, key)} in the plan, {getattr(derived, key)} in the data"
        for key in ("rank", "channels", "class_names")
        if getattr(plan, key) != getattr(derived, key)
    ]
    wrong += _other_channels(plan, derived)
    wrong += [
        f"{key}: {getattr(plan, key)} in the plan, {getattr(settings, name)} requested ({name})"
        for name, key in DECIDED_BY.items()
        if getattr(settings, name) != Settings.model_fields[name].default
        and getattr(plan, key) != getattr(derived, key)
    ]
    wrong += _pairs_in_vain(plan)
    if min(plan.patch_size) < LEAST_PATCH:
        wrong.append(f"patch_size: {plan.patch_size} found; expected sides of at least {LEAST_PATCH}")
    if wrong:
        raise SettingsError("the plan cannot be used: " + "; ".join(wrong))
    segmenter_spec(plan.segmenter, plan.rank)
    if plan.generator is not None:
        generator_spec(plan.generator, plan.rank)


def _other_channels(plan: Plan, derived: Plan) -> list[str]:
    """What is wrong where a plan names its channels otherwise than the data do: its rules would be for others."""
    named, found = ([rule.channel for rule in one.intensity] for one in (plan, derived))
    if named == found or not any(named) or len(named) != len(found):
        return []
    return [f"intensity: channels {named} in the plan, {found} in the data"]


def _pairs_in_vain(plan: Plan) -> list[str]:
    """What is wrong with generated pairs that nothing could learn from, or that leave no room for real ones."""
    if plan.generation is None:
        return []
    spec = segmenters().get(plan.segmenter)
    if spec is not None and spec.is_frozen:
        return [
            f"method: {plan.method} found; segmenter {plan.segmenter} trains on precomputed features and cannot use "
            "generated pairs; choose --method strong-augmentation, or another segmenter"
        ]
    if plan.has_room:
        return []
    cure = "use more images per update, or --method strong-augmentation"
    return [
        f"batch_size: {plan.batch_size} found; training method {plan.method} needs a real and a synthetic image in "
        f"every update (synthetic fraction: {plan.generation.share:g}); {cure}"
    ]


def _usual_size(statistics: Statistics, side: int | None, effort: Effort, kind: str, rate: float) -> Sized:
    """What `fit_size` says of pictures whose size is not asked for. side: that is."""
    if side is not None or statistics.rank != 2:
        return Sized(side or 0, effort.updates, "")
    return fit_size(statistics, effort, kind, rate, USUAL_TIME)


def _in_time(
    plan: Plan,
    statistics: Statistics,
    settings: Settings,
    effort: Effort,
    machine: Machine,
    kind: str,
    seconds: float,
) -> Plan:
    """The plan with a size and as many updates as there are seconds for on this machine, by its stopwatch.

    Raises SettingsError where both are asked for, too.
    """
    is_frozen = has_views(plan)
    is_sized = plan.rank == 3 or is_frozen or settings.size is not None
    if is_sized and settings.updates is not None:
        what = "--size and --updates" if settings.size is not None else "--updates and the fixed image size"
        raise SettingsError(f"time: {what} already determine the training; leave out --time")
    if is_frozen:
        return _with_updates(plan, *fit_updates(effort, estimate_seconds(plan, machine), seconds), settings)
    size = plan.patch_size if is_sized else tuple(min(side, PROBED) for side in plan.patch_size)
    probe = plan.model_copy(update={"generation": None, "growing": 0.0, "patch_size": size, "updates": 1})
    rate = plan.batch_size * math.prod(size) / estimate_seconds(probe, machine)
    if is_sized:
        return _with_updates(plan, *fit_updates(effort, seconds_at(size, effort, rate), seconds), settings)
    sized = fit_size(statistics, effort, kind, rate, seconds)
    size = _picture_size(statistics, sized.side, enlarge=False)
    fitted = plan.model_copy(update={"patch_size": size, "growing": growing(size)})
    return _with_updates(fitted, sized.updates, sized.note, settings)


def _with_updates(plan: Plan, updates: int, note: str, settings: Settings) -> Plan:
    """The plan with so many updates, and in proportion of the generator before them, where these are not asked for."""
    changes: dict[str, object] = {"updates": updates, "size_note": note}
    if plan.generation is not None and settings.pretraining is None:
        fewer = max(1, round(plan.generation.pretraining * updates / plan.updates))
        changes["generation"] = plan.generation.model_copy(update={"pretraining": fewer})
    return plan.model_copy(update=changes)


def _picture_size(statistics: Statistics, side: int, *, enlarge: bool) -> tuple[int, ...]:
    """Rows and columns with the median picture's aspect and as many pixels as a square of this side.

    enlarge: whether they may be more than the median picture has; that costs time and adds nothing.
    """
    rows, columns = statistics.size_median
    aspect = min(max(rows / columns, 0.25), 4.0)
    ideal = side * math.sqrt(aspect), side / math.sqrt(aspect)
    size = [max(1, round(length / MULTIPLE)) for length in ideal]
    if not enlarge:
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
    return min(8, max(2, BATCH_VOXELS[kind] // math.prod(patch_size)))


def _default_method(settings: Settings, rank: int, kind: str, patients: int, batch_size: int) -> TrainingMethod:
    """Feedback where somebody can be held out, and where it is asked for or pays; see docs/experiments.md.

    It does not on volumes without a GPU: in the few updates that a CPU can make, real ones are not yet exhausted, and
    synthetic ones in their place cost more than they bring. Nor where a batch would hold one real image alone.
    """
    pays = (rank == 2 or kind != "cpu") and batch_size >= PAYING_BATCH
    is_asked_for = settings.pretraining is not None or settings.generator is not None
    return "joint" if min(patients, batch_size) > 1 and (pays or is_asked_for) else "strong-augmentation"


def _generation(method: TrainingMethod, settings: Settings, rank: int, kind: str) -> GenerationPlan | None:
    if method == "separate" or method == "joint-cut" or method == "joint":
        pretraining = settings.pretraining or PRETRAINING[rank][kind]
        generator = generator_spec(settings.generator or DEFAULT_GENERATOR, rank).name
        batch_size = STAGE_ONE_BATCH[rank]
        return GenerationPlan(method=method, generator=generator, pretraining=pretraining, batch_size=batch_size)
    in_vain = []
    if settings.pretraining is not None:
        in_vain.append(f"pretraining: {settings.pretraining} generator updates requested")
    if settings.generator is not None:
        in_vain.append(f"generator: {settings.generator} requested")
    if in_vain:
        raise SettingsError(
            f"{'; '.join(in_vain)}, but training method {method} has no generator; leave it out, or choose --method "
            "separate or joint"
        )
    return None


def _flip_axes(settings: Settings, rank: int, names: Sequence[str]) -> tuple[int, ...]:
    every = tuple(range(rank))
    if isinstance(settings.flips, tuple):
        if not set(settings.flips) <= set(every):
            raise SettingsError(f"flips: {settings.flips} found; {rank}D data have the axes {every}")
        return settings.flips
    if settings.flips == "none" or (settings.flips == "auto" and any(SIDED.search(name) for name in names)):
        return ()
    return every
