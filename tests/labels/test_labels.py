"""Mask values: counted, understood, mapped, repaired, stored."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from numpy.typing import ArrayLike

from genseg.errors import DataError, Fault, FaultCode, RunError
from genseg.labels import LabelMap, MaskValue, count_labels, fit_label_map, repair_mask
from genseg.read.case import Scan

RED, GREEN, BLACK, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 0), (255, 255, 255)
JPEG: dict[MaskValue, int] = {0: 9000, 1: 300, 2: 90, 17: 20, 128: 15, 238: 20, 253: 90, 254: 200, 255: 2000}
"""Voxels by value of a mask of 0 and 255 that went through JPEG."""


def scan(values: ArrayLike, dtype: type = np.uint8) -> Scan:
    """A mask of numbers."""
    pixels = np.asarray(values, dtype=dtype)[None]
    return Scan(pixels, (1.0,) * (pixels.ndim - 1), None, "", "")


def colour_scan(rows: Sequence[Sequence[tuple[int, int, int]]]) -> Scan:
    """A mask of colours."""
    return Scan(np.moveaxis(np.array(rows, dtype=np.uint8), -1, 0), (1.0, 1.0), None, "", "")


def faults_of(
    counts: Mapping[str, Mapping[MaskValue, int]],
    names: Sequence[str] | None = None,
    declared: Mapping[str, int] | None = None,
    repair: str = "stop",
) -> tuple[Fault, ...]:
    with pytest.raises(DataError) as caught:
        fit_label_map(counts, names, declared, repair)
    return caught.value.faults


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((0, 255), {0: 0, 255: 1}),
        ((0, 1), {0: 0, 1: 1}),
        ((0, 1, 2), {0: 0, 1: 1, 2: 2}),
        ((0, 1, 3), {0: 0, 1: 1, 3: 2}),
        ((0, 128, 255), {0: 0, 128: 1, 255: 2}),
        ((0, 65535), {0: 0, 65535: 1}),
        (tuple(range(33)), {value: value for value in range(33)}),
    ],
)
def test_undeclared_values_become_classes_in_ascending_order(values: tuple[int, ...], expected: dict[int, int]) -> None:
    labels = fit_label_map({"a": dict.fromkeys(values, 5)}, None, None)
    assert dict(labels.values) == expected
    assert labels.names[0] == "background"
    assert len(labels.names) == len(values)


def test_classes_are_decided_over_all_masks_in_any_order() -> None:
    counts = {"a": {0: 9}, "b": {0: 5, 2: 3}, "c": {0: 5, 1: 1}}
    maps = [fit_label_map(dict(order), None, None) for order in itertools.permutations(counts.items())]
    assert dict(maps[0].values) == {0: 0, 1: 1, 2: 2}
    assert all(labels == maps[0] for labels in maps)


@pytest.mark.fault(4)
@pytest.mark.parametrize(("white", "names"), [(255, ["background", "lesion"]), (65535, ["none", "x"])])
def test_white_is_the_second_of_two_declared_classes(white: int, names: list[str]) -> None:
    labels = fit_label_map({"a": {0: 5, white: 5}}, names, None)
    assert labels == LabelMap(tuple(names), {0: 0, white: 1})


def test_declared_classes_stay_in_the_map_when_no_mask_shows_them() -> None:
    labels = fit_label_map({"a": {0: 5, 3: 5}}, ["background", "a", "b", "c"], None)
    assert dict(labels.values) == {0: 0, 1: 1, 2: 2, 3: 3}


def test_declared_values_are_kept_whichever_they_are() -> None:
    declared = {"background": 2, "vessel": 1, "optic disc": 0}
    labels = fit_label_map({"a": {0: 5, 1: 5, 2: 50}}, ["background", "optic disc", "vessel"], declared)
    assert labels.rows() == [("2", 0, "background"), ("0", 1, "optic disc"), ("1", 2, "vessel")]


def test_many_declared_classes_are_no_stray_values() -> None:
    names = ["background", *(f"organ {n}" for n in range(1, 118))]
    counts = {"a": dict.fromkeys(range(118), 3)}
    assert fit_label_map(counts, names, None).values[117] == 117
    assert faults_of({"a": {**counts["a"], 118: 7}}, names)[0].code is FaultCode.UNEXPECTED_LABEL


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ({0: 5, 7: 12}, ["background", "a", "b"]),
        ({0: 5, 1: 3, 255: 12}, ["background", "lesion"]),
        ({0: 5, 128: 3, 255: 12}, ["background", "a", "b"]),
        ({0: 5, 128: 12}, ["background", "lesion"]),
        ({0: 5, -1: 12}, None),
        ({1: 5, 2: 12}, None),
    ],
)
def test_values_without_a_meaning_stop(values: dict[MaskValue, int], names: list[str] | None) -> None:
    (fault,) = faults_of({"bad.png": values}, names)
    assert fault.code is FaultCode.UNEXPECTED_LABEL
    assert fault.file == "bad.png"


@pytest.mark.fault(12)
def test_every_file_with_an_unexpected_label_is_reported_with_its_voxels() -> None:
    counts: dict[str, dict[MaskValue, int]] = {"b.png": {0: 1, 9: 77}, "a.png": {0: 1, 8: 12}, "c.png": {0: 1, 1: 1}}
    faults = faults_of(counts, ["background", "lesion"])
    assert [fault.file for fault in faults] == ["a.png", "b.png"]
    assert "77 voxels" in faults[1].found


def test_names_and_values_that_disagree_stop() -> None:
    (fault,) = faults_of({"a": {0: 1, 1: 1}}, ["background", "liver"], {"background": 0, "spleen": 1})
    assert fault.code is FaultCode.LAYOUT_BROKEN


@pytest.mark.fault(11)
@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
def test_masks_without_any_foreground_stop(names: list[str] | None) -> None:
    assert faults_of({"a": {0: 9}, "b": {0: 9}}, names)[0].code is FaultCode.NO_FOREGROUND


@pytest.mark.fault(5)
@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
@pytest.mark.parametrize(
    "values", [JPEG, dict.fromkeys(range(256), 5) | {0: 900, 255: 300}, {0: 50, 1: 3, 254: 3, 255: 9}]
)
def test_blurred_masks_stop_with_counts_and_are_mapped_on_request(
    values: dict[MaskValue, int], names: list[str] | None
) -> None:
    counts: dict[str, Mapping[MaskValue, int]] = {"b.jpg": values, "a.jpg": values, "clean.png": {0: 9, 255: 9}}
    faults = faults_of(counts, names)
    assert [(fault.code, fault.file) for fault in faults] == [
        (FaultCode.MASK_STRAY_VALUES, "a.jpg"),
        (FaultCode.MASK_STRAY_VALUES, "b.jpg"),
    ]
    voxels = 2 * (sum(values.values()) - values[0] - values[255])
    assert f"{len(values) - 2} stray values on {voxels} voxels" in faults[0].found
    assert "--mask-repair nearest (keeps 0, 255)" in faults[0].cure
    assert dict(fit_label_map(counts, names, None, "nearest").values) == {0: 0, 255: 1}


def test_repair_finds_the_second_of_two_declared_classes_however_small() -> None:
    blurred: dict[MaskValue, int] = {**dict.fromkeys(range(256), 1), 0: 9000, 255: 10}
    labels = fit_label_map({"a.jpg": blurred}, ["background", "lesion"], None, "nearest")
    assert dict(labels.values) == {0: 0, 255: 1}


def test_repair_keeps_declared_grey_levels_however_rare() -> None:
    blurred: dict[MaskValue, int] = {**JPEG, 126: 1, 127: 1}
    declared = {"background": 0, "rim": 128, "core": 255}
    labels = fit_label_map({"a.jpg": blurred}, None, declared, "nearest")
    assert dict(labels.values) == {0: 0, 128: 1, 255: 2}


def test_declared_indices_are_no_thresholds_for_grey_masks() -> None:
    """Masks of 0..255 under labels 0 and 1: repair must split at the middle and not between 0 and 1."""
    labels = fit_label_map({"a.jpg": JPEG}, None, {"background": 0, "lesion": 1}, "nearest")
    assert repair_mask(scan([[3, 120, 140]]), labels, "m").tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("repair", ["stop", "nearest"])
def test_masks_coded_otherwise_than_the_rest_are_never_erased(repair: str) -> None:
    (fault,) = faults_of({"index.png": {0: 50, 1: 20}, "white.png": {0: 50, 255: 20}}, repair=repair)
    assert fault.file == "index.png"
    assert fault.code is FaultCode.MASK_STRAY_VALUES


@pytest.mark.fault(7)
def test_colours_become_classes_with_black_as_background() -> None:
    labels = fit_label_map({"a": {BLACK: 9, RED: 2}, "b": {BLACK: 9, GREEN: 3}, "empty": {0: 9}}, None, None)
    assert labels.rows() == [
        ("#000000", 0, "background"),
        ("#00ff00", 1, "colour #00ff00"),
        ("#ff0000", 2, "colour #ff0000"),
    ]
    assert labels.apply(colour_scan([[RED, BLACK, GREEN]]), "a").tolist() == [[2, 0, 1]]
    assert labels.apply(scan([[0, 0]]), "empty").tolist() == [[0, 0]]


def test_one_colour_takes_the_declared_name_and_more_stop() -> None:
    assert fit_label_map({"a": {BLACK: 9, RED: 2}}, ["background", "wound"], None).names == ("background", "wound")
    for values in ({BLACK: 9, RED: 2}, {BLACK: 9, RED: 2, GREEN: 2}):
        (fault,) = faults_of({"a": values}, ["background", "wound", "slough"])
        assert fault.code is FaultCode.UNEXPECTED_LABEL
        assert "#ff0000" in fault.found


@pytest.mark.parametrize("names", [None, ["background", "lesion"]])
def test_colour_masks_need_a_black_background(names: list[str] | None) -> None:
    (fault,) = faults_of({"a": {WHITE: 9, RED: 2}}, names)
    assert fault.code is FaultCode.UNEXPECTED_LABEL
    assert "#000000" in fault.found


@pytest.mark.fault(7)
def test_too_many_colours_stop_and_near_ones_are_stray() -> None:
    photo: dict[MaskValue, int] = {(i, 2 * i, 255 - i): 5 for i in range(100)} | {BLACK: 900, RED: 300}
    near: dict[MaskValue, int] = {BLACK: 900, RED: 300, (250, 3, 0): 4}
    assert [f.code for f in faults_of({"photo": photo})] == [FaultCode.MASK_TOO_MANY_COLOURS]
    assert [f.code for f in faults_of({"near": near})] == [FaultCode.MASK_STRAY_VALUES]
    assert dict(fit_label_map({"near": near}, None, None, "nearest").colours) == {BLACK: 0, RED: 1}


def test_count_labels_counts_numbers_and_colours() -> None:
    assert count_labels(scan([[0, 0, 255], [7, 0, 255]])) == {0: 3, 7: 1, 255: 2}
    assert count_labels(colour_scan([[RED, BLACK], [RED, (1, 2, 3)]])) == {BLACK: 1, (1, 2, 3): 1, RED: 2}


def test_count_labels_keeps_the_most_frequent_values_of_a_photograph() -> None:
    values = np.arange(3000).repeat(2)
    values[:10] = 2999
    counts = count_labels(scan(values[None], np.int32))
    assert len(counts) == 1024
    assert counts[2999] == 12


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int64, np.bool_])
def test_apply_maps_every_integer_type_in_two_and_three_dimensions(dtype: type) -> None:
    labels = LabelMap(("background", "a", "b"), {0: 0, 1: 2, 70000: 1})
    volume = np.zeros((2, 3, 4), dtype=dtype)
    volume[1, 2, 3] = 1
    found = labels.apply(scan(volume, dtype), "v.nii")
    assert found.dtype == np.uint8
    assert found.shape == (2, 3, 4)
    assert np.argwhere(found == 2).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("labels", "mask"),
    [
        (LabelMap(("background", "a"), {0: 0, 1: 1}), scan([[0, 1, 2, 2]])),
        (LabelMap(("background", "a"), {0: 0, 1: 1}), colour_scan([[BLACK, RED, RED, BLACK]])),
        (LabelMap(("background", "a"), colours={BLACK: 0, RED: 1}), scan([[0, 9, 9]])),
        (LabelMap(("background", "a"), {300: 1}), scan([[0, 0]])),
    ],
)
def test_apply_stops_at_values_outside_the_map(labels: LabelMap, mask: Scan) -> None:
    with pytest.raises(DataError) as caught:
        labels.apply(mask, "m.png")
    (fault,) = caught.value.faults
    assert fault.code is FaultCode.UNEXPECTED_LABEL
    assert fault.file == "m.png"
    assert fault.found.endswith("on 2 voxels")
    assert fault.found.count("voxels") == 1


def test_grey_colours_and_numbers_are_one() -> None:
    numbers = LabelMap(("background", "a"), {0: 0, 255: 1})
    assert numbers.apply(colour_scan([[BLACK, WHITE]]), "m").tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("labels", "mask", "expected"),
    [
        (LabelMap(("b", "f"), {0: 0, 255: 1}), scan([[0, 127, 128, 255]]), [[0, 0, 1, 1]]),
        (LabelMap(("b", "f", "g"), {0: 0, 10: 2, 20: 1}), scan([[5, 6, 15, 16]]), [[0, 2, 1, 1]]),
        (LabelMap(("b", "f"), colours={BLACK: 0, RED: 1}), colour_scan([[(200, 9, 9), (90, 0, 0)]]), [[1, 0]]),
        (LabelMap(("b", "f"), colours={BLACK: 0, WHITE: 1}), scan([[3, 250]]), [[0, 1]]),
    ],
)
def test_repair_takes_the_nearest_known_value(labels: LabelMap, mask: Scan, expected: list[list[int]]) -> None:
    repaired = repair_mask(mask, labels, "m")
    assert repaired.dtype == np.uint8
    assert repaired.tolist() == expected


@pytest.mark.fault(4)
@pytest.mark.parametrize(
    "labels",
    [LabelMap(("background", "a"), {0: 0, 255: 1}), LabelMap(("background", "a"), colours={BLACK: 0, RED: 1})],
)
def test_map_survives_json(labels: LabelMap) -> None:
    assert LabelMap.from_json(json.loads(json.dumps(labels.to_json()))) == labels


@pytest.mark.parametrize("data", [{}, {"names": ["a"], "values": {"x": 1}, "colours": {}}, {"names": 3}])
def test_damaged_json_is_a_named_error(data: dict[str, object]) -> None:
    with pytest.raises(RunError, match="label map"):
        LabelMap.from_json(data)


@pytest.mark.fault(5)
def test_jpeg_masks_of_real_grey_levels_come_back(tmp_path: pytest.TempPathFactory) -> None:
    """A drawn mask with three grey levels, through JPEG and back."""
    from PIL import Image

    drawn = np.zeros((96, 96), dtype=np.uint8)
    drawn[16:60, 20:70] = 128
    drawn[30:50, 30:60] = 255
    path = tmp_path / "mask.jpg"
    Image.fromarray(drawn).save(path, quality=75)
    blurred = scan(np.asarray(Image.open(path)))
    counts = {"mask.jpg": count_labels(blurred)}
    assert faults_of(counts)[0].code is FaultCode.MASK_STRAY_VALUES
    labels = fit_label_map(counts, None, None, "nearest")
    truth = np.select([drawn == 128, drawn == 255], [1, 2])
    assert np.mean(repair_mask(blurred, labels, "m") == truth) > 0.99
