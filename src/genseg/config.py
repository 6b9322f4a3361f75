"""What a user can set (`Settings`) and what is made of it for one data set (`Plan`).

Settings are checked once, here; `None` means "decide from the data and the machine". A plan is complete: it holds every
value that training and prediction use, can be written as YAML, edited, and given back.
"""

from __future__ import annotations

import difflib
import math
import reprlib
from collections.abc import Callable, Mapping
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
)

from genseg.base.durations import Duration
from genseg.base.files import atomic_write_bytes
from genseg.base.lengths import SpacingUnit, Unit, length_unit
from genseg.choices import AdversarialKind, Instances, MaskRepair, Method, NanTo, Pages, Tilt, Unlabelled
from genseg.errors import SettingsError

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

LARGEST_SHARE = 0.8
"""Of synthetic pairs among an update's images, wherever feedback steers it: a few always stay real."""


class _Checked(BaseModel):
    """Frozen record that comes from and goes to YAML and knows no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def from_mapping(
        cls, values: dict[str, Any], origin: str = "settings", *, spelled: Callable[[str], str] = str
    ) -> Self:
        """Build from keys and values. Raises SettingsError naming every bad key, with the nearest valid one.

        spelled: how a key is written where the values come from.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [_explain(problem, cls, spelled) for problem in error.errors()]
            raise SettingsError(f"{origin}: " + "; ".join(dict.fromkeys(lines))) from None

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
        return cls.from_mapping(values, str(path))

    def to_yaml(self, path: Path) -> None:
        """Write as YAML, each key preceded by what it means."""
        lines = []
        for name, field in type(self).model_fields.items():
            value = yaml.safe_dump({name: self.model_dump(mode="json")[name]}, sort_keys=False, allow_unicode=True)
            lines.append(f"# {field.description}\n{value}")
        atomic_write_bytes(Path(path), "\n".join(lines).encode())


def _explain(problem: Any, record: type[BaseModel], spelled: Callable[[str], str]) -> str:
    """One of pydantic's problems as a line that names the key, what was found, and what would do."""
    path, known = _place(problem["loc"], record)
    key = spelled(".".join(path))
    if problem["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(path[-1], known, n=1)
        return f"{key}: there is no such key" + (f"; did you mean {nearest[0]!r}?" if nearest else "")
    if problem["type"] == "missing":
        return f"{key}: is missing"
    return f"{key}: {problem['msg'].removeprefix('Value error, ')} (found {reprlib.repr(problem['input'])})"


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


Arm = Literal["plain", "strong-augmentation", "copy-paste", "cutmix", "separate", "joint-cut", "joint"]
"""Ways of training that can be compared: all make the same number of updates on as many images each."""


class Settings(_Checked):
    """What a user can ask of `genseg train`; every field has a default that works."""

    segmenter: str | None = Field(None, description="segmenter by name (`genseg segmenters` lists them)")
    size: int | None = Field(
        None, ge=32, le=2048, description="pictures: train on as many pixels as a square of this side has; aspect kept"
    )
    time: Duration | None = Field(
        None,
        description="how long training may take, as in 20m or 2h; image size and updates follow from it, and what was "
        "given up is said. 30m of an ordinary machine by default. The comparison after it takes several times as long",
    )
    updates: int | None = Field(None, ge=1, le=MOST_UPDATES, description="optimiser updates in all")
    pretraining: int | None = Field(
        None, ge=1, le=MOST_UPDATES, description="updates of the generator before the segmenter's first"
    )
    batch_size: int | None = Field(None, ge=1, le=MOST_IMAGES, description="images (patches of volumes) per update")
    learning_rate: float | None = Field(None, gt=0, lt=1, description="AdamW's peak learning rate")
    arm: Arm | None = Field(
        None,
        description="what is trained on: plain and strong-augmentation, real pairs without and with random changes; "
        "copy-paste and cutmix, these with objects or boxes of one image put into another; separate, joint-cut and "
        "joint, generated pairs too, by a generator that is frozen, goes on, or is steered by the error on held-out "
        "cases; joint by default, strong-augmentation for volumes without a GPU, batches below 4, one patient alone, "
        "or a segmenter whose encoder is frozen",
    )
    flips: Literal["auto", "all", "none"] | tuple[Annotated[int, Field(ge=0, le=2)], ...] = Field(
        "auto",
        description="spatial axes that may be flipped (0 = rows or i); auto: all, none where a class name has a side",
    )
    labels: int | None = Field(None, ge=2, le=MOST_CASES, description="use only the first so many labelled cases")
    training_cases: int | None = Field(
        None,
        ge=1,
        le=MOST_CASES,
        description="train on only so many of the cases that are not held out; fewer are among more",
    )
    folds: int | None = Field(
        None, ge=2, le=MOST_CASES, description="parts to cut the labelled cases into; 5, or one a patient below 10"
    )
    fold: int = Field(0, ge=0, le=MOST_CASES, description="the part that is held out for validation")
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="seed of every random choice")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="arithmetic of convolutions; auto: bfloat16 where the processor has it; volumes on a CPU: float32 "
        "always",
    )
    mask_repair: MaskRepair = Field(
        "stop", description="masks with stray values: stop, or take the nearest known value"
    )
    instances: Instances = Field(
        "stop", description="masks whose values number objects: stop, or merge all values but 0 into one class"
    )
    pages: Pages = Field("stop", description="multi-page TIFF: stop, or read pages as a volume")
    nan_to: NanTo = Field("stop", description="NaN or Inf in images: stop, or the smallest finite value")
    tilt: Tilt = Field(
        "stop", description="DICOM stacks that lean, as with a tilted gantry: stop, or straighten them for the network"
    )
    unlabelled: Unlabelled = Field(
        "stop", description="images without a mask: stop, or leave them out; `genseg check` lists them"
    )


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

    channel: str = Field("", description="name of the channel, for people; empty where nothing names it")
    rule: Rule = Field(description="which rule")
    low: float = Field(-1.0, description="window: values below are set to it")
    high: float = Field(1.0, validate_default=True, description="window: values above are set to it")
    mean: float = Field(0.0, description="window: subtracted")
    std: float = Field(1.0, gt=0, description="window: divided by")

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


