"""Predictions lie where the image lies: segmenters of known answer, put through preparation and back."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from genseg.config import Plan
from genseg.data.case import Case
from genseg.data.prepared import prepare_all
from genseg.data.preprocess import prepare
from genseg.segmenters.inference import predict_mask, predict_probabilities

PlanOf = Callable[..., Plan]

CPU = torch.device("cpu")
RAS_SPACING = (0.7, 1.0, 2.5)
VOLUME = (9, 10, 12)
WHOLE_PATCH, SMALL_PATCH = (10, 10, 12), (8, 8, 8)


class Threshold(nn.Module):
    """Class 1 where the first channel is above 0, with logits as far apart as the value is from it."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[tuple[int, ...]] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(tuple(image.shape[2:]))
        return torch.cat([-image[:, :1], image[:, :1]], dim=1)


class Recite(nn.Module):
    """Logits of a mask that was given, whatever the image."""

    def __init__(self, mask: NDArray[np.uint8], classes: int) -> None:
        super().__init__()
        self.logits = 10 * nn.functional.one_hot(torch.tensor(mask).long() % classes, classes).movedim(-1, 0)[None]

    def forward(self, image: Tensor) -> Tensor:
        assert image.shape[2:] == self.logits.shape[2:]
        return self.logits.float()


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
    predicted = predict_mask(segmenter, prepare(_volume(image, volume_affines[number]), plan), plan, CPU)
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
    predicted = predict_mask(Threshold(), prepared, plan, CPU)
    assert predicted.shape == truth.shape
    assert _overlap(predicted, truth) > 0.9
    if patch == (40, 40, 40):
        assert _overlap(predict_mask(Recite(prepared.mask, 2), prepared, plan, CPU), truth) > 0.85


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_a_mask_that_is_not_resampled_comes_back_exactly(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], number: int
) -> None:
    truth = np.random.default_rng(number).integers(0, 4, VOLUME).astype(np.uint8)
    plan = plan_of(3, spacing=RAS_SPACING, patch_size=(12, 12, 12), class_names=list("abcd"))
    prepared = prepare(_volume(truth[None], volume_affines[number], truth), plan)
    assert np.array_equal(predict_mask(Recite(prepared.mask, 4), prepared, plan, CPU), truth)


@pytest.mark.parametrize("size", [(48, 64), (97, 61), (300, 401), (20, 31)])
def test_masks_of_pictures_have_the_size_of_the_picture(plan_of: PlanOf, size: tuple[int, int]) -> None:
    truth = np.kron(_blobs(6, 8), np.ones((-(-size[0] // 6), -(-size[1] // 8)), np.uint8))[: size[0], : size[1]]
    case = Case("picture", 255 * truth[None], truth, (1.0, 1.0), None, "", "", "")
    plan = plan_of(2, patch_size=(48, 64))
    predicted = predict_mask(Threshold(), prepare(case, plan), plan, CPU)
    assert predicted.shape == size
    assert _overlap(predicted, truth) > (0.999 if size == (48, 64) else 0.93)


@pytest.mark.parametrize("patch", [WHOLE_PATCH, SMALL_PATCH])
def test_probabilities_sum_to_one_over_the_oriented_volume(
    plan_of: PlanOf, volume_affines: list[NDArray[np.float64]], patch: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, *VOLUME)).astype(np.uint8)
    plan = plan_of(3, spacing=(1.4, 1.0, 2.5), patch_size=patch)
    prepared = prepare(_volume(image, volume_affines[20]), plan)
    segmenter = Threshold().train()
    probabilities = predict_probabilities(segmenter, prepared, plan, CPU)
    assert probabilities.shape == (2, *prepared.geometry.oriented)
    assert probabilities.dtype == torch.float32
    assert torch.allclose(probabilities.sum(0), torch.ones(prepared.geometry.oriented))
    assert not segmenter.training


def test_half_precision_logits_are_raised_before_they_are_compared(plan_of: PlanOf) -> None:
    class Half(Threshold):
        def forward(self, image: Tensor) -> Tensor:
            return super().forward(image).bfloat16()

    plan = plan_of(2)
    case = Case("picture", np.zeros((1, 16, 16), np.uint8), None, (1.0, 1.0), None, "", "", "")
    assert predict_probabilities(Half(), prepare(case, plan), plan, CPU).dtype == torch.float32


class Sided(nn.Module):
    """Odds of class 1 of e^2 in the left half and 1 in the right, whatever the image."""

    def forward(self, image: Tensor) -> Tensor:
        logit = torch.zeros_like(image)
        logit[..., : image.shape[-1] // 2] = 2
        return torch.cat([torch.zeros_like(logit), logit], 1)


@pytest.mark.parametrize(("mirroring", "flip_axes", "logit"), [(True, [1], 1.0), (True, [0], 2.0), (False, [1], 2.0)])
def test_predictions_are_means_over_the_ways_to_mirror(
    plan_of: PlanOf, mirroring: bool, flip_axes: list[int], logit: float
) -> None:
    plan = plan_of(2, flip_axes=flip_axes, mirroring=mirroring)
    case = Case("picture", np.zeros((1, 16, 16), np.uint8), None, (1.0, 1.0), None, "", "", "")
    left = predict_probabilities(Sided(), prepare(case, plan), plan, CPU)[1, :, 0]
    torch.testing.assert_close(left, torch.full((16,), logit).sigmoid())


def test_a_case_from_files_is_predicted_without_warning(plan_of: PlanOf, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, 16, 16)).astype(np.uint8)
    case = Case("picture", image, None, (1.0, 1.0), None, "", "", "")
    (prepared,) = prepare_all([case], plan_of(2), tmp_path, budget=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        predicted = predict_mask(Threshold(), prepared, plan_of(2), CPU)
    assert np.array_equal(predicted, image[0] > 127)
