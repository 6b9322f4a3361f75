"""Near-duplicate images and the groups that they make."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from genseg.examine.duplicates import fingerprint, group_cases, near_duplicates, thumbnail
from genseg.read.case import CaseFiles


def texture(seed: int, shape: tuple[int, ...] = (1, 80, 96)) -> NDArray[np.float64]:
    """A random image in 0..1, smooth over a few pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (0, *(1.5,) * (len(shape) - 1)))
    return (smooth - smooth.min()) / np.ptp(smooth)


def pairs_of(images: Mapping[str, NDArray[Any]]) -> list[tuple[str, str]]:
    return near_duplicates({name: thumbnail(image) for name, image in images.items()})


def retina(seed: int, contrast: float = 0.2, size: int = 128) -> NDArray[np.uint8]:
    """A photograph of a retina as a camera with a round frame takes it: rim darker than centre, disc, macula, vessels.

    contrast: of the vessels, which are another eye's own; the rest is alike in all.
    """
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    radius = np.hypot(x, y)
    colours = np.stack([0.75 - 0.35 * radius, 0.42 - 0.3 * radius, 0.2 - 0.12 * radius])
    vessels = Image.new("L", (size, size))
    draw, disc = ImageDraw.Draw(vessels), size * 0.72
    for _ in range(14):
        steps = random.normal(random.uniform(-1, 1, 2) * 0.03, 0.012, (30, 2)).cumsum(axis=0) * size
        draw.line([(disc + dx, size / 2 + dy) for dx, dy in steps.tolist()], fill=255, width=2)
    alike = 1 + 0.8 * np.exp(-((x - 0.22) ** 2 + y**2) / 0.004) - 0.4 * np.exp(-((x + 0.02) ** 2 + y**2) / 0.01)
    own = contrast * ndimage.gaussian_filter(np.asarray(vessels) / 255, 0.6)
    seen = colours * alike * (1 - own) + 0.004 * random.normal(size=colours.shape)
    return (np.clip(seen * (radius < 0.47), 0, 1) * 255).astype(np.uint8)


def jpeg(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    content = BytesIO()
    Image.fromarray(np.moveaxis(image, 0, -1)).save(content, "JPEG", quality=quality)
    return np.moveaxis(np.asarray(Image.open(content)), -1, 0)


def case(name: str, patient: str) -> CaseFiles:
    return CaseFiles(name, (Path(name),), None, patient)


@pytest.mark.parametrize("shape", [(1, 80, 96), (3, 80, 96), (1, 24, 30, 28)])
def test_different_images_are_kept_apart(shape: tuple[int, ...]) -> None:
    assert pairs_of({str(seed): texture(seed, shape) for seed in range(12)}) == []


@pytest.mark.fault(15)
@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: (image * 255).astype(np.uint8),
        lambda image: (image * 4000 - 1000).astype(np.int16),
        lambda image: image**0.8,
        lambda image: image + np.random.default_rng(0).normal(scale=0.02, size=image.shape),
        lambda image: np.repeat(image, 3, axis=0),
        lambda image: ndimage.zoom(image, (1, *(0.5,) * (image.ndim - 1)), order=1),
    ],
)
@pytest.mark.parametrize("shape", [(1, 80, 96), (1, 40, 44, 36)])
def test_copies_are_found(change: object, shape: tuple[int, ...]) -> None:
    image = texture(1, shape)
    images = {"b": change(image), "other": texture(2, shape), "a": image}
    assert pairs_of(images) == [("a", "b")]


def test_one_slice_volumes_are_pictures() -> None:
    image = texture(1)
    assert pairs_of({"picture": image, "volume": image[..., None]}) == [("picture", "volume")]


def test_images_without_contrast_match_none() -> None:
    black, white = np.zeros((1, 32, 32)), np.full((1, 32, 32), 255)
    assert pairs_of({"a": black, "b": black, "c": white}) == []


@pytest.mark.fault(56)
def test_a_channel_of_small_values_counts_as_much_as_one_of_large() -> None:
    atlas, values = 1000 * texture(0), {name: texture(seed) for name, seed in (("a", 1), ("b", 2), ("c", 1))}
    images = {name: np.concatenate([atlas, own / 1000]).astype(np.float32) for name, own in values.items()}
    assert pairs_of(images) == [("a", "c")]


def test_a_few_bright_pixels_do_not_hide_the_image() -> None:
    image, marked = texture(1), texture(1)
    marked[0, :3, :3] = 200.0
    assert pairs_of({"a": image, "b": marked}) == [("a", "b")]


def test_pictures_and_volumes_have_hashes_of_their_own_length() -> None:
    assert fingerprint(thumbnail(texture(0))).shape == (256,)
    assert fingerprint(thumbnail(texture(0, (1, 20, 20, 20)))).shape == (768,)
    assert pairs_of({"a": texture(0), "b": texture(0, (1, 20, 20, 20))}) == []
    assert pairs_of({}) == []