class GenerationPlan(_Checked):
    """How synthetic pairs are made, and how the error on held-out cases steers that."""

    arm: Literal["separate", "joint-cut", "joint"] = Field(
        "joint", description="generator frozen once pretrained; trained on beside the segmenter; steered by it as well"
    )
    generator: str = Field("small", description="generator by name")
    adversarial: AdversarialKind = Field("least-squares", description="adversarial loss")
    pretraining: int = Field(
        ge=1, le=MOST_UPDATES, description="stage I: updates of the generator before the segmenter's first"
    )
    batch_size: int = Field(4, ge=1, le=MOST_IMAGES, description="stage I: real pairs per update")
    learning_rate: float = Field(1e-3, gt=0, lt=1, description="stage I: AdamW's rate")
    clip_norm: float = Field(10.0, gt=0, description="stage I: largest norm of the gradient")
    share: float = Field(
        0.5,
        gt=0,
        lt=LARGEST_SHARE,
        description="share of synthetic pairs among an update's images; of a steered generator, at the beginning",
    )
    every: int = Field(
        8, ge=1, le=MOST_UPDATES, description="updates of the segmenter from one stage I and III to the next"
    )
    waiting: float = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of the training patients that are held out at first; they join the others one by one",
    )
    refresh: int = Field(
        25, ge=1, le=MOST_UPDATES, description="updates until the styles of all real images are taken anew"
    )
    search: float = Field(
        0.7,
        gt=0,
        le=1,
        description="share of the updates in which cases are held out and steer; then all of them train, and each cell "
        "of a steered generator keeps its strongest candidate alone",
    )
    method: Method = Field("exact", description="how the mixed products of the hypergradient are computed")
    knob_rate: float = Field(0.02, gt=0, lt=1, description="stage III: Adam's rate for architecture and knobs")
    radius: float = Field(
        0.01,
        ge=0,
        lt=1,
        description="stage III: how far the generator's weights may be moved in all, as a share of their length; in "
        "short trainings less, for every step is bounded",
    )


