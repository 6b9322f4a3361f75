"""What mask values mean, from the files of a data set to masks of classes."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from genseg.errors import DataError, Fault, FaultCode, merge_faults
from genseg.examine.cases import CaseStore, LoadOptions
from genseg.examine.check import Examination, examine
from genseg.index import index_dataset

Pixels = NDArray[Any]
SIDE = 64
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]


def _disc(row: float, column: float, radius: float) -> Pixels:
    return np.hypot(ROWS - row, COLUMNS - column) < radius


def _write(folder: Path, masks: Sequence[Any], suffix: str = ".png", **description: Any) -> Path:
    """A data set of noise and these masks, each an array or a picture."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    if description:
        (folder / "dataset.json").write_text(json.dumps(description))
    for number, mask in enumerate(masks):
        picture = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        noise = np.random.default_rng(number).integers(0, 256, (picture.height, picture.width), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"case{number}.png")
        picture.save(folder / "masks" / f"case{number}{suffix}")
    return folder


def _examine(folder: Path, **options: Any) -> Examination:
    return examine(index_dataset(folder), LoadOptions(**options))


def _stops(folder: Path, **options: Any) -> list[Fault]:
    """One fault for each cause."""
    with pytest.raises(DataError) as caught:
        _examine(folder, **options)
    return merge_faults(caught.value.faults)


def _rimmed(count: int, classes: int, rim: int) -> list[Pixels]:
    """Discs of each class in a rim of 2 pixels, as of PASCAL VOC."""
    masks = []
    for number in range(count):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for place in range(classes):
            disc = _disc(16 + 30 * place, 20 + number, 9)
            mask[ndimage.binary_dilation(disc, iterations=2)] = rim
            mask[disc] = place + 1
        masks.append(mask)
    return masks


def _palette(mask: Pixels, colours: Sequence[int]) -> Image.Image:
    picture = Image.fromarray(mask)
    picture.putpalette([*colours, *[0] * (768 - len(colours))])
    return picture


def _lossy(mask: Pixels) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


@pytest.mark.fault(57)
@pytest.mark.parametrize("repair", ["stop", "nearest"])
@pytest.mark.parametrize(("classes", "rim"), [(1, 255), (2, 255), (1, 100), (2, 254)])
def test_a_value_far_above_class_indices_is_named_and_never_repaired(
    tmp_path: Path, classes: int, rim: int, repair: str
) -> None:
    masks = _rimmed(4, classes, rim)
    (fault,) = _stops(_write(tmp_path / "set", masks), mask_repair=repair)
    assert fault.code is FaultCode.UNEXPECTED_LABEL
    assert f"{rim} on {sum(np.count_nonzero(mask == rim) for mask in masks)} voxels, as a thin rim" in fault.found
    assert "ignore" in fault.cure
    assert "--mask-repair" not in fault.cure


@pytest.mark.fault(57)
def test_void_in_palette_pictures_is_named_too(tmp_path: Path) -> None:
    pictures = [_palette(mask, [0, 0, 0, 128, 0, 0]) for mask in _rimmed(3, 1, 255)]
    (fault,) = _stops(_write(tmp_path / "set", pictures))
    assert "255 on" in fault.found
    assert "--mask-repair" not in fault.cure


@pytest.mark.fault(57)
@pytest.mark.parametrize("name", ["ignore", "Void", "un-labelled", "don't care"])
def test_a_value_declared_to_be_ignored_stops_where_masks_hold_it(tmp_path: Path, name: str) -> None:
    labels, masks = {"background": 0, "lesion": 1, name.replace("un-l", "unl"): 255}, _rimmed(3, 1, 255)
    (fault,) = _stops(_write(tmp_path / "set", masks, labels=labels), mask_repair="nearest")
    assert fault.code is FaultCode.IGNORE_LABEL
    assert f"{sum(np.count_nonzero(mask == 255) for mask in masks)} voxels of 255" in fault.found


@pytest.mark.fault(57)
def test_a_negative_value_is_named_as_one_to_ignore(tmp_path: Path) -> None:
    masks = [np.where(mask == 255, -1, mask.astype(np.int32)) for mask in _rimmed(3, 1, 255)]
    (fault,) = _stops(_write(tmp_path / "set", [mask.astype(np.float32) for mask in masks], suffix=".tif"))
    assert f"-1 on {sum(np.count_nonzero(mask < 0) for mask in masks)} voxels" in fault.found
    assert "ignore" in fault.cure


