"""What a user can set (`Settings`) and what is made of it for one dataset (`Plan`).

Settings are checked once, here; `None` means "decide from the data and the machine". A plan is complete: it holds every
value that training and prediction use, can be written as YAML, edited, and given back.
"""

from __future__ import annotations

import math
import re
import reprlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from genseg.base.durations import Duration
from genseg.base.files import atomic_write_bytes
from genseg.base.lengths import SpacingUnit, Unit, length_unit
from genseg.choices import AdversarialKind, Instances, MaskRepair, Method, NanTo, Pages, Tilt, Unlabelled
from genseg.errors import SettingsError, did_you_mean, unknown

FORMAT = 7
"""Version of what is written for later: checkpoints, and the description of a model in run folders and exports."""

MOST_CLASSES = 255
"""Masks hold class indices as uint8, whose last value marks pixels that count in no loss."""

MOST_UPDATES = 10_000_000
MOST_IMAGES = 10_000
"""In an update."""

MOST_CASES = 1_000_000
LARGEST_SEED = 2**63 - 1
LARGEST_SIDE = 16_384
MULTIPLE = 16
"""Sides of pictures are multiples of it, as far as they are that long: four halvings without remainder."""

GROWTH = ((2 / 3, 0.5), (1.0, 0.75))
"""While images grow: until which part of that time, and how long their sides are as a share of the whole size.

Few sizes, because every new one costs the processor's library time. The last updates are made at the whole size, which
is the one that predicts. Source: Tan and Le, EfficientNetV2, ICML 2021, section 4.2, without the change of
augmentation.
"""

TURNS = (0.5, 0.75, 0.5, 1.0)
"""While images grow, sizes that stage I takes in turn in the second half of its updates before the segmenter's first,
as shares of the whole; before that it has half the size. So a generator that is frozen then knows every size."""

STORED = "is_stored"
LONGEST_NAME = 60
"""Longest mistyped name that a message repeats in full."""

LARGEST_SHARE = 0.8
"""Largest synthetic fraction of a batch that feedback may choose: a few images always stay real."""


class _Checked(BaseModel):
    """Frozen record that comes from and goes to YAML and knows no key but its own."""

    # Built when a record is first made: `--help` names fields and makes none.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=True)

    @classmethod
    def from_mapping(
        cls, values: dict[str, Any], origin: str = "settings", *, spelled: Callable[[str], str] = str
    ) -> Self:
        """Build from keys and values. Raises SettingsError naming every bad key, with the nearest valid one.

        origin: where the values come from. spelled: how a key is written there.
        """
        return cls._checked(values, origin, spelled, is_stored=False)

    @classmethod
    def _checked(
        cls, values: dict[str, Any], origin: str, spelled: Callable[[str], str] = str, *, is_stored: bool
    ) -> Self:
        """is_stored: whether the values are from a file, in which old names need no notice."""
        try:
            return cls.model_validate(values, context={STORED: is_stored})
        except ValidationError as error:
            lines = [_explain(problem, cls, spelled) for problem in _told_once(error.errors())]
            raise SettingsError((f"{origin}: " if origin else "") + "; ".join(dict.fromkeys(lines))) from None

    @classmethod
    def from_yaml(cls, path: Path) -> Self:
        """Read from a YAML file. Raises SettingsError when it cannot be read or holds a bad key or value."""
        try:
            values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        # ValueError: text that is not UTF-8, and dates or numbers that look like YAML's but are none.
        except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise SettingsError(f"{path}: cannot be read as YAML ({type(error).__name__})") from error
        if not isinstance(values, dict):
            raise SettingsError(f"{path}: expected `key: value` lines, found {type(values).__name__}")
        return cls._checked(values, str(path), is_stored=True)

    def to_yaml(self, path: Path) -> None:
        """Write as YAML, each key preceded by what it means."""
        lines = []
        for name, field in type(self).model_fields.items():
            value = yaml.safe_dump({name: self.model_dump(mode="json")[name]}, sort_keys=False, allow_unicode=True)
            meaning = (field.description or "").replace("\n", "\n# ")
            lines.append(f"# {meaning}\n{value}")
        atomic_write_bytes(Path(path), "\n".join(lines).encode())


def _told_once(problems: Sequence[Any]) -> list[Any]:
    """pydantic's problems without those of a list where a name was given: the names to choose from say enough."""
    named = {problem["loc"][:1] for problem in problems if problem["type"] == "literal_error"}
    return [one for one in problems if one["type"] != "tuple_type" or one["loc"][:1] not in named]


