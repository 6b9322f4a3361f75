"""Predictions lie where the image lies: segmenters of known answer, put through preparation and back."""

from __future__ import annotations

import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from genseg.config import Plan
from genseg.prepare.preprocess import Geometry, prepare
from genseg.prepare.storage import prepare_all
from genseg.read.case import Case
from genseg.segmenters.inference import assemble, predict_mask, responses, segment
from genseg.segmenters.network import Array, Response, softmax
from genseg.segmenters.registry import build_segmenter
from genseg.segmenters.torch_network import TorchNetwork

PlanOf = Callable[..., Plan]

RAS_SPACING = (0.7, 1.0, 2.5)
VOLUME = (9, 10, 12)
WHOLE_PATCH, SMALL_PATCH = (10, 10, 12), (8, 8, 8)


class Threshold:
    """Class 1 where the first channel is above 0, with logits as far apart as the value is from it."""

    def __init__(self, is_fixed: bool = False) -> None:
        self.is_fixed = is_fixed
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, image: Array) -> Response:
        self.sizes.append(tuple(image.shape[2:]))
        return Response(np.concatenate([-image[:, :1], image[:, :1]], 1), (image.mean((2, *range(3, image.ndim))),))


class Recite:
    """Logits of a mask that was given, whatever the image."""

    is_fixed = False

    def __init__(self, mask: NDArray[np.uint8], classes: int) -> None:
        self.logits = 10 * np.moveaxis(np.eye(classes, dtype=np.float32)[mask % classes], -1, 0)[None]

    def __call__(self, image: Array) -> Response:
        assert image.shape[2:] == self.logits.shape[2:]
        return Response(self.logits, (np.zeros((1, 1), np.float32),))


def _volume(image: NDArray[np.uint8], affine: NDArray[np.float64], mask: NDArray[np.uint8] | None = None) -> Case:
    steps = tuple(float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return Case("volume", image, mask, steps, affine, "", "", "")


def _blobs(*shape: int) -> NDArray[np.uint8]:
    smooth = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 2)
    return (smooth > np.quantile(smooth, 0.7)).astype(np.uint8)


