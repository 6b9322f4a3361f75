"""Phantoms: synthetic scans with known masks, for demonstrations and tests.

Nothing here is a patient. Each phantom is drawn from its own random stream, so that case 7 of seed 0 is the same
picture however many cases are asked for. Texture, uneven light and distractors (structures that look like the
target in colour or in shape, never in both) keep a threshold from solving them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from genseg.base.files import FULL_DISK, atomic_folder
from genseg.errors import SettingsError, unknown

PhantomKind = Literal["rgb", "gray", "volume"]
Floats = NDArray[np.float64]
Mask = NDArray[np.uint8]

VOLUME_SPACING_MM = (1.0, 1.0, 1.2)
MINIMUM_CASES = 3
MINIMUM_SIZE = 16
MAXIMUM_SIZE = {"rgb": 4096, "gray": 4096, "volume": 512}


@dataclass(frozen=True)
class _Recipe:
    """How one kind of phantom is drawn and described."""

    draw: Callable[[np.random.Generator, int], tuple[NDArray[np.generic], Mask]]
    default_size: int
    class_names: tuple[str, ...]
    modality: str


def make_phantom(
    kind: PhantomKind, index: int, seed: int = 0, size: int | None = None
) -> tuple[NDArray[np.generic], Mask]:
    """Draw one phantom.

    Returns the image and its mask of class indices. "rgb": `(size, size, 3)` uint8, a lesion on skin. "gray":
    `(size, size)` uint8, an organ with a vessel under speckle. "volume": `(size, size, size)` int16, a curved
    structure in two parts, head and tail. Masks are uint8 `(size, size)` or `(size, size, size)`.

    Raises SettingsError for an unknown kind, a size below 16 or too large to be drawn, or a seed below 0.
    """
    recipe = _recipe(kind)
    size = recipe.default_size if size is None else size
    if not MINIMUM_SIZE <= size <= MAXIMUM_SIZE[kind]:
        raise SettingsError(f"size: {size} found; expected {MINIMUM_SIZE} to {MAXIMUM_SIZE[kind]} pixels for {kind}")
    if seed < 0:
        raise SettingsError(f"seed: {seed} found; expected 0 or more")
    return recipe.draw(np.random.default_rng([seed, index]), size)


def write_phantoms(folder: Path, kind: PhantomKind, cases: int, seed: int = 0, size: int | None = None) -> Path:
    """Write a phantom dataset: `images/`, `masks/` (`labels/` for volumes) and `dataset.json` with fixed splits.

    About 3 in 10 cases are test, 2 in 10 val and the rest train, at least one each. `size` is the edge in pixels
    (voxels); None takes 128 for pictures and 36 for volumes. The folder appears whole or not at all. Returns it.

    Raises SettingsError for fewer than 3 cases, as `make_phantom`, or for a folder that is not empty or cannot be
    written; OSError where the disk is full.
    """
    recipe = _recipe(kind)
    if cases < MINIMUM_CASES:
        raise SettingsError(f"cases: {cases} found, at least {MINIMUM_CASES} expected (train, val and test)")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise SettingsError(f"{folder}: already holds something; give a new or empty folder for the phantoms")
    names = [f"phantom_{index:03d}" for index in range(cases)]
    try:
        with atomic_folder(folder) as partial:
            for index, name in enumerate(names):
                _write_case(partial, name, *make_phantom(kind, index, seed, size))
            description = json.dumps(_describe(kind, recipe, names), indent=1)
            (partial / "dataset.json").write_text(description + "\n", encoding="utf-8")
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise SettingsError(f"{folder}: the phantoms cannot be written there ({error.strerror})") from error
    return folder


def _recipe(kind: str) -> _Recipe:
    if kind not in _RECIPES:
        raise SettingsError(f"--kind: {unknown('kind of phantom', kind, _RECIPES)}")
    return _RECIPES[kind]


def _describe(kind: PhantomKind, recipe: _Recipe, names: list[str]) -> dict[str, Any]:
    return {
        "name": f"genseg phantom ({kind})",
        "task": "synthetic phantom, not a patient: for demonstrations and tests only",
        "modality": recipe.modality,
        "licence": "Apache-2.0",
        "class_names": list(recipe.class_names),
        "splits": _splits(names),
    }


def _splits(names: list[str]) -> dict[str, list[str]]:
    test = max(1, round(0.3 * len(names)))
    validation = max(1, round(0.2 * len(names)))
    train = len(names) - test - validation
    return {"train": names[:train], "val": names[train : train + validation], "test": names[train + validation :]}


def _write_case(folder: Path, name: str, image: NDArray[np.generic], mask: Mask) -> None:
    volume = mask.ndim == 3
    images, masks = folder / "images", folder / ("labels" if volume else "masks")
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(exist_ok=True)
    for pixels, place in ((image, images), (mask, masks)):
        if volume:
            affine = np.diag([*VOLUME_SPACING_MM, 1.0])
            nibabel.save(nibabel.Nifti1Image(pixels, affine), place / f"{name}.nii.gz")
        else:
            Image.fromarray(pixels).save(place / f"{name}.png")


def _draw_skin_lesion(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Mask]:
    """Skin with a lesion; distractors are hairs (dark, thin), small moles (dark, tiny) and a flush (red, no edge)."""
    shape = (size, size)
    distance = _blob(rng, shape, radius=rng.uniform(0.14, 0.3), roughness=0.25)
    skin = np.array([205, 160, 135]) + rng.normal(0, 15, 3)
    image = skin + 14 * _texture(rng, shape, 6)[..., None] + 7 * _texture(rng, shape, 1.5)[..., None]
    flush = _soft(_blob(rng, shape, radius=rng.uniform(0.15, 0.3), roughness=0.1), 12)
    image = image + rng.uniform(0.3, 0.8) * flush[..., None] * np.array([15, -30, -25])
    lesion = _soft(distance, rng.uniform(1, 3)) * (1 + 0.25 * _texture(rng, shape, 4))
    image = image + rng.uniform(0.45, 1.0) * lesion[..., None] * np.array([-75, -80, -65])
    for _ in range(rng.integers(1, 4)):
        mole = _soft(_blob(rng, shape, radius=rng.uniform(0.015, 0.035), roughness=0.1), 1)
        image = image - 70 * mole[..., None]
    image = image - 90 * _hairs(rng, shape)[..., None]
    image = image * _illumination(rng, shape, 0.3)[..., None] + rng.normal(0, 4, (*shape, 3))
    return _to_uint8(image), (distance < 0).astype(np.uint8)


def _draw_ultrasound(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], Mask]:
    """An organ (1) with a vessel in it (2) under speckle; distractors are a dark pocket outside it and a shadow."""
    shape = (size, size)
    organ = _blob(rng, shape, radius=rng.uniform(0.24, 0.34), roughness=0.12)
    centre = np.array(np.unravel_index(organ.argmin(), shape)) / size
    centre = centre + rng.uniform(-0.05, 0.05, 2)
    vessel = _blob(rng, shape, radius=rng.uniform(0.06, 0.11), roughness=0.15, centre=centre)
    pocket = _blob(rng, shape, radius=rng.uniform(0.05, 0.1), roughness=0.15)
    mask = np.where(organ < 0, np.where(vessel < 0, 2, 1), 0).astype(np.uint8)
    echo = 95 + 25 * _texture(rng, shape, 8)
    echo = np.where(mask == 1, echo * rng.uniform(0.5, 0.7), echo)
    echo = np.where((mask == 2) | ((pocket < 0) & (mask == 0)), 15.0, echo)
    rim = np.exp(-np.square(organ / 1.5)) * rng.uniform(20, 50)
    depth = np.linspace(1.15, rng.uniform(0.6, 0.9), size)[:, None]
    speckle = ndimage.gaussian_filter(rng.rayleigh(1.0, shape), (0.6, 1.0))
    image = (echo + rim) * depth * _shadow(rng, shape) * speckle / speckle.mean()
    return _to_uint8(image), mask


def _draw_volume(rng: np.random.Generator, size: int) -> tuple[NDArray[np.int16], Mask]:
    """A bent, tapering tube in two parts, head (1) and tail (2), with blobs of its own brightness away from it."""
    shape = (size, size, size)
    distance, along = _bent_tube(rng, shape)
    border = rng.uniform(0.38, 0.52)
    mask = np.where(distance < 0, np.where(along < border, 1, 2), 0).astype(np.uint8)
    tissue = 320 + 45 * _texture(rng, shape, 3) + 25 * _texture(rng, shape, 1)
    signal = tissue + rng.uniform(130, 200) * _soft(distance, 0.7)
    for _ in range(rng.integers(2, 5)):
        blob = _blob(rng, shape, radius=rng.uniform(0.06, 0.1), roughness=0.0)
        signal = signal + rng.uniform(120, 200) * _soft(blob, 0.7) * (distance > 2)
    signal = signal * _illumination(rng, shape, 0.2)
    rician = np.hypot(signal + rng.normal(0, 22, shape), rng.normal(0, 22, shape))
    return rician.astype(np.int16), mask


def _grid(shape: tuple[int, ...]) -> Floats:
    """Pixel centres `(axis, *shape)`, in 0..1 along each axis."""
    return np.asarray((np.indices(shape) + 0.5) / np.array(shape).reshape(-1, *[1] * len(shape)))


def _texture(rng: np.random.Generator, shape: tuple[int, ...], sigma: float) -> Floats:
    """Smooth random field with mean 0 and standard deviation 1; `sigma` is its grain in pixels."""
    field = ndimage.gaussian_filter(rng.normal(size=shape), sigma, mode="wrap")
    return np.asarray((field - field.mean()) / field.std())


def _blob(
    rng: np.random.Generator, shape: tuple[int, ...], radius: float, roughness: float, centre: Floats | None = None
) -> Floats:
    """Signed distance in pixels (negative inside) to an irregular ellipsoid.

    `radius` is a share of the picture's edge, and so is `centre` along each axis (drawn where the whole shape fits
    when None); `roughness` is the strength of a smooth random field added to the outline.
    """
    axes = rng.uniform(0.75, 1.3, len(shape))
    reach = min(0.45, 1.3 * radius + 0.04)
    middle = rng.uniform(reach, 1 - reach, len(shape)) if centre is None else centre
    offset = _grid(shape) - middle.reshape(-1, *[1] * len(shape))
    ratio = np.linalg.norm(offset / (axes * radius).reshape(-1, *[1] * len(shape)), axis=0)
    outline = ratio + roughness * _texture(rng, shape, radius * shape[0] / 2)
    return _signed_distance(_largest_part(outline < max(1.0, outline.min() + 1e-9)))


def _bent_tube(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Signed distance in voxels (negative inside) to a bent tube, and the position 0..1 along it of every voxel."""
    steps = np.linspace(0, 1, 60)
    bend, twist = rng.uniform(0.08, 0.2) * rng.choice([-1, 1]), rng.uniform(-0.08, 0.08)
    line = np.stack(
        [
            0.5 + bend * (np.square(2 * steps - 1) - 0.4) + rng.uniform(-0.06, 0.06),
            0.17 + 0.66 * steps + rng.uniform(-0.04, 0.04),
            0.5 + twist * np.sin(np.pi * steps) + rng.uniform(-0.08, 0.08),
        ]
    )
    radius = np.interp(steps, [0, 0.2, 1], [0.09, rng.uniform(0.12, 0.15), rng.uniform(0.05, 0.08)])
    gap, nearest = cKDTree(line.T).query(np.moveaxis(_grid(shape), 0, -1))
    inside = gap + 0.012 * _texture(rng, shape, 2) < radius[nearest]
    return _signed_distance(_largest_part(inside)), steps[nearest]


