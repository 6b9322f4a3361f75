"""Every generator by name, genseg's own and registered ones. Imports no torch, so that tables answer at once.

The contract, the same for all: `forward(mask, style)` takes soft masks `(batch, class, *spatial)` of any spatial size
and styles `(batch, field, STYLE_SIZE, *cells)` and returns images `(batch, channel, *spatial)`; class 0 is background.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from genseg.base.plugins import check_registration, find_registered, load_plugins, resolve
from genseg.errors import RunError

if TYPE_CHECKING:
    from torch import nn

    from genseg.generators.generator import ImageGenerator

STYLE_SIZE = 8
"""Numbers in a style code, as in BicycleGAN: enough for light, contrast and texture of a cell."""


@dataclass(frozen=True)
class GeneratorSpec:
    """What is known of a generator before it is built.

    widths: of genseg's own U-Net, spatial rank -> channels of the levels, finest first. Four levels for pictures, three
    for volumes: more would leave under 4 pixels at the bottom of a picture of 64 or a volume of 40. builder: of a
    registered one, instead; see `register_generator`. ranks: spatial ranks it can work in.
    """

    name: str
    summary: str
    widths: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    builder: str | Callable[[int, int, int, int], nn.Module] | None = None
    ranks: tuple[int, ...] = (2, 3)


_SPECS = (
    GeneratorSpec(
        "small",
        "2.1 M parameters (2.0 M in 3D); the default",
        {2: (24, 40, 56, 72), 3: (12, 24, 32)},
    ),
    GeneratorSpec(
        "medium",
        "8.2 M parameters (8.1 M in 3D)",
        {2: (40, 72, 112, 160), 3: (24, 48, 64)},
    ),
    GeneratorSpec(
        "large",
        "50 M parameters (51 M in 3D)",
        {2: (64, 160, 288, 448), 3: (48, 120, 184)},
    ),
)
GENERATORS: dict[str, GeneratorSpec] = {spec.name: spec for spec in _SPECS}
DEFAULT_GENERATOR = _SPECS[0].name
_OWN = frozenset(GENERATORS)


def generators() -> Mapping[str, GeneratorSpec]:
    """Every generator by name, genseg's own first."""
    load_plugins()
    return GENERATORS


def register_generator(
    name: str,
    builder: str | Callable[[int, int, int, int], nn.Module],
    *,
    summary: str,
    ranks: tuple[int, ...] = (2,),
) -> None:
    """Offer a generator of your own by name: to `genseg.Settings`, the command line and finished runs.

    builder: a function, or "module:function" (imported when it is first needed), called with
        `(rank, classes, channels, style_size)`. It returns an `nn.Module` whose `forward(mask, style)` takes soft masks
        `(batch, class, *spatial)`, class 0 being background, and the style at every pixel `(batch, style_size,
        *spatial)`, and returns an image `(batch, channel, *spatial)` without bounds; where pixels have bounds, genseg
        puts them there by tanh.
    summary: for the table of `genseg generators`. ranks: 2 for 2D images, 3 for volumes.

    With method `joint` the segmenter's error is differentiated through two steps: every layer needs a second
    derivative. A name that was registered before is replaced. Runs find their generator by this name again: who makes
    pairs from them needs the same registration, best made by an entry point of the group "genseg.plugins".

    Raises SettingsError for the name of one of genseg's own generators, or ranks other than 2 and 3.
    """
    check_registration("generator", name, ranks, _OWN)
    GENERATORS[name] = GeneratorSpec(name, summary, builder=builder, ranks=tuple(ranks))


def generator_spec(name: str, rank: int) -> GeneratorSpec:
    """The entry called `name`, checked to work in `rank` (2 or 3) dimensions.

    Raises SettingsError for an unknown name or a rank that it cannot work in.
    """
    return find_registered("generator", generators(), name, rank)


def build_generator(
    name: str, rank: int, classes: int, channels: int, bounded: bool | Sequence[bool]
) -> ImageGenerator:
    """Build the generator called `name` for `classes` classes with background and images of `channels` channels.

    bounded: for each channel, or for all, True for values in [-1, 1], False for z-scored ones. Random weights come from
    torch's global generator: seed it first. Raises SettingsError as `generator_spec`.
    """
    from genseg.generators.generator import RegisteredGenerator
    from genseg.generators.unet import MaskToImage

    spec = generator_spec(name, rank)
    if spec.builder is None:
        return MaskToImage(rank, classes, channels, spec.widths[rank], style_size=STYLE_SIZE, bounded=bounded)
    network = resolve(spec.builder)(rank, classes, channels, STYLE_SIZE)
    return RegisteredGenerator(name, network, rank, classes, channels, bounded)


def restore_generator(description: Mapping[str, Any]) -> ImageGenerator:
    """A generator of random weights, built as the one whose `describe` gave this.

    Raises RunError where it was registered and is unknown here, or cannot be built.
    """
    from genseg.generators.unet import MaskToImage

    try:
        settings = dict(description)
        kernels = settings.pop("kernels")
        name = settings.pop("registered", None)
        if name is not None and name not in generators():
            raise RunError(
                f"generator {name!r}: registered when this run was trained, unknown here; install the package that "
                f"registers it, or call genseg.register_generator first"
            )
        generator = MaskToImage(**settings) if name is None else build_generator(name, **settings)
        for cell, kept in zip(generator.cells(), kernels, strict=True):
            cell.keep(kept)
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
        raise RunError(f"generator: cannot be built from its description {dict(description)}: {error}") from error
    return generator