@pytest.mark.fault(57)
def test_a_value_declared_to_be_ignored_is_no_class_where_no_mask_holds_it(tmp_path: Path) -> None:
    masks = [_disc(30, 20 + n, 9).astype(np.uint8) for n in range(3)]
    found = _examine(_write(tmp_path / "set", masks, labels={"background": 0, "lesion": 1, "ignore": 2}))
    assert found.labels.names == ("background", "lesion")
    assert [np.count_nonzero(case.mask) for case in found.cases] == [np.count_nonzero(mask) for mask in masks]


@pytest.mark.fault(57)
def test_the_only_name_of_the_background_may_be_unlabelled(tmp_path: Path) -> None:
    masks = [_disc(30, 20 + n, 9).astype(np.uint8) for n in range(3)]
    found = _examine(_write(tmp_path / "set", masks, labels={"unlabelled": 0, "lesion": 1}))
    assert "lesion" in found.labels.names
    (fault,) = _stops(_write(tmp_path / "two", masks, labels={"unlabelled": 0, "background": 1, "lesion": 2}))
    assert fault.code is FaultCode.IGNORE_LABEL


@pytest.mark.fault(57)
@pytest.mark.parametrize("repair", ["stop", "nearest"])
def test_repair_never_erases_a_class_of_one_file(tmp_path: Path, repair: str) -> None:
    """Black and white as JPEG; a third level, solid, in one mask of twelve and on 3 % of the foreground."""
    masks = [255 * _disc(30, 20 + n, 14).astype(np.uint8) for n in range(12)]
    masks[7][48:, 44:60] = 128
    folder = _write(tmp_path / "set", [_lossy(mask) for mask in masks])
    faults = _stops(folder, mask_repair=repair)
    erased = [fault for fault in faults if "repair would erase" in fault.found]
    assert [Path(fault.file).name for fault in erased] == ["case7.png"]
    assert all("--mask-repair nearest" not in fault.cure for fault in faults)
    declared = {"background": 0, "rim": 128, "core": 255}
    (folder / "dataset.json").write_text(json.dumps({"labels": declared}))
    examination = _examine(folder, mask_repair="nearest")
    small = examination.cases.select(["case7"])[0].mask
    assert small is not None
    assert np.mean(small[48:, 44:60] == 1) > 0.8


@pytest.mark.fault(57)
def test_repair_refuses_a_class_that_only_later_masks_have(tmp_path: Path) -> None:
    masks = [255 * _disc(30, 20 + n, 14).astype(np.uint8) for n in range(3)]
    found = _examine(_write(tmp_path / "set", [_lossy(mask) for mask in masks]), mask_repair="nearest")
    assert [np.unique(case.mask).tolist() for case in found.cases] == [[0, 1]] * 3
    for name, value in (("grey", 128), ("index", 1)):
        later = masks[0].copy()
        later[_disc(50, 50, 6)] = value
        index = index_dataset(_write(tmp_path / name, [later]))
        with pytest.raises(DataError) as caught:
            CaseStore(index.entries, found.labels, None, LoadOptions(mask_repair="nearest"))[0]
        assert f"{value} on {np.count_nonzero(later == value)} voxels" in caught.value.faults[0].found


@pytest.mark.fault(57)
def test_near_values_that_are_solid_are_classes(tmp_path: Path) -> None:
    """Numbers as of FreeSurfer, some of them one apart."""
    masks = []
    for number in range(4):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        for value, row, column in ((50, 12, 12), (57, 12, 44), (58, 44, 12), (251, 44, 44)):
            mask[_disc(row + number, column, 6)] = value
        masks.append(mask)
    labels = _examine(_write(tmp_path / "set", masks), mask_repair="nearest").labels
    assert dict(labels.values) == {0: 0, 50: 1, 57: 2, 58: 3, 251: 4}


def _numbered(seed: int, count: int) -> Pixels:
    """Discs that do not touch, at random places, numbered in the order in which they were drawn."""
    random = np.random.default_rng(seed)
    mask = np.zeros((SIDE, SIDE), np.uint16)
    while mask.max() < count:
        disc = _disc(*random.uniform(5, SIDE - 5, 2), random.uniform(3, 5))
        if not mask[ndimage.binary_dilation(disc)].any():
            mask[disc] = mask.max() + 1
    return mask


