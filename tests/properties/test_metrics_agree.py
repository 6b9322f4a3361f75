"""The figures of any two label maps equal those of others: SciPy, MONAI, and the scorer beside the data."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from monai.metrics import compute_dice, compute_hausdorff_distance, compute_iou, compute_surface_dice
from numpy.typing import NDArray
from scipy import ndimage

from genseg.evaluate.metrics import CaseScores, SurfaceTolerance, dice_scores, score_case

Labels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Pair = tuple[Labels, Labels, tuple[float, ...]]

CLASSES = 4
TOLERANCE = 1.13
"""No distance between voxels of the spacings below is equal to it, so that rounding decides nothing."""


def _label_map(shape: tuple[int, ...], seed: int, smooth: float, absent: frozenset[int]) -> Labels:
    """A map of `CLASSES` classes, from single voxels (smooth = 0) to blobs that touch the border."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), smooth)
    labels = np.digitize(noise, np.quantile(noise, (0.4, 0.7, 0.9))).astype(np.uint8)
    labels[np.isin(labels, list(absent))] = 0
    return labels


@st.composite
def pairs(draw: st.DrawFn) -> Pair:
    """Truth, prediction and spacing of a picture or volume; each map may lack any of the classes, or all of them."""
    shape = tuple(draw(st.lists(st.integers(1, 14), min_size=2, max_size=3)))
    spacing = tuple(draw(st.sampled_from((0.5, 0.7, 1.0, 2.5, 6.0))) for _ in shape)
    absent = st.frozensets(st.integers(1, CLASSES - 1))
    maps = [
        _label_map(shape, draw(st.integers(0, 2**16)), draw(st.sampled_from((0.0, 1.0, 2.5))), draw(absent))
        for _ in range(2)
    ]
    return maps[0], maps[1], spacing


def _agrees(check: Callable[..., None]) -> Callable[..., None]:
    """Try a check on drawn pairs, and on those that are empty on one side and on both."""
    full, empty = (_label_map((9, 8, 7), 1, 1.0, frozenset(absent)) for absent in ((), (1, 2, 3)))
    for truth, prediction in ((full, empty), (empty, full), (empty, empty), (full, full)):
        check = example((truth, prediction, (0.7, 1.0, 2.5)))(check)
    return given(pairs())(check)


def _scores(pair: Pair) -> CaseScores:
    truth, prediction, spacing = pair
    return score_case("case", truth, prediction, CLASSES, spacing, SurfaceTolerance(TOLERANCE, "mm"))


def _regions(pair: Pair) -> Iterator[tuple[int, Mask, Mask]]:
    """Place among the scores, truth and prediction of each foreground class."""
    return ((label - 1, pair[0] == label, pair[1] == label) for label in range(1, CLASSES))


def _edge(mask: Mask) -> Mask:
    """Voxels with a face neighbour outside; what lies beyond the border is outside."""
    return mask & ~ndimage.binary_erosion(mask)


def _distances(mask: Mask, other: Mask, spacing: tuple[float, ...]) -> NDArray[np.float64]:
    """For each edge voxel of a region the distance to the other region's edge in mm."""
    to_other: NDArray[np.float64] = ndimage.distance_transform_edt(~_edge(other), sampling=spacing)
    return to_other[_edge(mask)]


@_agrees
def test_every_measure_equals_a_plain_one(pair: Pair) -> None:
    scores = _scores(pair)
    for place, truth, prediction in _regions(pair):
        both, either = np.count_nonzero(truth & prediction), np.count_nonzero(truth | prediction)
        assert scores.dice[place] == pytest.approx(2 * both / (both + either) if either else 1)
        assert scores.iou[place] == pytest.approx(both / either if either else 1)
        assert (scores.truth_voxels[place], scores.predicted_voxels[place]) == (truth.sum(), prediction.sum())
        if truth.any() != prediction.any():
            assert (scores.hd95[place], scores.surface_dice[place]) == (None, 0)
        elif not either:
            assert (scores.hd95[place], scores.surface_dice[place]) == (0, 1)
        else:
            each = _distances(truth, prediction, pair[2]), _distances(prediction, truth, pair[2])
            assert scores.hd95[place] == pytest.approx(max(np.percentile(one, 95) for one in each), rel=1e-5)
            near = np.concatenate(each) <= TOLERANCE
            assert scores.surface_dice[place] == pytest.approx(near.mean(), rel=1e-5)


