"""Label maps, for any values that masks may store."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genseg.errors import DataError, FaultCode
from genseg.labels import LabelMap, count_labels, fit_label_map, repair_mask
from genseg.read.case import Scan

indices = st.sets(st.integers(1, 32), min_size=1, max_size=20).map(lambda values: sorted(values | {0}))
"""Class indices, the background among them."""

levels = st.integers(34, 120).flatmap(
    lambda step: st.integers(2, 12).map(lambda count: [step * number for number in range(count)])
)
"""Grey levels that are too far apart to be taken for blurred ones, and too few for any of them to be rare."""

colour = st.tuples(*[st.sampled_from(range(0, 256, 51))] * 3)
colours = st.sets(colour, min_size=1, max_size=20).map(lambda found: sorted(found | {(0, 0, 0)}))


def mask_of(values: list[Any]) -> Scan:
    """A mask that stores each value on two voxels."""
    pixels = np.array(values + values[::-1])
    shaped = pixels.T[:, None] if pixels.ndim == 2 else pixels[None, None]
    return Scan(shaped.astype(np.uint8 if pixels.ndim == 2 else np.int32), (1.0, 1.0), None, "", "")


def map_of(values: list[Any]) -> LabelMap:
    return fit_label_map({"a.png": count_labels(mask_of(values))}, None, None)


def stored(labels: LabelMap) -> dict[Any, int]:
    return {**labels.values, **labels.colours}


@given(st.one_of(indices, levels, colours.filter(lambda found: len(found) > 1)))
def test_every_value_is_one_class_and_every_class_one_value(values: list[Any]) -> None:
    labels = map_of(values)
    assert sorted(stored(labels)) == sorted(values)
    assert sorted(stored(labels).values()) == list(range(len(values)))
    assert len(labels.names) == len(set(labels.names)) == len(values)
    assert stored(labels)[min(values)] == 0


@given(st.one_of(indices, levels, colours.filter(lambda found: len(found) > 1)), st.randoms(use_true_random=False))
def test_the_map_does_not_depend_on_the_order_or_on_who_holds_what(values: list[Any], draw: Any) -> None:
    shuffled = draw.sample(values, len(values))
    cut = draw.randrange(1, len(values))
    parts = {"b.png": shuffled[:cut], "a.png": shuffled[cut:], "c.png": shuffled}
    counts = {file: count_labels(mask_of(part)) for file, part in parts.items()}
    assert fit_label_map(counts, None, None) == map_of(values)


@given(st.one_of(indices, levels, colours.filter(lambda found: len(found) > 1)))
def test_the_map_survives_json(values: list[Any]) -> None:
    labels = map_of(values)
    assert LabelMap.from_json(json.loads(json.dumps(labels.to_json()))) == labels


@given(st.one_of(indices, levels, colours.filter(lambda found: len(found) > 1)))
def test_applied_maps_can_be_turned_round(values: list[Any]) -> None:
    labels, mask = map_of(values), mask_of(values)
    classes = labels.apply(mask, "a.png")
    back = {index: value for value, index in stored(labels).items()}
    assert [back[index] for index in classes.ravel().tolist()] == values + values[::-1]
    np.testing.assert_array_equal(repair_mask(mask, labels, "a.png"), classes)


@given(levels, st.integers(-8, 8).filter(bool), st.data())
def test_stray_values_are_found_and_repaired_to_the_value_beside_them(
    values: list[int], offset: int, data: st.DataObject
) -> None:
    beside = data.draw(st.sampled_from(values))
    stray = abs(beside + offset)
    counts = {"a.png": dict.fromkeys(values, 1000), "b.png": {0: 1000, values[-1]: 1000, stray: 3}}
    with pytest.raises(DataError) as caught:
        fit_label_map(counts, None, None)
    assert [(fault.code, fault.file) for fault in caught.value.faults] == [(FaultCode.MASK_STRAY_VALUES, "b.png")]
    assert sorted(fit_label_map(counts, None, None, "nearest").values) == values


@given(indices, st.integers(-5, 300))
def test_a_value_that_is_not_in_the_map_is_named_with_its_voxels(values: list[int], other: int) -> None:
    if other in values:
        return
    with pytest.raises(DataError) as caught:
        map_of(values).apply(mask_of([*values, other]), "a.png")
    (fault,) = caught.value.faults
    assert fault.code is FaultCode.UNEXPECTED_LABEL
    assert f"{other} on 2 voxels" in fault.found


@given(st.dictionaries(st.integers(-(2**31), 2**31 - 1), st.integers(1, 10**6), min_size=0, max_size=40), st.booleans())
def test_any_numbers_give_a_map_of_them_all_or_a_refusal(counts: dict[int, int], repair: bool) -> None:
    try:
        labels = fit_label_map({"a.png": counts}, None, None, "nearest" if repair else "stop")
    except DataError:
        return
    assert set(labels.values) <= set(counts)
    assert repair or set(labels.values) == set(counts)
    assert sorted(labels.values.values()) == list(range(len(labels.names)))