@pytest.mark.fault(61)
@pytest.mark.parametrize("counts", [[2, 3, 4, 5, 6, 7, 8, 9], [5] * 10, [1, 2, 3, 3, 2, 1, 3, 2, 3, 3], [12, 14]])
@pytest.mark.parametrize("first", [1, 300])
def test_numbers_of_objects_stop_and_can_be_merged(tmp_path: Path, counts: list[int], first: int) -> None:
    masks = [_numbered(seed, count) for seed, count in enumerate(counts)]
    stored = [np.where(mask > 0, mask + (first - 1), 0).astype(np.uint16) for mask in masks]
    folder = _write(tmp_path / "set", stored)
    (fault,) = _stops(folder)
    assert fault.code is FaultCode.INSTANCE_IDS
    assert "--instances merge" in fault.cure
    examination = _examine(folder, instances="merge")
    assert examination.labels.names == ("background", "foreground")
    for case, mask in zip(examination.cases, masks, strict=True):
        np.testing.assert_array_equal(case.mask, mask > 0)


@pytest.mark.fault(61)
def test_numbers_that_go_on_from_mask_to_mask_and_random_colours_are_told(tmp_path: Path) -> None:
    masks = [_numbered(seed, 5) for seed in range(4)]
    ongoing = [np.where(mask > 0, mask + 5 * place, 0).astype(np.uint16) for place, mask in enumerate(masks)]
    assert [fault.code for fault in _stops(_write(tmp_path / "ongoing", ongoing))] == [FaultCode.INSTANCE_IDS]
    random = np.random.default_rng(0)
    colours = [np.vstack([[[0, 0, 0]], random.integers(60, 250, (5, 3))]).astype(np.uint8)[mask] for mask in masks]
    folder = _write(tmp_path / "colours", colours)
    assert [fault.code for fault in _stops(folder)] == [FaultCode.INSTANCE_IDS]
    merged = _examine(folder, instances="merge")
    assert [np.count_nonzero(case.mask) for case in merged.cases] == [np.count_nonzero(mask) for mask in masks]


@pytest.mark.fault(61)
def test_merged_labels_take_numbers_that_were_never_seen(tmp_path: Path) -> None:
    labels = _examine(_write(tmp_path / "set", [_numbered(n, 4 + n) for n in range(6)]), instances="merge").labels
    again = type(labels).from_json(json.loads(json.dumps(labels.to_json())))
    later = _numbered(9, 6) * 5000
    index = index_dataset(_write(tmp_path / "later", [later]))
    np.testing.assert_array_equal(CaseStore(index.entries, again)[0].mask, later > 0)
    assert again.rows() == [("0", 0, "background"), ("all others", 1, "foreground")]


