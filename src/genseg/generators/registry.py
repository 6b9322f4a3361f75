"""Every generator that genseg offers, by name. Imports no torch, so that `--help` and tables answer at once.

The contract, the same for all: `forward(mask, style)` takes soft masks `(batch, class, *spatial)` of any spatial size
and styles `(batch, field, STYLE_SIZE, *cells)` and returns images `(batch, channel, *spatial)`; class 0 is background.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from genseg.errors import SettingsError, unknown

if TYPE_CHECKING:
    from genseg.generators.unet import MaskToImage

STYLE_SIZE = 8
"""Numbers in a style code, as in BicycleGAN: enough for light, contrast and texture of a cell."""


@dataclass(frozen=True)
class GeneratorSpec:
    """What is known of a generator before it is built.

    widths: spatial rank -> channels of the levels, finest first. Four levels for pictures, three for volumes: more
    would leave under 4 pixels at the bottom of a picture of 64 or a volume of 40.
    """

    name: str
    summary: str
    widths: Mapping[int, tuple[int, ...]]


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


def generator_spec(name: str) -> GeneratorSpec:
    """The entry called `name`; raises SettingsError, which lists the choices, for an unknown one."""
    if name not in GENERATORS:
        raise SettingsError(unknown("generator", name, GENERATORS))
    return GENERATORS[name]


def build_generator(name: str, rank: int, classes: int, channels: int, bounded: bool | Sequence[bool]) -> MaskToImage:
    """Build the generator called `name` for `classes` classes with background and images of `channels` channels.

    bounded: for each channel, or for all, True for values in [-1, 1], False for z-scored ones. Random weights come from
    torch's global generator: seed it first. Raises SettingsError as `generator_spec`.
    """
    from genseg.generators.unet import MaskToImage

    widths = generator_spec(name).widths[rank]
    return MaskToImage(rank, classes, channels, widths, style_size=STYLE_SIZE, bounded=bounded)