def _explain(problem: Any, record: type[BaseModel], spelled: Callable[[str], str]) -> str:
    """One of pydantic's problems as a line that names the key, what was found, and what would do."""
    path, known = _place(problem["loc"], record)
    key = spelled(".".join(path))
    if problem["type"] == "extra_forbidden":
        return f"{key}: unknown key{did_you_mean(path[-1], known)}"
    if problem["type"] == "missing":
        return f"{key}: missing"
    if problem["type"] == "literal_error" and isinstance(problem["input"], str):
        return f"{key}: {unknown('value', _shortened(problem['input']), _choices(problem['ctx']['expected']))}"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')} (found {reprlib.repr(problem['input'])})"


def _shortened(text: str) -> str:
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def _choices(expected: str) -> list[str]:
    """From pydantic's "'auto', 'all' or 'none'" to the names."""
    return re.findall(r"'([^']*)'", expected)


def _place(location: tuple[int | str, ...], record: type[BaseModel]) -> tuple[list[str], list[str]]:
    """A problem's key with those that it is nested in, and the keys that would be valid in its place."""
    path, known = [str(part) for part in location], list(record.model_fields)
    field = record.model_fields.get(path[0]) if path else None
    if field is None:
        return path, known
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
        inner, known = _place(location[1:], field.annotation) if len(path) > 1 else ([], known)
        return [path[0], *inner], known
    if len(path) > 2 and get_args(field.annotation)[:1] == (IntensityRule,):
        inner, known = _place(location[2:], IntensityRule)
        return [*path[:2], *inner], known
    return path[:1], known


TrainingMethod = Literal["plain", "strong-augmentation", "copy-paste", "cutmix", "separate", "joint-cut", "joint"]
"""Training methods that can be compared: all make the same number of updates with the same number of images."""

METHODS = """\
training method
plain: real pairs, no augmentation
strong-augmentation: real pairs, strongly augmented
copy-paste: as before, with objects pasted from other images
cutmix: as before, with boxes pasted from other images
separate: adds generated pairs; the generator is frozen after pretraining
joint-cut: the generator keeps training, without feedback
joint: feedback from the error on held-out cases steers the generator
default: joint; strong-augmentation for volumes on a CPU, batches below 4, a single patient or a frozen encoder"""


class Settings(_Checked):
    """What a user can ask of `genseg train`; every field has a default that works."""

    segmenter: str | None = Field(None, description="segmentation network (`genseg segmenters` lists them)")
    generator: str | None = Field(
        None, description="generator network of separate, joint-cut and joint (`genseg generators` lists them)"
    )
    size: int | None = Field(
        None, ge=32, le=2048, description="2D images: train at the area of a square of this side; aspect ratio is kept"
    )
    time: Duration | None = Field(
        None,
        description="time budget, such as 20m or 2h (default: 30m on an ordinary machine); sets image size and "
        "updates. It covers one training; the comparison and the other folds take several times as long",
    )
    updates: int | None = Field(None, ge=1, le=MOST_UPDATES, description="total number of optimiser updates")
    pretraining: int | None = Field(
        None, ge=1, le=MOST_UPDATES, description="generator updates before the first segmenter update"
    )
    batch_size: int | None = Field(None, ge=1, le=MOST_IMAGES, description="images (patches of volumes) per update")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="peak learning rate of AdamW")
    method: TrainingMethod | None = Field(None, description=METHODS)
    flips: Literal["auto", "all", "none"] | tuple[Annotated[int, Field(ge=0, le=2)], ...] = Field(
        "auto",
        description="axes to flip at random (0 = rows or i); auto: all axes, or none if a class name says left or "
        "right",
    )
    labels: int | None = Field(None, ge=2, le=MOST_CASES, description="use only the first N labelled cases")
    training_cases: int | None = Field(
        None,
        ge=1,
        le=MOST_CASES,
        description="train on only N cases; smaller subsets are nested in larger ones",
    )
    folds: int | None = Field(
        None,
        ge=2,
        le=MOST_CASES,
        description="number of cross-validation folds (default 5; leave-one-patient-out below 10 patients)",
    )
    fold: Annotated[int, Field(ge=0, le=MOST_CASES)] | Literal["all"] = Field(
        0, description="fold held out for validation, counted from 0; all: hold out none, train on every labelled case"
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="random seed")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic of convolutions; auto: bfloat16 if the hardware supports it. Volumes on a CPU always "
        "use float32",
    )
    mask_repair: MaskRepair = Field(
        "stop", description="masks with stray values: stop, or replace each with the nearest known value"
    )
    instances: Instances = Field(
        "stop", description="masks that number objects: stop, or merge all nonzero values into one class"
    )
    pages: Pages = Field("stop", description="multi-page TIFF: stop, or read pages as a volume")
    nan_to: NanTo = Field("stop", description="NaN or infinite pixels: stop, or replace with the minimum")
    tilt: Tilt = Field("stop", description="gantry-tilted DICOM series: refuse, or resample to an orthogonal grid")
    unlabelled: Unlabelled = Field(
        "stop",
        description="images without a mask: stop, leave them out (`genseg check` lists them), or also let the final "
        "model learn from them, as from --also-images; none of a test part",
    )

    @model_validator(mode="before")
    @classmethod
    def _by_old_names(cls, values: Any, info: ValidationInfo) -> Any:
        """Take `arm` for `method`, with a notice where it is not from a file of an earlier version."""
        if not isinstance(values, Mapping) or "arm" not in values or "method" in values:
            return values
        if not (info.context or {}).get(STORED):
            warnings.warn(renamed("arm", "method"), FutureWarning, stacklevel=3)
        return {"method" if name == "arm" else name: value for name, value in values.items()}

    @property
    def arm(self) -> TrainingMethod | None:
        """`method` by its former name, for one version."""
        return self.method