def _overlap(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Intersection over union of class 1."""
    return float(((first == 1) & (second == 1)).sum() / ((first == 1) | (second == 1)).sum())


@pytest.mark.parametrize("patch", [WHOLE_PATCH, SMALL_PATCH])
@pytest.mark.parametrize("number", range(48))
def test_masks_lie_in_the_voxel_order_of_the_file(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int, patch: tuple[int, ...]
) -> None:
    image = np.random.default_rng(number).integers(0, 256, (2, *VOLUME)).astype(np.uint8)
    plan = plan_of(3, channels=2, spacing=RAS_SPACING, patch_size=patch)
    segmenter = Threshold()
    predicted = predict_mask(segmenter, prepare(_volume(image, volume_affines[number]), plan), plan)
    assert predicted.dtype == np.uint8
    assert np.array_equal(predicted, image[0] > 127)
    assert (set(segmenter.sizes) == {SMALL_PATCH}) == (patch == SMALL_PATCH)
    assert len(segmenter.sizes) == (1 if patch == WHOLE_PATCH else 8) * 2 ** len(plan.flip_axes)


@pytest.mark.parametrize("patch", [(40, 40, 40), (8, 8, 8)])
@pytest.mark.parametrize("number", [0, 13, 29, 47])
def test_a_resampled_mask_comes_back(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int, patch: tuple[int, ...]
) -> None:
    truth = np.repeat(_blobs(24, 26, 12), 1, axis=0)
    plan = plan_of(3, spacing=(1.0, 0.9, 2.0), patch_size=patch)
    prepared = prepare(_volume(255 * truth[None], volume_affines[number], truth), plan)
    assert prepared.geometry.worked != prepared.geometry.oriented
    predicted = predict_mask(Threshold(), prepared, plan)
    assert predicted.shape == truth.shape
    assert _overlap(predicted, truth) > 0.9
    if patch == (40, 40, 40):
        assert _overlap(predict_mask(Recite(prepared.mask, 2), prepared, plan), truth) > 0.85


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_a_mask_that_is_not_resampled_comes_back_exactly(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int
) -> None:
    truth = np.random.default_rng(number).integers(0, 4, VOLUME).astype(np.uint8)
    plan = plan_of(3, spacing=RAS_SPACING, patch_size=(12, 12, 12), class_names=list("abcd"))
    prepared = prepare(_volume(truth[None], volume_affines[number], truth), plan)
    assert np.array_equal(predict_mask(Recite(prepared.mask, 4), prepared, plan), truth)


@pytest.mark.parametrize("size", [(48, 64), (97, 61), (300, 401), (20, 31)])
def test_masks_of_pictures_have_the_size_of_the_picture(plan_of: PlanOf, size: tuple[int, int]) -> None:
    truth = np.kron(_blobs(6, 8), np.ones((-(-size[0] // 6), -(-size[1] // 8)), np.uint8))[: size[0], : size[1]]
    case = Case("picture", 255 * truth[None], truth, (1.0, 1.0), None, "", "", "")
    plan = plan_of(2, patch_size=(48, 64))
    predicted = predict_mask(Threshold(), prepare(case, plan), plan)
    assert predicted.shape == size
    assert _overlap(predicted, truth) > (0.999 if size == (48, 64) else 0.93)


@pytest.mark.parametrize("patch", [WHOLE_PATCH, SMALL_PATCH])
def test_confidence_and_expected_dice_are_those_of_the_probabilities(plan_of: PlanOf, patch: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, *VOLUME)).astype(np.uint8)
    plan = plan_of(3, spacing=RAS_SPACING, patch_size=patch)
    prepared = prepare(_volume(image, np.diag([*RAS_SPACING, 1.0])), plan)
    found = segment(Threshold(), prepared, plan, temperature=0.5)
    probability = 1 / (1 + np.exp(-4 * prepared.image[0].astype(np.float64)[: VOLUME[0], : VOLUME[1], : VOLUME[2]]))
    assert np.array_equal(found.mask, probability > 0.5)
    assert np.abs(found.confidence - 100 * np.maximum(probability, 1 - probability)).max() <= 0.51
    within, size = probability[found.mask == 1].sum(), np.count_nonzero(found.mask)
    assert found.expected_dice == pytest.approx((2 * within / (size + probability.sum()),), rel=1e-5)


def test_nothing_found_has_no_expected_dice(plan_of: PlanOf) -> None:
    case = Case("picture", np.zeros((1, 16, 16), np.uint8), None, (1.0, 1.0), None, "", "", "")
    assert segment(Threshold(), prepare(case, plan_of(2)), plan_of(2)).expected_dice == (None,)


def test_a_network_of_one_size_gets_no_other(plan_of: PlanOf) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, *VOLUME)).astype(np.uint8)
    plan = plan_of(3, spacing=RAS_SPACING, patch_size=(9, 10, 8))
    prepared, fixed, free = prepare(_volume(image, np.diag([*RAS_SPACING, 1.0])), plan), Threshold(True), Threshold()
    assert np.array_equal(segment(fixed, prepared, plan).mask, segment(free, prepared, plan).mask)
    assert (set(fixed.sizes), set(free.sizes)) == ({(9, 10, 8)}, {VOLUME})


class Sided:
    """Odds of class 1 of e^2 in the left half and 1 in the right, whatever the image."""

    is_fixed = False

    def __call__(self, image: Array) -> Response:
        logit = np.zeros_like(image)
        logit[..., : image.shape[-1] // 2] = 2
        return Response(np.concatenate([np.zeros_like(logit), logit], 1), (logit.mean((2, 3)),))


@pytest.mark.parametrize(("mirroring", "flip_axes", "logit"), [(True, [1], 1.0), (True, [0], 2.0), (False, [1], 2.0)])
def test_predictions_are_means_over_the_ways_to_mirror(
    plan_of: PlanOf, mirroring: bool, flip_axes: list[int], logit: float
) -> None:
    plan = plan_of(2, flip_axes=flip_axes, mirroring=mirroring)
    case = Case("picture", np.zeros((1, 16, 16), np.uint8), None, (1.0, 1.0), None, "", "", "")
    (said,) = responses(Sided(), prepare(case, plan), plan)
    assert said.logits[0, 1, :, 0] == pytest.approx(logit)


def test_a_case_from_files_is_predicted_without_warning(plan_of: PlanOf, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16)).astype(np.uint8)
    case = Case("picture", image, None, (1.0, 1.0), None, "", "", "")
    (prepared,) = prepare_all([case], plan_of(2), tmp_path, budget=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = predict_mask(Threshold(), prepared, plan_of(2))
    assert np.array_equal(predicted, image[0] > 127)


def test_memory_is_for_one_row_of_tiles(plan_of: PlanOf) -> None:
    names = [f"class {number}" for number in range(8)]
    plan = plan_of(3, patch_size=(8, 32, 32), class_names=names, spacing=(1.0, 1.0, 1.0))

    class Wide:
        is_fixed = False

        def __call__(self, image: Array) -> Response:
            return Response(np.repeat(image, 8, 1), (np.zeros((len(image), 1), np.float32),))

    peaks = []
    for length in (64, 256):
        prepared = prepare(_volume(np.zeros((1, length, 32, 32), np.uint8), np.eye(4)), plan)
        tracemalloc.start()
        segment(Wide(), prepared, plan)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    logits = 4 * 8 * 256 * 32 * 32
    assert peaks[1] < logits / 2
    assert peaks[1] - peaks[0] < 4 * 192 * 32 * 32  # the masks, which are bytes, and no logits


class Small(Threshold):
    """The same on a machine that has memory for no more than so many pixels at once."""

    def __init__(self, most: int, is_fixed: bool = False) -> None:
        super().__init__(is_fixed)
        self.most = most

    def __call__(self, image: Array) -> Response:
        if image.size > self.most:
            raise MemoryError
        return super().__call__(image)


@pytest.mark.fault(34)
@pytest.mark.parametrize(
    ("spatial", "patch", "tile"),
    [(VOLUME, (9, 10, 8), (9, 10, 8)), ((40, 32), (64, 64), (32, 32)), ((24, 24, 24), (24, 24, 24), (16, 16, 16))],
)
def test_where_memory_runs_out_smaller_pieces_give_the_same_mask(
    plan_of: PlanOf, spatial: tuple[int, ...], patch: tuple[int, ...], tile: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, *spatial)).astype(np.uint8)
    affine = np.eye(4) if len(spatial) == 3 else None
    case = Case("case", image, None, (1.0,) * len(spatial), affine, "", "", "")
    plan = plan_of(len(spatial), patch_size=patch)
    prepared, small = prepare(case, plan), Small(int(np.prod(tile)))
    usual, found = segment(Threshold(), prepared, plan), segment(small, prepared, plan)
    assert np.array_equal(found.mask, usual.mask)
    assert (usual.is_in_pieces, found.is_in_pieces) == (False, True)
    assert set(small.sizes) == {tile}


@pytest.mark.fault(34)
@pytest.mark.parametrize("small", [Small(10), Small(700, is_fixed=True)])
def test_where_memory_is_too_small_for_pieces_too_that_is_said(plan_of: PlanOf, small: Small) -> None:
    case = Case("case", np.zeros((1, 32, 32), np.uint8), None, (1.0, 1.0), None, "", "", "")
    plan = plan_of(2, patch_size=(32, 32))
    with pytest.raises(MemoryError):
        segment(small, prepare(case, plan), plan)


@pytest.mark.fault(34)
def test_a_gpu_without_memory_is_told_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    network = TorchNetwork(build_segmenter("unet-small", 2, 1, 2), torch.device("cpu"))

    def fail(error: RuntimeError) -> None:
        def raising(*_: object) -> None:
            raise error

        monkeypatch.setattr(network._module, "forward", raising)

    for error, raised in ((torch.OutOfMemoryError("of memory"), MemoryError), (RuntimeError("other"), RuntimeError)):
        fail(error)
        with pytest.raises(raised):
            network(np.zeros((1, 1, 32, 32), np.float32))


@pytest.mark.parametrize("classes", [2, 5])
def test_of_classes_that_are_as_probable_the_first_is_taken(classes: int) -> None:
    logits = np.random.default_rng(classes).integers(-2, 3, (1, classes, 16, 20)).astype(np.float32)
    found = assemble([Response(logits, ())], Geometry(None, (16, 20), (16, 20)), classes)
    probabilities = softmax(logits[0])
    assert np.array_equal(found.mask, probabilities.argmax(0))
    assert np.array_equal(found.confidence, np.rint(100 * probabilities.max(0)))