@pytest.mark.fault(61)
def test_two_class_names_and_numbers_of_objects_name_the_cure(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", [_numbered(n, 4 + n) for n in range(6)], class_names=["background", "cell"])
    assert [fault.code for fault in _stops(folder)] == [FaultCode.INSTANCE_IDS]
    assert _examine(folder, instances="merge").labels.names == ("background", "cell")
    (folder / "dataset.json").write_text(json.dumps({"class_names": ["background", "a", "b"]}))
    assert FaultCode.LAYOUT_BROKEN in [fault.code for fault in _stops(folder, instances="merge")]


@pytest.mark.fault(61)
def test_declared_classes_are_never_taken_for_numbers(tmp_path: Path) -> None:
    names = ["background", *(f"part {n}" for n in range(1, 8))]
    masks = [_numbered(n, 7) for n in range(8)]
    assert _examine(_write(tmp_path / "set", masks, class_names=names)).labels.names == tuple(names)


def _organs(seed: int, places: Sequence[tuple[float, float, float]], start: int = 1) -> Pixels:
    """Discs (row, column, radius) at their usual places, a little moved and scaled from case to case."""
    random = np.random.default_rng(seed)
    shift, scale = random.normal(0, 2, 2), random.normal(1, 0.1)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for value, (row, column, radius) in enumerate(places, start):
        at = np.array([row, column]) + shift + random.normal(0, 1, 2)
        mask[_disc(*at, radius * scale * random.normal(1, 0.06))] = value
    return mask


@pytest.mark.fault(61)
@pytest.mark.parametrize("count", [3, 8])
@pytest.mark.parametrize(
    "places",
    [
        [(20, 16, 10), (22, 46, 6), (44, 20, 4), (44, 44, 4)],
        [(8 + 11 * n, 32, 4) for n in range(5)],
        [(30, 20, 9), (30, 44, 9)],
        [(16, 32, 8), (40, 20, 8), (40, 46, 8)],
    ],
    ids=["abdomen", "vertebrae", "kidneys", "chambers"],
)
def test_anatomy_is_not_taken_for_numbers_of_objects(
    tmp_path: Path, places: list[tuple[float, float, float]], count: int
) -> None:
    masks = [_organs(seed, places) for seed in range(count)]
    labels = _examine(_write(tmp_path / "set", masks)).labels
    assert dict(labels.values) == {value: value for value in range(len(places) + 1)}


@pytest.mark.fault(61)
def test_layers_and_one_finding_of_several_kinds_are_classes(tmp_path: Path) -> None:
    layers, kinds = [], []
    for seed in range(8):
        random = np.random.default_rng(seed)
        top, layer = 10 + random.normal(0, 2) + 2 * np.sin(COLUMNS / 12), np.zeros((SIDE, SIDE), np.uint8)
        for value, thickness in enumerate((6, 4, 8, 4, 9), 1):
            layer[(top <= ROWS) & (top + thickness > ROWS)] = value
            top = top + thickness
        layers.append(layer)
        kinds.append(np.where(_numbered(seed, 1) > 0, 1 + seed % 3, 0).astype(np.uint8))
    assert len(_examine(_write(tmp_path / "layers", layers)).labels.names) == 6
    assert len(_examine(_write(tmp_path / "kinds", kinds)).labels.names) == 4


def _segmentation(path: Path, voxels: Pixels, segments: Sequence[Mapping[str, object]]) -> None:
    """A file as 3D Slicer writes it; of four axes the first counts layers."""
    layers = voxels.ndim == 4
    header = [
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {voxels.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, voxels.shape))}",
        f"space directions: {'none ' * layers}(1,0,0) (0,1,0) (0,0,2)",
        f"kinds: {'list ' * layers}domain domain domain",
        "encoding: gzip",
        "space origin: (0,0,0)",
        *(f"Segment{n}_{key}:={value}" for n, one in enumerate(segments) for key, value in one.items()),
    ]
    pixels = gzip.compress(voxels.astype(np.uint8).tobytes(order="F"))
    path.write_bytes("\n".join([*header, "", ""]).encode() + pixels)


def _volumes(folder: Path, orders: Sequence[Sequence[str]]) -> list[Pixels]:
    """A data set whose segments have other values from case to case. Returns its true classes, liver and tumour.

    orders: for each case the names of its segments by value, from 1.
    """
    pytest.importorskip("SimpleITK")
    truths = []
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for number, names in enumerate(orders):
        truth = np.zeros((20, 20, 6), np.uint8)
        truth[3:9, 3 : 8 + number, 1:4] = 1
        truth[12:16, 12:16, 2:5] = 2
        kinds = {"liver": 1, "tumor": 2}
        values = np.zeros(3, np.uint8)
        for value, name in enumerate(names, 1):
            values[kinds.get(name.strip().lower(), 0)] = value
        values[0] = 0
        segments = [{"Name": name, "LabelValue": value, "Layer": 0} for value, name in enumerate(names, 1)]
        _segmentation(folder / "labels" / f"c{number}.seg.nrrd", values[truth], segments)
        noise = np.random.default_rng(number).integers(0, 256, truth.shape)
        _segmentation(folder / "images" / f"c{number}.nrrd", noise, [])
        truths.append(truth)
    return truths


@pytest.mark.fault(60)
def test_segments_are_matched_by_name_whatever_their_values(tmp_path: Path) -> None:
    orders = [["liver", "tumor"], ["tumor", "liver"], ["Liver ", "tumor"], ["tumor", "liver"]]
    truths = _volumes(tmp_path / "set", orders)
    examination = _examine(tmp_path / "set")
    assert examination.labels.names == ("background", "liver", "tumor")
    for case, truth in zip(examination.cases, truths, strict=True):
        np.testing.assert_array_equal(case.mask, truth)
    share = np.mean([np.mean(truth == 1) for truth in truths])
    assert examination.statistics.classes[0].voxel_share == pytest.approx(share)
    again = type(examination.labels).from_json(json.loads(json.dumps(examination.labels.to_json())))
    (later,) = _volumes(tmp_path / "later", [["tumor", "liver"]])
    np.testing.assert_array_equal(CaseStore(index_dataset(tmp_path / "later").entries, again)[0].mask, later)