class Plan(_Checked):
    """Everything that training and prediction use for one data set; editable as YAML."""

    rank: Literal[2, 3] = Field(description="spatial dimensions")
    channels: int = Field(ge=1, description="channels of an image")
    class_names: tuple[str, ...] = Field(
        min_length=2, max_length=MOST_CLASSES, description="class names; the first is background"
    )
    intensity: tuple[IntensityRule, ...] = Field(
        description="how pixel values become network input: one rule per channel, or one for all. "
        "eight-bit, percentile, min-max, z-score, unchanged; or window, with low, high, mean and std"
    )
    spacing: tuple[Positive, Positive, Positive] | None = Field(
        None, validate_default=True, description="volumes: voxel size to work at, in mm unless it is unknown"
    )
    spacing_unit: SpacingUnit = Field(
        "mm", description="volumes: unit of the voxel size; px where the training images do not state it"
    )
    patch_size: tuple[Annotated[int, Field(ge=1, le=LARGEST_SIDE)], ...] = Field(
        description="size that a network input has; pictures are fitted into it whole"
    )
    size_note: str = Field("", description="why it is that size, and what was given up; for people")
    segmenter: str = Field(description="segmenter by name")
    batch_size: int = Field(ge=1, le=MOST_IMAGES, description="images (patches of volumes) per update")
    updates: int = Field(ge=1, le=MOST_UPDATES, description="optimiser updates in all")
    growing: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="pictures: share of the updates in which images are smaller than patch_size: half as long in two "
        "thirds of these updates, three quarters in the others; 0: none",
    )
    learning_rate: float = Field(gt=0, description="AdamW's peak learning rate")
    weight_decay: float = Field(1e-2, ge=0, description="AdamW's weight decay")
    warm_up: float = Field(0.05, ge=0, le=0.5, description="share of the updates in which the rate rises")
    average_decay: float = Field(0.95, ge=0, lt=1, description="decay of the moving average of weights")
    clip_norm: float = Field(1.0, gt=0, description="largest norm of the gradient")
    augmentation: Literal["strong", "none", "copy-paste", "cutmix"] = Field(
        description="random changes of the training images; the last two mix strongly changed images as well"
    )
    flip_axes: tuple[int, ...] = Field(description="spatial axes that may be flipped")
    mirroring: bool = Field(
        True, description="predict copies mirrored along flip_axes too, and average; off: 4 times as fast (volumes: 8)"
    )
    foreground_share: float = Field(0.5, ge=0, le=1, description="volumes: share of patches centred on foreground")
    generation: GenerationPlan | None = Field(None, description="synthetic pairs; none where left out")

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
            raise ValueError("pictures have none; leave it out")
        return spacing

    @field_validator("patch_size")
    @classmethod
    def _one_size_an_axis(cls, patch_size: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        rank = info.data.get("rank", len(patch_size))
        if len(patch_size) != rank:
            raise ValueError(f"{rank}D data need {rank} sizes, one an axis")
        return patch_size

    @field_validator("growing")
    @classmethod
    def _pictures_grow(cls, growing: float, info: ValidationInfo) -> float:
        if growing and info.data.get("rank") == 3:
            raise ValueError("volumes are cut into patches of one size; leave it out")
        return growing

    @field_validator("flip_axes")
    @classmethod
    def _axes_exist(cls, flip_axes: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        axes = range(info.data.get("rank", 3))
        if not set(flip_axes) <= set(axes) or len(set(flip_axes)) < len(flip_axes):
            raise ValueError(f"takes axes of {list(axes)}, each at most once")
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
    def arm(self) -> Arm:
        """The way of training that this plan is for."""
        if self.generation is not None:
            return self.generation.arm
        if self.augmentation == "none":
            return "plain"
        return "strong-augmentation" if self.augmentation == "strong" else self.augmentation

    @property
    def pretraining(self) -> int:
        """Updates of the generator before the segmenter's first; 0 where there is none."""
        return 0 if self.generation is None else self.generation.pretraining

    @property
    def synthetic(self) -> int:
        """How many images of an update are synthetic, at the beginning where that is steered."""
        return 0 if self.generation is None else round(self.generation.share * self.batch_size)

    @property
    def most_synthetic(self) -> int:
        """How many images of an update are synthetic at most: more than at the beginning only where that is steered."""
        if self.generation is None or self.generation.arm != "joint":
            return self.synthetic
        return min(round(LARGEST_SHARE * self.batch_size), self.batch_size - 1)

    @property
    def has_room(self) -> bool:
        """Whether an update has a real image, and a synthetic one where there is a generator."""
        return self.synthetic < self.batch_size and (self.generation is None or self.synthetic > 0)

    @property
    def length_unit(self) -> Unit:
        """The unit in which distances are reported: pixels for pictures, which seldom know their spacing."""
        return "px" if self.spacing is None else length_unit(self.spacing, self.spacing_unit)

    @property
    def classes(self) -> int:
        """Number of classes with background."""
        return len(self.class_names)