@pytest.mark.fault(80)
@pytest.mark.parametrize(("contrast", "count"), [(0.05, 30), (0.1, 30), (0.2, 30), (0.2, 3)])
def test_different_retinas_in_the_same_frame_are_kept_apart(contrast: float, count: int) -> None:
    assert pairs_of({f"{seed}": retina(seed, contrast) for seed in range(count)}) == []


@pytest.mark.fault(80)
@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: jpeg(image, 50),
        lambda image: (255 * (image / 255) ** 0.8).astype(np.uint8),
        lambda image: np.clip(image * 1.2, 0, 255).astype(np.uint8),
        lambda image: image[:, ::2, ::2],
    ],
)
@pytest.mark.parametrize("count", [2, 20])
def test_copies_of_a_retina_are_found(change: Callable[[NDArray[Any]], NDArray[Any]], count: int) -> None:
    images = {f"{seed:02}": retina(seed) for seed in range(count)}
    assert pairs_of({**images, "copy": change(images["01"])}) == [("01", "copy")]


@pytest.mark.fault(80)
def test_a_set_of_copies_is_all_alike() -> None:
    copies = {f"{quality}": jpeg(retina(1), quality) for quality in range(60, 96, 3)}
    assert len(pairs_of(copies)) == len(copies) * (len(copies) - 1) / 2


@pytest.mark.fault(80)
def test_a_burned_in_overlay_and_the_edge_of_an_ultrasound_fan_do_not_make_copies() -> None:
    rows, columns = np.mgrid[:128, :160]
    fan = (np.hypot(rows + 20, columns - 80) < 130) & (np.abs(columns - 80) < 0.6 * (rows + 20))
    images = {}
    for seed in range(20):
        speckle = np.random.default_rng(seed).rayleigh(30, (128, 160)) * fan
        speckle[4:12, 4:60:3] = 255
        speckle[100:124, 150:154] = np.linspace(0, 255, 24)[:, None]
        images[f"{seed}"] = speckle.clip(0, 255).astype(np.uint8)[None]
    assert pairs_of(images) == []


@pytest.mark.fault(98)
def test_large_sets_are_compared_in_blocks_that_miss_no_pair() -> None:
    small = np.random.default_rng(0).integers(0, 256, (700, 1, 64, 64), np.uint8)
    copies = {5: 6, 0: 255, 255: 256, 256: 699, 300: 650}
    for original, copy in copies.items():
        small[copy] = small[original]
    names = [f"{place:03}" for place in range(len(small))]
    expected = [(0, 255), (0, 256), (0, 699), (5, 6), (255, 256), (255, 699), (256, 699), (300, 650)]
    found = near_duplicates(dict(zip(names, small, strict=True)))
    assert found == [(names[one], names[other]) for one, other in expected]


@pytest.mark.fault(98)
def test_memory_grows_with_the_images_and_not_with_their_square() -> None:
    def peak(count: int) -> int:
        small = np.random.default_rng(0).integers(0, 256, (count, 1, 64, 64), np.uint8)
        thumbnails = {f"{place}": one for place, one in enumerate(small)}
        tracemalloc.start()
        near_duplicates(thumbnails)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(2400) < 2.5 * peak(1200)


def test_groups_join_patients_over_chains_of_duplicates() -> None:
    cases = [case("a", "p3"), case("b", "p1"), case("c", "p2"), case("d", "p2"), case("e", "p5")]
    expected = {"a": "p1", "b": "p1", "c": "p1", "d": "p1", "e": "p5"}
    for order in (cases, cases[::-1], cases[2:] + cases[:2]):
        assert group_cases(order, [("a", "b"), ("b", "d")]) == expected


def test_groups_without_duplicates_are_the_patients() -> None:
    assert group_cases([case("a", "p"), case("b", "p"), case("c", "q")], []) == {"a": "p", "b": "p", "c": "q"}
    assert group_cases([case("a", "p")], [("a", "elsewhere")]) == {"a": "p"}
    assert group_cases([], []) == {}


@pytest.mark.parametrize("name", ["lung_jsrt", "skin_isic2017"])
def test_different_patients_are_not_merged(real_data: Path, name: str) -> None:
    files = sorted((real_data / name / "images").iterdir())[:100]
    assert pairs_of({path.stem: np.asarray(Image.open(path).convert("L"))[None] for path in files}) == []


def test_only_neighbouring_video_frames_are_merged(real_data: Path) -> None:
    files = sorted((real_data / "polyp_cvc_clinicdb" / "images").iterdir())[:100]
    pairs = pairs_of({path.stem: np.moveaxis(np.asarray(Image.open(path)), -1, 0) for path in files})
    assert len(pairs) > 5
    assert max(abs(int(a) - int(b)) for a, b in pairs) <= 20