@pytest.mark.fault(60)
def test_declared_names_give_the_order_of_classes_and_unknown_ones_stop(tmp_path: Path) -> None:
    truths = _volumes(tmp_path / "set", [["liver", "tumor"], ["tumor", "liver"]])
    description = tmp_path / "set" / "dataset.json"
    description.write_text(json.dumps({"labels": {"background": 0, "tumor": 1, "liver": 2}}))
    examination = _examine(tmp_path / "set")
    assert examination.labels.names == ("background", "tumor", "liver")
    for case, truth in zip(examination.cases, truths, strict=True):
        np.testing.assert_array_equal(case.mask, np.array([0, 2, 1])[truth])
    description.write_text(json.dumps({"labels": {"background": 0, "lesion": 1, "liver": 2}}))
    assert {fault.code for fault in _stops(tmp_path / "set")} == {FaultCode.SEGMENT_NAMES}


@pytest.mark.fault(60)
@pytest.mark.parametrize(
    "segments",
    [
        [],
        [{"Name": "liver", "LabelValue": 1, "Layer": 0}],
        [{"Name": "liver", "LabelValue": 1, "Layer": 0}, {"Name": "", "LabelValue": 2, "Layer": 0}],
        [{"Name": "liver", "LabelValue": 1, "Layer": 0}, {"Name": "liver", "LabelValue": 2, "Layer": 0}],
        [{"Name": "liver", "LabelValue": 1, "Layer": 0}, {"Name": "tumor", "LabelValue": 1, "Layer": 0}],
        [{"Name": "liver", "LabelValue": 1, "Layer": 0}, {"Name": "tumor", "LabelValue": 1, "Layer": 1}],
    ],
    ids=["none", "missing", "empty", "name twice", "value twice", "layers"],
)
def test_segments_that_cannot_be_matched_stop(tmp_path: Path, segments: list[dict[str, object]]) -> None:
    truths = _volumes(tmp_path / "set", [["liver", "tumor"], ["tumor", "liver"]])
    _segmentation(tmp_path / "set" / "labels" / "c1.seg.nrrd", truths[1], segments)
    (fault,) = _stops(tmp_path / "set")
    assert fault.code is FaultCode.SEGMENT_NAMES
    assert Path(fault.file).name == "c1.seg.nrrd"


@pytest.mark.fault(60)
def test_overlapping_segments_stop_in_their_own_words(tmp_path: Path) -> None:
    truths = _volumes(tmp_path / "set", [["liver", "tumor"]])
    segments = [{"Name": name, "LabelValue": 1, "Layer": n} for n, name in enumerate(("liver", "tumor"))]
    _segmentation(tmp_path / "set" / "labels" / "c0.seg.nrrd", np.stack([truths[0] == 1, truths[0] > 0]), segments)
    (fault,) = _stops(tmp_path / "set")
    assert fault.code is FaultCode.SEGMENT_NAMES
    assert "several layers" in fault.found


@pytest.mark.fault(60)
def test_masks_without_names_stop_under_a_map_by_names(tmp_path: Path) -> None:
    _volumes(tmp_path / "set", [["liver", "tumor"], ["tumor", "liver"]])
    labels = _examine(tmp_path / "set").labels
    truths = _volumes(tmp_path / "later", [["liver", "tumor"]])
    _segmentation(tmp_path / "later" / "labels" / "c0.seg.nrrd", truths[0], [])
    with pytest.raises(DataError) as caught:
        CaseStore(index_dataset(tmp_path / "later").entries, labels)[0]
    assert caught.value.faults[0].code is FaultCode.SEGMENT_NAMES