@_agrees
def test_the_score_of_a_training_is_that_of_the_evaluation(pair: Pair) -> None:
    assert dice_scores(pair[0], pair[1], CLASSES) == pytest.approx(_scores(pair).dice)


@_agrees
def test_pictures_and_volumes_are_measured_in_pixels_where_these_are_asked_for(pair: Pair) -> None:
    in_pixels = score_case("case", *pair[:2], CLASSES, pair[2], SurfaceTolerance(TOLERANCE, "px"))
    assert in_pixels == score_case("case", *pair[:2], CLASSES, (1.0,) * len(pair[2]), SurfaceTolerance(TOLERANCE, "px"))
    assert in_pixels.hd95 == _scores((*pair[:2], (1.0,) * len(pair[2]))).hd95


def _one_hot(labels: Labels) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == label for label in range(CLASSES)])).float()[None]


@contextmanager
def _monai_may_warn() -> Iterator[None]:
    """MONAI warns of empty regions and of its own deprecated calls."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@_agrees
def test_overlap_is_that_of_monai_where_it_has_one(pair: Pair) -> None:
    scores = _scores(pair)
    truth, prediction = map(_one_hot, pair[:2])
    for ours, measure in ((scores.dice, compute_dice), (scores.iou, compute_iou)):
        theirs = measure(prediction, truth, include_background=False, ignore_empty=True)[0].tolist()
        # Of a class that the truth lacks it says nothing.
        expected = [ours[place] if region.any() else np.nan for place, region, _ in _regions(pair)]
        assert theirs == pytest.approx(expected, nan_ok=True)


@_agrees
def test_surfaces_of_whole_label_maps_are_those_of_monai(pair: Pair) -> None:
    """genseg gives MONAI one class at a time, cut out of its surroundings, which must change nothing."""
    scores, both = _scores(pair), (_one_hot(pair[1]), _one_hot(pair[0]))
    options: dict[str, Any] = {"include_background": False, "spacing": pair[2]}
    with _monai_may_warn():
        hd95 = compute_hausdorff_distance(*both, percentile=95, **options)[0]
        surface_dice = compute_surface_dice(*both, [TOLERANCE] * (CLASSES - 1), **options)[0]
    for place, truth, prediction in _regions(pair):
        if truth.any() and prediction.any():
            assert scores.hd95[place] == pytest.approx(float(hd95[place]), rel=1e-5)
            assert scores.surface_dice[place] == pytest.approx(float(surface_dice[place]), rel=1e-5)


@pytest.fixture(scope="module")
def their_overlap(real_data: Path) -> Callable[[Labels, Labels, int], tuple[float, float]]:
    """Dice and IoU of one class by the independent scorer."""
    script = real_data.parent / "score.py"
    if not script.is_file():
        pytest.skip(f"no independent scorer: {script} does not exist")
    spec = spec_from_file_location("independent_scorer", script)
    assert spec is not None
    assert spec.loader is not None
    scorer = module_from_spec(spec)
    spec.loader.exec_module(scorer)
    overlap: Callable[[Labels, Labels, int], tuple[float, float]] = scorer.overlap
    return overlap


@_agrees
def test_overlap_is_that_of_the_independent_scorer(
    their_overlap: Callable[[Labels, Labels, int], tuple[float, float]], pair: Pair
) -> None:
    scores = _scores(pair)
    for place in range(CLASSES - 1):
        assert (scores.dice[place], scores.iou[place]) == pytest.approx(their_overlap(pair[0], pair[1], place + 1))
