"""Figures of a data set: sizes, spacing, modality, intensities and class shares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from genseg.examine.cases import RawCase
from genseg.examine.statistics import Statistics, measure, samples_of_each, summarise
from genseg.labels import LabelMap
from genseg.read.case import CaseFiles, Scan

LABELS = LabelMap(("background", "liver", "tumour"), {0: 0, 1: 1, 2: 2}, {})


def _raw(image: np.ndarray, mask: np.ndarray | None = None, spacing: tuple[float, ...] | None = None) -> RawCase:
    spacing = spacing or (1.0,) * (image.ndim - 1)
    scan, drawn = (None if pixels is None else Scan(pixels, spacing, None, "", "") for pixels in (image, mask))
    return RawCase.of(CaseFiles("a", (Path("a"),), None, "a"), [scan], drawn)


def _summary(*cases: RawCase, channels: int = 1, modality: str = "", labels: LabelMap = LABELS) -> Statistics:
    return summarise([measure(case) for case in cases], labels, modality, (), channels)


def _volume(size: tuple[int, int, int], ones: int = 0, twos: int = 0) -> RawCase:
    """A volume in which each voxel is worth 100 times its class."""
    mask = np.zeros((1, *size), np.uint8)
    mask.ravel()[:ones] = 1
    mask.ravel()[ones : ones + twos] = 2
    return _raw(mask.astype(np.int16) * 100, mask, (1.0, 2.0, float(size[2])))


def test_sizes_spacings_and_classes() -> None:
    figures = _summary(_volume((8, 9, 10), 30), _volume((10, 9, 12), 10, 10), _volume((20, 9, 20)))
    assert (figures.cases, figures.labelled, figures.empty_masks, figures.rank) == (3, 3, 1, 3)
    assert (figures.size_min, figures.size_median, figures.size_max) == ((8, 9, 10), (10, 9, 12), (20, 9, 20))
    assert (figures.spacing_min, figures.spacing_median) == ((1.0, 2.0, 10.0), (1.0, 2.0, 12.0))
    assert figures.spacing_max == (1.0, 2.0, 20.0)
    voxels = 8 * 9 * 10 + 10 * 9 * 12 + 20 * 9 * 20
    assert [(c.name, c.cases) for c in figures.classes] == [("liver", 2), ("tumour", 1)]
    assert [c.voxel_share for c in figures.classes] == pytest.approx([40 / voxels, 10 / voxels])
    assert figures.foreground_fraction == pytest.approx(50 / voxels)
    assert figures.dtypes == ("int16",)


def test_cases_without_mask_count_as_unlabelled_only() -> None:
    labelled, unlabelled = _volume((8, 9, 10), 30), _raw(np.zeros((1, 8, 9, 10), np.int16))
    figures = _summary(labelled, unlabelled)
    assert (figures.cases, figures.labelled, figures.empty_masks) == (2, 1, 0)
    assert figures.foreground_fraction == pytest.approx(30 / 720)


def test_foreground_intensities_are_those_under_the_classes_alone() -> None:
    random = np.random.default_rng(0)
    image = random.normal(-900, 10, (2, 40, 50, 60)).astype(np.float32)
    mask = np.zeros((1, 40, 50, 60), np.uint8)
    mask[0, 5:35, 5:35, 5:35], mask[0, 20:25, 20:25, 20:25] = 1, 2
    image[:, mask[0] > 0] = random.normal([[50], [200]], 30, (2, int((mask > 0).sum())))
    first, second = (channel.foreground for channel in _summary(_raw(image, mask), channels=2).by_channel)
    assert (first.mean, first.std) == pytest.approx((50, 30), abs=3)
    assert (first.low, first.high) == pytest.approx((50 - 2.58 * 30, 50 + 2.58 * 30), abs=12)
    assert second.median == pytest.approx(200, abs=3)


def test_background_is_left_out_of_the_foreground_sample() -> None:
    assert list(measure(_volume((8, 9, 10), 30)).mask_samples) == [1]
    image = np.repeat(np.array([10, 20], np.uint8), 128).reshape(1, 16, 16)
    mask = np.repeat(np.array([2, 1], np.uint8), 128).reshape(1, 16, 16)
    labels = LabelMap(("background", "lesion"), {2: 0, 1: 1}, {})
    assert _summary(_raw(image, mask), labels=labels).by_channel[0].foreground.mean == 20


def test_classes_weigh_in_the_foreground_as_their_voxels_do() -> None:
    figures = _summary(_volume((40, 40, 40), 30000, 10000))
    assert figures.by_channel[0].foreground.mean == pytest.approx(125, abs=0.5)


def test_without_foreground_there_are_no_foreground_intensities() -> None:
    assert _summary(_volume((8, 9, 10))).by_channel[0].foreground is None


def test_colour_masks_are_measured_by_colour() -> None:
    colours = [(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255)]
    labels = LabelMap(("background", "red", "green", "blue"), {}, {colour: n for n, colour in enumerate(colours)})
    stripes = np.repeat(np.arange(4), 64).reshape(16, 16)
    mask = np.moveaxis(np.array(colours, np.uint8)[stripes], -1, 0)
    raw = _raw(stripes.astype(np.uint8)[None], mask)
    assert [c.voxel_share for c in _summary(raw, labels=labels).classes] == pytest.approx([0.25] * 3)
    samples = measure(raw).mask_samples
    assert {colour: np.unique(sample).tolist() for colour, sample in samples.items()} == {
        colour: [n] for n, colour in enumerate(colours) if n > 0
    }


def test_stray_values_count_for_the_nearest_class() -> None:
    labels = LabelMap(("background", "lesion"), {0: 0, 255: 1}, {})
    mask = np.zeros((1, 16, 16), np.uint8)
    mask[0, 0], mask[0, 1], mask[0, 2] = 255, 250, 3
    figures = _summary(_raw(mask, mask), labels=labels)
    assert figures.foreground_fraction == pytest.approx(2 / 16)


def test_grey_images_of_an_rgb_set_count_as_if_repeated() -> None:
    grey, colour = np.full((1, 16, 16), 10, np.uint8), np.full((3, 16, 16), 30, np.uint8)
    figures = _summary(_raw(grey), _raw(colour), channels=3)
    assert [channel.values.mean for channel in figures.by_channel] == pytest.approx([20.0] * 3)


@pytest.mark.fault(56)
def test_each_channel_is_summarised_by_its_own_name_and_values() -> None:
    random = np.random.default_rng(1)
    mask = np.zeros((1, 20, 20, 20), np.uint8)
    mask[0, 5:15, 5:15, 5:15] = 1
    pet = random.gamma(1, 1, (20, 20, 20))
    ct = np.where(mask[0] > 0, random.normal(50, 20, (20, 20, 20)), -1000)
    raw = _raw(np.stack([pet, ct]).astype(np.float32), mask)
    figures = summarise([measure(raw)], LABELS, "PET, CT", ("PET", "CT"), 2)
    assert (figures.modality, [channel.modality for channel in figures.by_channel]) == ("pet, ct", ["pet", "ct"])
    first, second = (channel.rule for channel in figures.by_channel)
    assert (first.channel, first.rule, second.channel, second.rule) == ("PET", "z-score", "CT", "window")
    inside = ct[5:15, 5:15, 5:15]
    assert (second.low, second.high) == pytest.approx(np.percentile(inside, (0.5, 99.5)), abs=6)
    assert (second.mean, second.std) == pytest.approx((inside.mean(), inside.std()), abs=2)
    rows = dict(figures.rows())
    assert rows["channel 0 (PET)"].startswith("PET, float32, 0.0")
    assert rows["channel 0 (PET)"].endswith("; scaled by z-score")
    assert "; scaled by window " in rows["channel 1 (CT)"]
    assert rows["kind"] == "3D, PET, CT, 2 channel(s), float32"
    assert json.loads(json.dumps(figures.to_json()))["by_channel"][0]["rule"] == {"channel": "PET", "rule": "z-score"}


def test_figures_become_json_and_rows() -> None:
    figures = _summary(_volume((8, 9, 10), 30))
    assert json.loads(json.dumps(figures.to_json()))["size_min"] == [8, 9, 10]
    rows: Mapping[str, str] = dict(figures.rows())
    assert rows["size"] == "8 x 9 x 10"
    assert rows["channel 0"] == "unknown modality, int16, 0 to 100 (0.5 to 99.5 %), median 0; scaled by z-score"
    assert rows["class liver"] == "in 1 cases, 4.17% of the voxels"


@pytest.mark.fault(98)
def test_what_is_kept_of_a_set_does_not_grow_with_it() -> None:
    assert [samples_of_each(cases) for cases in (1, 500, 1000, 10_000, 10**6)] == [4000, 4000, 2000, 200, 100]
    image = np.random.default_rng(0).integers(0, 255, (3, 200, 300), np.uint8)
    mask = (image[:1] > 100).astype(np.uint8)
    few = measure(_raw(image, mask), 200)
    assert few.image_sample.shape[1] == pytest.approx(200, rel=0.01)
    assert few.mask_samples[1].shape[1] == pytest.approx(200, rel=0.05)
    for sample in (few.image_sample, few.mask_samples[1]):
        assert sample.dtype == np.uint8
        assert not np.shares_memory(sample, image)  # which a view would keep in memory


@pytest.mark.fault(98)
def test_a_sparse_sample_tells_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1, 400, 500), np.uint8)
    raw = _raw(image, (image > 100).astype(np.uint8))
    labels = LabelMap(("background", "object"), {0: 0, 1: 1}, {})
    dense, sparse = (summarise([measure(raw, samples)] * 9, labels, "", (), 1) for samples in (4000, 400))
    values = [[channel.values for channel in found.by_channel] for found in (dense, sparse)]
    for one, other in zip(*values, strict=True):
        assert one.median == pytest.approx(other.median, abs=15)
        assert one.std == pytest.approx(other.std, rel=0.1)