@pytest.mark.fault(60)
def test_palettes_in_which_colours_change_places_stop(tmp_path: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[_disc(20, 20, 8)], mask[_disc(44, 44, 8)] = 1, 2
    red, green, blue = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    same = [_palette(np.roll(mask, n, 1), [0, 0, 0, *red, *green]) for n in range(3)]
    assert _examine(_write(tmp_path / "same", same)).faults == ()
    swapped = [*same[:2], _palette(np.roll(mask, 2, 1), [0, 0, 0, *green, *red])]
    (fault,) = _stops(_write(tmp_path / "swapped", swapped))
    assert fault.code is FaultCode.PALETTE_MISMATCH
    assert "1 is #00ff00, #ff0000" in fault.found
    other = _examine(_write(tmp_path / "other", [*same[:2], _palette(np.roll(mask, 2, 1), [0, 0, 0, *blue, *green])]))
    assert [fault.code for fault in merge_faults(other.faults)] == [FaultCode.PALETTE_MISMATCH]


@pytest.mark.fault(65)
@pytest.mark.parametrize("filled", [0, 5])
def test_outlines_taken_for_masks_are_warned_of_with_their_number(tmp_path: Path, filled: int) -> None:
    masks = []
    for number in range(8):
        disc = _disc(30, 24 + 2 * number, 16)
        masks.append(255 * (disc if number < filled else disc & ~ndimage.binary_erosion(disc)).astype(np.uint8))
    (fault,) = _examine(_write(tmp_path / "set", masks)).faults
    assert fault.code is FaultCode.OUTLINE_MASK
    assert f"{8 - filled} of the 8 masks" in fault.found
    assert "fill" in fault.cure


@pytest.mark.fault(65)
def test_a_ring_of_tissue_is_no_outline_and_a_thin_border_class_is_told(tmp_path: Path) -> None:
    rings, borders = [], []
    for number in range(4):
        outer, inner = _disc(30, 24 + 2 * number, 18), _disc(30, 24 + 2 * number, 13)
        rings.append((outer & ~inner).astype(np.uint8))
        borders.append(np.where(ndimage.binary_erosion(outer, iterations=2), 1, 2 * outer).astype(np.uint8))
    assert _examine(_write(tmp_path / "rings", rings)).faults == ()
    (fault,) = _examine(_write(tmp_path / "borders", borders)).faults
    assert "a thin rim around other classes, in 4 of the 4 masks of 'label 2'" in fault.found


@pytest.mark.fault(65)
def test_a_class_on_nearly_all_voxels_is_doubted(tmp_path: Path) -> None:
    (fault,) = _examine(
        _write(tmp_path / "set", [255 * (~_disc(30, 24 + n, 9)).astype(np.uint8) for n in range(3)])
    ).faults
    assert "of all voxels" in fault.found
    assert not fault.stops


@pytest.mark.fault(82)
@pytest.mark.parametrize("declared", [True, False])
def test_the_check_refuses_more_classes_than_masks_can_hold(tmp_path: Path, declared: bool) -> None:
    mask = np.zeros((128, 128), np.uint16)
    for value in range(256):
        row, column = divmod(value, 16)
        mask[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = value
    masks = [mask, mask]
    description = {"class_names": [f"class {n}" for n in range(256)]} if declared else {}
    (fault,) = _stops(_write(tmp_path / "set", masks, **description))
    assert fault.code is FaultCode.TOO_MANY_CLASSES
    assert "at most 255" in fault.expected
    fewer = [np.where(one == 255, 0, one).astype(np.uint16) for one in masks]
    description = {"class_names": [f"class {n}" for n in range(255)]} if declared else {}
    assert len(_examine(_write(tmp_path / "fewer", fewer, **description)).labels.names) == 255


@pytest.mark.fault(102)
def test_stray_values_of_many_masks_are_one_row(tmp_path: Path) -> None:
    masks = [_lossy(255 * _disc(30, 16 + n, 12).astype(np.uint8)) for n in range(12)]
    (fault,) = _stops(_write(tmp_path / "set", masks))
    assert fault.file.startswith("12 files in ")
    assert "and 7 more" in fault.file
    stray = sum(np.count_nonzero((mask > 0) & (mask < 255)) for mask in masks)
    assert f"on {stray} voxels" in fault.found
    wrong = [np.where(_disc(30, 16 + n, 12), 9, 0).astype(np.uint8) for n in range(12)]
    (fault,) = _stops(_write(tmp_path / "wrong", wrong, class_names=["background", "lesion"]))
    assert fault.file.startswith("12 files in ")


@pytest.mark.fault(102)
def test_where_nothing_can_be_read_nothing_is_said_of_foreground(tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", [_disc(30, 20 + n, 9).astype(np.uint8) for n in range(3)])
    for image in (folder / "images").iterdir():
        image.write_bytes(b"no image")
    assert [fault.code for fault in _stops(folder)] == [FaultCode.UNKNOWN_FORMAT]


def test_masks_are_read_alike_where_their_pixels_are_not_kept(tmp_path: Path) -> None:
    truths = _volumes(tmp_path / "set", [["liver", "tumor"], ["tumor", "liver"]])
    examination = examine(replace(index_dataset(tmp_path / "set")), budget=0)
    for case, truth in zip(examination.cases, truths, strict=True):
        np.testing.assert_array_equal(case.mask, truth)