Rule = Literal["eight-bit", "percentile", "min-max", "z-score", "window", "unchanged"]
"""How the values of a channel become network input; see `IntensityRule`."""

BOUNDED: tuple[Rule, ...] = ("eight-bit", "percentile", "min-max")
"""Rules that put every value between -1 and 1."""


COLOURS = frozenset({"", "r", "g", "b", "red", "green", "blue", "rgb", "rgb_to_0_1"})
"""Names, in small letters, that the channels of a colour picture have; mostly they have none."""


class IntensityRule(_Checked):
    """How the stored values of one channel become network input.

    rule "eight-bit": value / 127.5 - 1. "percentile": the 0.5 and 99.5 percentiles of the image's channel to -1 and 1.
    "min-max": its smallest and largest value to -1 and 1. "z-score": minus its mean, over its standard deviation.
    "window": clip to low..high, then minus mean, over std, all fixed from the channel's values in the training cases'
    foreground (nnU-Net's rule for CT). "unchanged": the stored values.
    """

    channel: str = Field("", description="channel name; empty if unknown")
    rule: Rule = Field(description="normalisation rule")
    low: float = Field(-1.0, description="window: lower clipping bound")
    high: float = Field(1.0, validate_default=True, description="window: upper clipping bound")
    mean: float = Field(0.0, description="window: value subtracted")
    std: float = Field(1.0, gt=0, description="window: divisor")

    @field_validator("high")
    @classmethod
    def _above_low(cls, high: float, info: ValidationInfo) -> float:
        if high <= info.data.get("low", -math.inf):
            raise ValueError("must be above low")
        return high

    @model_serializer(mode="wrap")
    def _what_counts(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without a name that there is not, and without numbers that belong to windows alone."""
        values: dict[str, Any] = dump(self)
        left_out = {"channel"} if not self.channel else set()
        if self.rule != "window":
            left_out |= {"low", "high", "mean", "std"}
        return {key: value for key, value in values.items() if key not in left_out}

    def __str__(self) -> str:
        """The rule in a few words, as tables show it."""
        if self.rule != "window":
            return self.rule
        return f"window {self.low:.4g} to {self.high:.4g}, mean {self.mean:.4g}, std {self.std:.4g}"


Positive = Annotated[float, Field(gt=0)]


def renamed(old: str, new: str) -> str:
    """The notice that something has another name by now."""
    return f"{old} is now called {new}; the old name will be removed in the next version"


FIRST_NAMES = {"method": "arm", "hypergradient": "method", "held_out": "waiting", "steering_rate": "knob_rate"}
"""Values of a `GenerationPlan` that have been renamed, and what the first version called them."""


class GenerationPlan(_Checked):
    """How synthetic pairs are made, and how the error on held-out cases steers that."""

    method: Literal["separate", "joint-cut", "joint"] = Field(
        "joint", description="generator frozen after pretraining; trained alongside; or also steered by the segmenter"
    )
    generator: str = Field("small", description="generator network")
    adversarial: AdversarialKind = Field("least-squares", description="adversarial loss")
    pretraining: int = Field(
        ge=1, le=MOST_UPDATES, description="stage I: generator updates before the first segmenter update"
    )
    batch_size: int = Field(4, ge=1, le=MOST_IMAGES, description="stage I: real pairs per update")
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="stage I: learning rate of AdamW")
    clip_norm: float = Field(10.0, gt=0, description="stage I: gradient clipping norm")
    share: float = Field(
        0.5,
        gt=0,
        lt=LARGEST_SHARE,
        description="synthetic fraction of each batch; with joint, the initial value",
    )
    every: int = Field(8, ge=1, le=MOST_UPDATES, description="segmenter updates between stages I and III")
    held_out: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="fraction of training patients held out at first; they join the training set one by one",
    )
    refresh: int = Field(
        25, ge=1, le=MOST_UPDATES, description="updates between refreshes of the style of every real image"
    )
    search: float = Field(
        0.7,
        gt=0,
        le=1,
        description="fraction of updates with held-out cases and feedback. Afterwards all cases train, and each cell "
        "of a steered generator keeps its strongest operation",
    )
    hypergradient: Method = Field("exact", description="computation of the mixed products in the hypergradient")
    steering_rate: float = Field(
        0.02, gt=0, lt=1, description="stage III: learning rate of Adam for architecture and steered parameters"
    )
    radius: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="stage III: largest total change of the generator weights, relative to their norm",
    )

    @model_validator(mode="before")
    @classmethod
    def _by_old_names(cls, values: Any) -> Any:
        """Take the names of earlier plans. `method` was that of the hypergradient, and is told by its value."""
        if not isinstance(values, Mapping):
            return values
        present = {first: name for name, first in FIRST_NAMES.items()}
        if "arm" not in values and values.get("method") not in get_args(Method):
            del present["method"]
        return {present.get(name, name): value for name, value in values.items()}


class Plan(_Checked):
    """Everything that training and prediction use for one dataset; editable as YAML."""

    rank: Literal[2, 3] = Field(description="spatial dimensions")
    channels: int = Field(ge=1, description="channels of an image")
    class_names: tuple[str, ...] = Field(
        min_length=2, max_length=MOST_CLASSES, description="class names, background first"
    )
    intensity: tuple[IntensityRule, ...] = Field(
        description="intensity normalisation: one rule per channel, or one for all. "
        "eight-bit, percentile, min-max, z-score, unchanged; or window, with low, high, mean and std"
    )
    spacing: tuple[Positive, Positive, Positive] | None = Field(
        None, validate_default=True, description="volumes: target voxel size, in mm if known"
    )
    spacing_unit: SpacingUnit = Field(
        "mm", description="volumes: unit of the voxel size; px if the training images do not state it"
    )
    patch_size: tuple[Annotated[int, Field(ge=1, le=LARGEST_SIDE)], ...] = Field(
        description="network input size; 2D images are fitted into it whole"
    )
    size_note: str = Field("", description="reason for this size, and what it costs")
    segmenter: str = Field(description="segmentation network")
    batch_size: int = Field(ge=1, le=MOST_IMAGES, description="images (patches of volumes) per update")
    updates: int = Field(ge=1, le=MOST_UPDATES, description="total number of optimiser updates")
    growing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="2D images: fraction of updates at reduced size. Sides are halved in two thirds of these updates, "
        "then three quarters",
    )
    learning_rate: float = Field(gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(1e-2, ge=0, description="weight decay of AdamW")
    warm_up: float = Field(0.05, ge=0, le=0.5, description="fraction of updates with rising learning rate")
    average_decay: float = Field(0.95, ge=0, lt=1, description="decay of the moving average of weights")
    clip_norm: float = Field(1.0, gt=0, description="gradient clipping norm")
    augmentation: Literal["strong", "none", "copy-paste", "cutmix"] = Field(
        description="augmentation of training images; copy-paste and cutmix include strong"
    )
    flip_axes: tuple[int, ...] = Field(description="axes to flip at random")
    mirroring: bool = Field(True, description="test-time mirroring along flip_axes; off: 4 times faster (volumes: 8)")
    foreground_share: float = Field(0.5, ge=0, le=1, description="volumes: fraction of patches centred on foreground")
    unlabelled_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="final model: unlabelled fraction of the real images of each batch; the models of all folds "
        "predict their masks",
    )
    generation: GenerationPlan | None = Field(None, description="synthetic pairs; none if left out")

    @field_validator("intensity", mode="before")
    @classmethod
    def _one_for_all(cls, intensity: Any, info: ValidationInfo) -> Any:
        """A rule alone stands for every channel: so wrote plans up to format 5, and so may a person."""
        is_alone = isinstance(intensity, Mapping | IntensityRule)
        return (intensity,) * info.data.get("channels", 1) if is_alone else intensity

    @field_validator("intensity")
    @classmethod
    def _one_rule_a_channel(
        cls, intensity: tuple[IntensityRule, ...], info: ValidationInfo
    ) -> tuple[IntensityRule, ...]:
        channels = info.data.get("channels", len(intensity))
        if len(intensity) != channels:
            raise ValueError(
                f"{len(intensity)} rule(s) for {channels} channel(s); give one per channel, or one for all"
            )
        return intensity

    @field_validator("spacing")
    @classmethod
    def _volumes_have_spacing(
        cls, spacing: tuple[float, float, float] | None, info: ValidationInfo
    ) -> tuple[float, float, float] | None:
        if info.data.get("rank") == 3 and spacing is None:
            raise ValueError("volumes need a voxel size, three numbers in mm")
        if info.data.get("rank") == 2 and spacing is not None:
            raise ValueError("2D images have none; leave it out")
        return spacing

    @field_validator("patch_size")
    @classmethod
    def _one_size_an_axis(cls, patch_size: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        rank = info.data.get("rank", len(patch_size))
        if len(patch_size) != rank:
            raise ValueError(f"{rank}D data need {rank} sizes, one per axis")
        return patch_size

    @field_validator("growing")
    @classmethod
    def _pictures_grow(cls, growing: float, info: ValidationInfo) -> float:
        if growing and info.data.get("rank") == 3:
            raise ValueError("volumes are cut into patches of one size; leave it at 0")
        return growing

    @field_validator("flip_axes")
    @classmethod
    def _axes_exist(cls, flip_axes: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        axes = range(info.data.get("rank", 3))
        if not set(flip_axes) <= set(axes) or len(set(flip_axes)) < len(flip_axes):
            raise ValueError(f"expected axes from {list(axes)}, each at most once")
        return flip_axes

    def size_at(self, update: int) -> tuple[int, ...]:
        """Size of the images of an update: `patch_size`, or less while they grow."""
        for until, share in GROWTH:
            if update < until * self.growing * self.updates:
                return self._size_of(share)
        return self.patch_size

    def pretraining_size_at(self, update: int) -> tuple[int, ...]:
        """Size of the images of one of the generator's updates before the segmenter's first; see `TURNS`."""
        if not self.growing:
            return self.patch_size
        turns = max(0, update - self.pretraining // 2)
        return self._size_of(TURNS[turns % len(TURNS)])

    def _size_of(self, share: float) -> tuple[int, ...]:
        """A share of `patch_size`, in multiples of `MULTIPLE` as far as sides are that long."""
        if share == 1:
            return self.patch_size
        multiples = [round(share * side / MULTIPLE) * MULTIPLE for side in self.patch_size]
        return tuple(max(min(MULTIPLE, side), less) for side, less in zip(self.patch_size, multiples, strict=True))

    @property
    def is_colour(self) -> bool:
        """Whether images are in red, green and blue, which are changed together and which a grey image may stand in
        for; three channels of other names, or of different rules, are different images.
        """
        names = {rule.channel.lower() for rule in self.intensity}
        rules = {rule.rule for rule in self.intensity}
        return self.rank == 2 and self.channels == 3 and names <= COLOURS and rules in ({"eight-bit"}, {"percentile"})

    @property
    def method(self) -> TrainingMethod:
        """The training method."""
        if self.generation is not None:
            return self.generation.method
        if self.augmentation == "none":
            return "plain"
        return "strong-augmentation" if self.augmentation == "strong" else self.augmentation

    @property
    def arm(self) -> TrainingMethod:
        """`method` by its former name, for one version."""
        return self.method

    @property
    def pretraining(self) -> int:
        """Updates of the generator before the segmenter's first; 0 where there is none."""
        return 0 if self.generation is None else self.generation.pretraining

    @property
    def generator(self) -> str | None:
        """Name of the generator; None where there is none."""
        return None if self.generation is None else self.generation.generator

    @property
    def synthetic(self) -> int:
        """How many images of an update are synthetic, at the beginning where that is steered."""
        return 0 if self.generation is None else round(self.generation.share * self.batch_size)

    @property
    def most_synthetic(self) -> int:
        """How many images of an update are synthetic at most: more than at the beginning only where that is steered."""
        if self.generation is None or self.generation.method != "joint":
            return self.synthetic
        return min(round(LARGEST_SHARE * self.batch_size), self.batch_size - 1)

    @property
    def has_room(self) -> bool:
        """Whether each batch has room for a real image, and for a synthetic one if there is a generator."""
        return self.synthetic < self.batch_size and (self.generation is None or self.synthetic > 0)

    @property
    def length_unit(self) -> Unit:
        """The unit of reported distances: pixels for 2D images, which seldom state their spacing."""
        return "px" if self.spacing is None else length_unit(self.spacing, self.spacing_unit)

    @property
    def classes(self) -> int:
        """Number of classes with background."""
        return len(self.class_names)
