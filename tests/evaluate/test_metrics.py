from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist

from genseg.base.lengths import Unit
from genseg.errors import DataError, FaultCode
from genseg.evaluate.metrics import CaseScores, SurfaceTolerance, default_tolerance, score_case


def blobs(shape: tuple[int, ...], classes: int, seed: int) -> NDArray[np.uint8]:
    """A smooth random label map whose regions touch the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    edges = np.quantile(noise, np.linspace(0.5, 1, classes))
    return np.digitize(noise, edges[:-1]).astype(np.uint8)


def edge_points(mask: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """Millimetre places of the voxels with a face neighbour outside the region."""
    return np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.asarray(spacing)


def brute_force(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Sequence[float], tolerance: float
) -> tuple[float, float]:
    """HD95 and surface Dice from the table of all distances."""
    distances = cdist(edge_points(truth, spacing), edge_points(prediction, spacing))
    each = distances.min(axis=1), distances.min(axis=0)
    hd95 = max(np.percentile(one, 95) for one in each)
    near = sum(np.count_nonzero(one <= tolerance) for one in each)
    return float(hd95), near / sum(one.size for one in each)


def scores_of(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], **options: object) -> CaseScores:
    return score_case("case", truth, prediction, 2, (1.0,) * truth.ndim, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((40, 31), (1.0, 1.0)), ((40, 31), (0.4, 1.7)), ((17, 20, 14), (1.0, 1.0, 1.0)), ((17, 20, 9), (0.7, 0.7, 3.0))],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_surface_measures_equal_brute_force(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> None:
    truth, prediction = blobs(shape, 4, seed), blobs(shape, 4, seed + 100)
    scores = score_case("case", truth, prediction, 4, spacing, SurfaceTolerance(1.5, "mm"))
    for index, label in enumerate((1, 2, 3)):
        hd95, surface_dice = brute_force(truth == label, prediction == label, spacing, 1.5)
        assert scores.hd95[index] == pytest.approx(hd95, rel=1e-6)
        assert scores.surface_dice[index] == pytest.approx(surface_dice, rel=1e-6)
        assert hd95 > 0
        assert 0 < surface_dice < 1


def test_overlap_by_hand() -> None:
    truth = np.array([[1, 1, 1, 0], [2, 2, 0, 0]])
    prediction = np.array([[0, 1, 1, 1], [2, 0, 0, 0]])
    scores = score_case("case", truth, prediction, 3, (1.0, 1.0))
    assert scores.dice == (2 * 2 / 6, 2 * 1 / 3)
    assert scores.iou == (2 / 4, 1 / 2)
    assert (scores.truth_voxels, scores.predicted_voxels) == ((3, 2), (3, 1))
    assert scores.mean_dice == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("in_truth", "in_prediction", "overlap", "hd95"),
    [(False, False, 1.0, 0.0), (True, False, 0.0, None), (False, True, 0.0, None), (True, True, 1.0, 0.0)],
)
@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 6)])
def test_empty_masks(
    shape: tuple[int, ...], in_truth: bool, in_prediction: bool, overlap: float, hd95: float | None
) -> None:
    cube = np.zeros(shape, np.uint8)
    cube[(slice(2, 5),) * len(shape)] = 1
    scores = scores_of(cube * in_truth, cube * in_prediction)
    assert scores.dice == scores.iou == scores.surface_dice == (overlap,)
    assert scores.hd95 == (hd95,)


def test_region_that_fills_the_whole_image() -> None:
    full, inner = np.ones((9, 9), np.uint8), np.zeros((9, 9), np.uint8)
    inner[1:-1, 1:-1] = 1
    hd95, surface_dice = brute_force(full > 0, inner > 0, (1, 1), 1.0)
    scores = scores_of(full, inner, tolerance=SurfaceTolerance(1.0, "px"))
    assert (scores.hd95, scores.surface_dice) == ((pytest.approx(hd95),), (pytest.approx(surface_dice),))


def test_distance_equal_to_the_tolerance_agrees() -> None:
    truth, prediction = np.zeros((12, 5), np.uint8), np.zeros((12, 5), np.uint8)
    truth[2], prediction[5] = 1, 1
    at = score_case("case", truth, prediction, 2, (0.3, 1.0), SurfaceTolerance(0.9, "mm"))
    below = score_case("case", truth, prediction, 2, (0.3, 1.0), SurfaceTolerance(0.89, "mm"))
    assert (at.surface_dice, below.surface_dice) == ((1.0,), (0.0,))


def test_pictures_are_measured_in_pixels_and_volumes_in_mm() -> None:
    assert (default_tolerance(2), default_tolerance(3)) == (SurfaceTolerance(2, "px"), SurfaceTolerance(1, "mm"))
    for dimensions, expected in ((2, 3.0), (3, 1.5)):
        truth, prediction = np.zeros((8, 8, 8)[:dimensions], np.uint8), np.zeros((8, 8, 8)[:dimensions], np.uint8)
        truth[1], prediction[4] = 1, 1
        scores = score_case("case", truth, prediction, 2, (0.5,) * dimensions)
        assert scores.hd95 == (pytest.approx(expected),)


@pytest.mark.fault(63)
@pytest.mark.parametrize(("unit", "tolerance", "hd95"), [("mm", 1, 0.0015), ("um", 1, 1.5), ("px", 2, 3.0)])
def test_volumes_are_measured_in_the_unit_of_their_voxels(unit: Unit, tolerance: float, hd95: float) -> None:
    assert default_tolerance(2, unit) == SurfaceTolerance(2, "px")
    assert default_tolerance(3, unit) == SurfaceTolerance(tolerance, unit)
    truth, prediction = np.zeros((8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    truth[1], prediction[4] = 1, 1
    scores = score_case("case", truth, prediction, 2, (0.0005,) * 3, default_tolerance(3, unit))
    assert scores.hd95 == (pytest.approx(hd95),)


def test_inputs_stay_as_they_were() -> None:
    truth, prediction = blobs((20, 20), 3, 0), blobs((20, 20), 3, 1)
    before = truth.copy(), prediction.copy()
    score_case("case", truth, prediction, 3, (1, 1))
    np.testing.assert_array_equal((truth, prediction), before)


@pytest.mark.parametrize(
    ("truth", "prediction", "spacing", "codes"),
    [
        (np.zeros((4, 5), int), np.zeros((5, 4), int), (1, 1), {FaultCode.SIZE_MISMATCH}),
        (np.zeros((4, 5)), np.zeros((4, 5), int), (1, 1), {FaultCode.MASK_NOT_INTEGER}),
        (np.full((4, 5), 2), np.full((4, 5), -1), (1, 1), {FaultCode.UNEXPECTED_LABEL}),
        (np.zeros((4, 5), int), np.zeros((4, 5), int), (1, 0), {FaultCode.BAD_SPACING}),
        (np.zeros((4, 5), int), np.zeros((4, 5), int), (1, 1, 1), {FaultCode.BAD_SPACING}),
        (np.zeros(4, int), np.zeros(4, int), (1,), {FaultCode.SIZE_MISMATCH}),
        (
            np.full((4, 5), 7),
            np.zeros((3, 5)),
            (1, 1),
            {FaultCode.UNEXPECTED_LABEL, FaultCode.MASK_NOT_INTEGER, FaultCode.SIZE_MISMATCH},
        ),
    ],
)
def test_unusable_input_is_refused_with_every_fault(
    truth: NDArray[np.generic], prediction: NDArray[np.generic], spacing: tuple[float, ...], codes: set[FaultCode]
) -> None:
    with pytest.raises(DataError) as caught:
        score_case("the case", truth, prediction, 2, spacing)
    assert {fault.code for fault in caught.value.faults} == codes
    assert {fault.file for fault in caught.value.faults} == {"the case"}


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_impossible_tolerance(value: float) -> None:
    with pytest.raises(ValueError, match="tolerance"):
        SurfaceTolerance(value, "mm")
