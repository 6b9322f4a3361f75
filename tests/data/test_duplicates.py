"""Near-duplicate images and the groups that they make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from genseg.data.case import CaseFiles
from genseg.data.duplicates import fingerprint, group_cases, near_duplicates


def texture(seed: int, shape: tuple[int, ...] = (1, 80, 96)) -> NDArray[np.float64]:
    """A random image in 0..1, smooth over a few pixels."""
    noise = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(noise, (0, *(1.5,) * (len(shape) - 1)))
    return (smooth - smooth.min()) / np.ptp(smooth)


def case(name: str, patient: str) -> CaseFiles:
    return CaseFiles(name, (Path(name),), None, patient)


@pytest.mark.parametrize("shape", [(1, 80, 96), (3, 80, 96), (1, 24, 30, 28)])
def test_different_images_are_kept_apart(shape: tuple[int, ...]) -> None:
    assert near_duplicates({str(seed): texture(seed, shape) for seed in range(12)}) == []


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
    assert near_duplicates(images) == [("a", "b")]


def test_one_slice_volumes_are_pictures() -> None:
    image = texture(1)
    assert near_duplicates({"picture": image, "volume": image[..., None]}) == [("picture", "volume")]


def test_images_without_contrast_match_none() -> None:
    black, white = np.zeros((1, 32, 32)), np.full((1, 32, 32), 255)
    assert near_duplicates({"a": black, "b": black, "c": white}) == []


@pytest.mark.fault(56)
def test_a_channel_of_small_values_counts_as_much_as_one_of_large() -> None:
    atlas, values = 1000 * texture(0), {name: texture(seed) for name, seed in (("a", 1), ("b", 2), ("c", 1))}
    images = {name: np.concatenate([atlas, own / 1000]).astype(np.float32) for name, own in values.items()}
    assert near_duplicates(images) == [("a", "c")]


def test_a_few_bright_pixels_do_not_hide_the_image() -> None:
    image, marked = texture(1), texture(1)
    marked[0, :3, :3] = 200.0
    assert near_duplicates({"a": image, "b": marked}) == [("a", "b")]


def test_pictures_and_volumes_have_hashes_of_their_own_length() -> None:
    assert fingerprint(texture(0)).shape == (256,)
    assert fingerprint(texture(0, (1, 20, 20, 20))).shape == (768,)
    assert near_duplicates({"a": texture(0), "b": texture(0, (1, 20, 20, 20))}) == []
    assert near_duplicates({}) == []


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
    assert near_duplicates({path.stem: np.asarray(Image.open(path).convert("L"))[None] for path in files}) == []


def test_only_neighbouring_video_frames_are_merged(real_data: Path) -> None:
    files = sorted((real_data / "polyp_cvc_clinicdb" / "images").iterdir())[:100]
    pairs = near_duplicates({path.stem: np.moveaxis(np.asarray(Image.open(path)), -1, 0) for path in files})
    assert len(pairs) > 5
    assert max(abs(int(a) - int(b)) for a, b in pairs) <= 20