def _largest_part(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    parts, _ = ndimage.label(inside)
    return np.asarray(parts == np.bincount(parts.ravel())[1:].argmax() + 1)


def _signed_distance(inside: NDArray[np.bool_]) -> Floats:
    outside = ndimage.distance_transform_edt(~inside)
    return np.asarray(outside - ndimage.distance_transform_edt(inside))


def _soft(distance: Floats, width: float) -> Floats:
    """1 inside, 0 outside, with an edge `width` pixels wide."""
    return np.asarray(0.5 - 0.5 * np.tanh(distance / width))


def _illumination(rng: np.random.Generator, shape: tuple[int, ...], strength: float) -> Floats:
    """Light that falls off along a random direction, around 1."""
    direction = rng.normal(size=len(shape))
    ramp = np.tensordot(direction / np.linalg.norm(direction), _grid(shape) - 0.5, axes=1)
    return np.asarray(1 + strength * rng.uniform(0.5, 1.5) * ramp)


def _hairs(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Thin dark curves right across the picture, 0..1."""
    row, column = _grid(shape)
    hairs = np.zeros(shape)
    for _ in range(rng.integers(0, 6)):
        angle, offset, bend = rng.uniform(0, np.pi), rng.uniform(-0.4, 0.4), rng.uniform(-0.6, 0.6)
        across = np.cos(angle) * (row - 0.5) + np.sin(angle) * (column - 0.5)
        along = np.cos(angle) * (column - 0.5) - np.sin(angle) * (row - 0.5)
        gap = (across - offset - bend * np.square(along)) * shape[0]
        hairs = np.maximum(hairs, np.exp(-np.square(gap / 0.8)))
    return hairs


def _shadow(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """An acoustic shadow: a darker band of columns below a random depth, around 1."""
    row, column = _grid(shape)
    band = np.exp(-np.square((column - rng.uniform(0.1, 0.9)) / rng.uniform(0.03, 0.06)))
    return np.asarray(1 - rng.uniform(0.3, 0.6) * band * (row > rng.uniform(0.1, 0.6)))


def _to_uint8(image: Floats) -> NDArray[np.uint8]:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


_RECIPES: dict[str, _Recipe] = {
    "rgb": _Recipe(_draw_skin_lesion, 128, ("background", "lesion"), "RGB image (phantom)"),
    "gray": _Recipe(_draw_ultrasound, 128, ("background", "organ", "vessel"), "gray ultrasound-like image (phantom)"),
    "volume": _Recipe(_draw_volume, 36, ("background", "head", "tail"), "MR-like volume (phantom)"),
}
