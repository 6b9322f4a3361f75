"""However a volume lies in space and in its file, image and mask stay on each other, and come back as they were."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import apply_affine
from nibabel.nifti1 import Nifti1Image
from nibabel.orientations import apply_orientation, inv_ornt_aff
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from benchmarks.robustness.dicom_files import write_dicom
from genseg.config import Plan
from genseg.errors import DataError, FaultCode
from genseg.examine.cases import DEFAULT_OPTIONS, read_raw_case, to_case
from genseg.labels import LabelMap
from genseg.models.model import Model
from genseg.prepare.preprocess import prepare, restore
from genseg.read import read_image
from genseg.read.case import Case, CaseFiles, Scan
from genseg.segmenters.network import Array, Response
from genseg.trust.trust import UNTESTED
from genseg.write.masks import write_mask

Affine = NDArray[np.float64]
Voxels = NDArray[Any]

ORIENTATIONS = [
    np.column_stack([order, signs])
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]
"""All 48 ways to store a volume: where each axis goes, and whether it is turned round."""

UNCHANGED = {"rule": "window", "low": -9999.0, "high": 9999.0, "mean": 0.0, "std": 1.0}
LABELS = LabelMap(("background", "organ", "vessel"), {0: 0, 1: 1, 2: 2})
"""Of masks that hold class indices."""


@dataclass(frozen=True)
class Body:
    """What was scanned: voxels along R, A and S, and their affine, before any file turns them."""

    voxels: Voxels
    affine: Affine

    def stored(self, orientation: NDArray[np.int_]) -> Body:
        """The same body with the voxel axes of a file."""
        turned = apply_orientation(self.voxels, orientation)
        return Body(turned, self.affine @ inv_ornt_aff(orientation, self.voxels.shape))

    @property
    def centre(self) -> NDArray[np.float64]:
        """Centre in mm of what is brighter than the middle."""
        bright = np.argwhere(self.voxels > self.voxels.max() / 2)
        return np.asarray(apply_affine(self.affine, bright).mean(axis=0))

    def save(self, path: Path, forms: tuple[int, int] = (0, 2)) -> Path:
        """Write as NIfTI. forms: codes of qform and sform; 0 leaves it out."""
        image = Nifti1Image(self.voxels, None)
        image.set_qform(self.affine if forms[0] else None, forms[0])
        image.set_sform(self.affine if forms[1] else None, forms[1])
        nibabel.save(image, path)
        return path


def _affine(rotation: Rotation, spacing: tuple[float, ...]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = rotation.as_matrix() @ np.diag(spacing)
    affine[:3, 3] = 10.0, -20.0, 30.0
    return affine


# Turned by less than 30 degrees the axes remain nearest to R, A and S.
oblique = st.tuples(*[st.floats(-0.28, 0.28)] * 3).map(Rotation.from_rotvec)
spacings = st.tuples(*[st.floats(0.4, 5.0)] * 3)


@st.composite
def bodies(draw: st.DrawFn) -> Body:
    """Labels 0 to 2 in boxes, at any slant and with steps of any length."""
    shape = draw(st.tuples(*[st.integers(8, 11)] * 3))
    voxels = np.zeros(shape, np.uint8)
    for label in (1, 2):
        corner = draw(st.tuples(*[st.integers(0, 5)] * 3))
        voxels[tuple(slice(start, start + 3) for start in corner)] = label
    return Body(voxels, _affine(draw(oblique), draw(spacings)))


def _case(image: Path, mask: Path) -> Case:
    return to_case(read_raw_case(CaseFiles("case", (image,), mask, "case")), LABELS, None)


def _header(path: Path) -> dict[str, Any]:
    """What a header says of size and place."""
    header = nibabel.load(path).header
    places = (
        "srow_x",
        "srow_y",
        "srow_z",
        "quatern_b",
        "quatern_c",
        "quatern_d",
        "qoffset_x",
        "qoffset_y",
        "qoffset_z",
    )
    return {name: header[name].tolist() for name in ("dim", "pixdim", "sform_code", "qform_code", *places)}


@pytest.mark.fault(23)
@pytest.mark.parametrize("number", range(48))
@settings(max_examples=4)
@given(body=bodies(), forms=st.sampled_from([(0, 2), (1, 0), (1, 1)]))
def test_files_of_every_orientation_become_ras_and_come_back(
    plan_of: Callable[..., Plan], tmp_path: Path, number: int, body: Body, forms: tuple[int, int]
) -> None:
    file = body.stored(ORIENTATIONS[number])
    image, mask = (file.save(tmp_path / f"{name}.nii", forms) for name in ("image", "mask"))
    own = tuple(nibabel.affines.voxel_sizes(body.affine))
    prepared = prepare(_case(image, mask), plan_of(3, spacing=own, patch_size=(4, 4, 4), intensity=UNCHANGED))
    np.testing.assert_array_equal(prepared.image[0], body.voxels)
    np.testing.assert_array_equal(prepared.mask, body.voxels)
    assert prepared.mask is not None
    (tmp_path / "out").mkdir(exist_ok=True)
    written = write_mask(restore(prepared.mask, prepared.geometry), image, tmp_path / "out")
    assert _header(written) == _header(mask)
    np.testing.assert_array_equal(np.asarray(nibabel.load(written).dataobj), file.voxels)


@pytest.mark.fault(23)
@given(body=bodies(), number=st.integers(0, 47), change=st.tuples(*[st.floats(0.6, 1.6)] * 3))
def test_image_and_mask_stay_in_register_at_any_spacing(
    plan_of: Callable[..., Plan], tmp_path: Path, body: Body, number: int, change: tuple[float, ...]
) -> None:
    file = Body(np.minimum(body.voxels, 1), body.affine).stored(ORIENTATIONS[number])
    case = _case(file.save(tmp_path / "image.nii"), file.save(tmp_path / "mask.nii"))
    steps = tuple(nibabel.affines.voxel_sizes(body.affine) * change)
    prepared = prepare(case, plan_of(3, spacing=steps, patch_size=(1, 1, 1), intensity=UNCHANGED))
    certain = np.abs(prepared.image[0] - 0.5) > 1e-3
    assert certain.mean() > 0.8
    assert prepared.mask is not None
    np.testing.assert_array_equal(prepared.image[0][certain] > 0.5, prepared.mask[certain] == 1)


class Bright:
    """A network that finds what is brighter than the middle."""

    is_fixed = False

    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`."""
        bright = image[:, :1] - np.float32(50)
        return Response(np.concatenate([-bright, bright], axis=1), (np.zeros((len(image), 1), np.float32),))


def _bodies_of_every_orientation() -> Iterator[Body]:
    """One bright ellipsoid, away from the middle, each time turned and stored in another way."""
    place = np.indices((18, 16, 14)).transpose(1, 2, 3, 0)
    inside = (((place - (6, 9, 5)) / (4, 5, 3)) ** 2).sum(axis=-1) < 1
    for number, orientation in enumerate(ORIENTATIONS):
        slant = Rotation.from_rotvec(np.random.default_rng(number).uniform(-0.28, 0.28, 3))
        yield Body((100 * inside).astype(np.int16), _affine(slant, (0.7, 1.0, 2.5))).stored(orientation)


@pytest.mark.fault(23)
@pytest.mark.parametrize(("spacing", "is_own"), [((0.7, 1.0, 2.5), True), ((1.1, 0.9, 1.9), False)])
def test_predicted_masks_lie_where_the_image_has_it(
    plan_of: Callable[..., Plan], tmp_path: Path, spacing: tuple[float, ...], is_own: bool
) -> None:
    files = list(_bodies_of_every_orientation())
    (tmp_path / "images").mkdir()
    for number, file in enumerate(files):
        file.save(tmp_path / "images" / f"{number:02}.nii.gz")
    plan = plan_of(3, spacing=spacing, patch_size=(8, 8, 8), intensity=UNCHANGED, flip_axes=(0, 1, 2))
    model = Model(plan, LABELS, tmp_path, Bright(), DEFAULT_OPTIONS, False, "", UNTESTED, "")
    for case, file in zip(model.predict_folder(tmp_path / "images", tmp_path / "out"), files, strict=True):
        assert _header(case.mask) == _header(tmp_path / "images" / case.mask.name)
        mask = Body(np.asarray(nibabel.load(case.mask).dataobj), nibabel.load(case.mask).affine)
        assert np.abs(mask.centre - file.centre).max() < 0.1
        assert not is_own or np.array_equal(mask.voxels, file.voxels > 50)


def _saved(image: Body, mask: Body, folder: Path) -> CaseFiles:
    return CaseFiles("case", (image.save(folder / "image.nii"),), mask.save(folder / "mask.nii"), "case")


def _codes(image: Body, mask: Body, folder: Path) -> set[FaultCode]:
    """Why a mask is refused; nothing where it is not."""
    try:
        read_raw_case(_saved(image, mask, folder))
    except DataError as error:
        return {fault.code for fault in error.faults}
    return set()


@pytest.mark.fault(22, 23)
@pytest.mark.parametrize("shape", [(9, 9, 9), (8, 9, 10)])
@pytest.mark.parametrize("number", range(0, 48, 7))
def test_a_mask_stored_in_any_other_orientation_than_its_image_is_turned_onto_it(
    tmp_path: Path, number: int, shape: tuple[int, ...]
) -> None:
    """Voxel by voxel, and not in silence."""
    body = Body(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), _affine(Rotation.identity(), (1.0, 1.0, 1.0)))
    image = body.stored(ORIENTATIONS[number])
    for other, orientation in enumerate(ORIENTATIONS):
        raw = read_raw_case(_saved(image, body.stored(orientation), tmp_path))
        assert raw.mask is not None
        assert np.array_equal(raw.mask.pixels, raw.image.pixels)
        said = {fault.code for fault in raw.warnings if fault.code is FaultCode.GEOMETRY_MISMATCH}
        assert said == (set() if other == number else {FaultCode.GEOMETRY_MISMATCH})


@pytest.mark.fault(22)
@given(body=bodies(), share=st.floats(0, 3), turn=st.sampled_from([0.0, 1e-4, 0.02]))
def test_a_mask_elsewhere_is_refused_and_one_in_its_place_is_not(
    tmp_path: Path, body: Body, share: float, turn: float
) -> None:
    """share: of the tolerance by which the mask is moved. turn: radians about all three axes."""
    tolerance = max(0.01, 0.01 * nibabel.affines.voxel_sizes(body.affine).min())
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec([turn] * 3).as_matrix()
    moved[0, 3] = share * tolerance
    affine = moved @ body.affine
    corners = np.array(list(itertools.product(*((0, size - 1) for size in body.voxels.shape))))
    apart = np.linalg.norm(apply_affine(affine, corners) - apply_affine(body.affine, corners), axis=1).max()
    codes = _codes(body, Body(body.voxels, affine), tmp_path)
    # Headers hold float32: what is nearer to the tolerance than that may go either way.
    if abs(apart - tolerance) > 1e-4:
        assert codes == ({FaultCode.GEOMETRY_MISMATCH} if apart > tolerance else set())


@pytest.mark.fault(23)
def test_of_a_single_slice_both_sides_are_one_place(tmp_path: Path) -> None:
    slab = Body(np.arange(90, dtype=np.int16).reshape(9, 10, 1), _affine(Rotation.identity(), (1.0, 1.0, 4.0)))
    other_side = slab.stored(np.array([[0, 1], [1, 1], [2, -1]]))
    assert _codes(slab, other_side, tmp_path) == set()


# DICOM series


@dataclass(frozen=True)
class Stack:
    """A DICOM series: pixels `(slice, row, column)`, and where each slice lies. Names are in another order."""

    pixels: Voxels
    axes: NDArray[np.float64]
    places: NDArray[np.float64]
    names: tuple[str, ...]
    spacing: tuple[float, float]

    def write(self, folder: Path, **changed: Any) -> Path:
        """Write the slices. changed: tags of the third one."""
        folder.mkdir()
        for index, name in enumerate(self.names):
            tags = {
                "ImagePositionPatient": self.places[index].round(3).tolist(),
                "ImageOrientationPatient": self.axes[:, :2].T.ravel().round(6).tolist(),
                "PixelSpacing": list(self.spacing),
            }
            write_dicom(folder / name, self.pixels[index], **{**tags, **(changed if index == 2 else {})})
        return folder


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    """Five to seven slices that face anywhere."""
    count = draw(st.integers(5, 7))
    axes = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-3, 3)] * 3))).as_matrix()
    step = draw(st.floats(1.0, 6.0))
    places = np.array([10.0, 20.0, 30.0]) + step * np.arange(count)[:, None] * axes[:, 2]
    pixels = np.arange(count * 9 * 8, dtype=np.int16).reshape(count, 9, 8)
    names = tuple(f"{number}.dcm" for number in draw(st.permutations(range(count))))
    return Stack(pixels, axes, places, names, draw(st.sampled_from([(0.5, 0.75), (1.0, 1.0), (2.25, 0.6)])))


def _fresh(folder: Path) -> Path:
    """A new folder, for every example of a test has the same `folder`."""
    return folder / f"{sum(1 for _ in folder.iterdir())}"


def _assert_same(scan: Scan, stack: Stack) -> None:
    """The slices in the order of their places, and every voxel where DICOM has it, in RAS."""
    np.testing.assert_array_equal(scan.pixels[0], stack.pixels.transpose(2, 1, 0))
    columns, rows, slices = np.indices(scan.spatial)
    across = (
        columns[..., None] * stack.spacing[1] * stack.axes[:, 0] + rows[..., None] * stack.spacing[0] * stack.axes[:, 1]
    )
    expected = (stack.places[slices] + across) * (-1, -1, 1)
    assert scan.affine is not None
    found = apply_affine(scan.affine, np.indices(scan.spatial).transpose(1, 2, 3, 0))
    np.testing.assert_allclose(found, expected, atol=0.005)


@pytest.mark.fault(27)
@given(stack=stacks())
def test_slices_in_any_order_of_files_are_one_volume(tmp_path: Path, stack: Stack) -> None:
    folder = stack.write(_fresh(tmp_path))
    scan = read_image(folder)
    _assert_same(scan, stack)
    mask = (scan.pixels[0] % 3).astype(np.uint8)
    written = write_mask(mask, folder, tmp_path)
    np.testing.assert_array_equal(nibabel.load(written).affine, scan.affine)
    np.testing.assert_array_equal(_case(folder, written).mask, mask)
    written.unlink()


def _lose_a_slice(folder: Path, stack: Stack) -> None:
    (stack.write(folder) / stack.names[2]).unlink()


def _show_a_place_twice(folder: Path, stack: Stack) -> None:
    stack.write(folder, ImagePositionPatient=stack.places[3].round(3).tolist())


def _repeat_an_identity(folder: Path, stack: Stack) -> None:
    stack.write(folder)
    write_dicom(folder / "again.dcm", stack.pixels[2] + 1, SOPInstanceUID="1.2.9")
    write_dicom(folder / "once more.dcm", stack.pixels[2] + 2, SOPInstanceUID="1.2.9")


def _tilt(folder: Path, stack: Stack) -> None:
    sideways = 0.05 * np.linalg.norm(stack.places[1] - stack.places[0]) * stack.axes[:, 1]
    tilted = stack.places + np.arange(len(stack.places))[:, None] * sideways
    Stack(stack.pixels, stack.axes, tilted, stack.names, stack.spacing).write(folder)


def _turn_a_slice(folder: Path, stack: Stack) -> None:
    stack.write(folder, ImageOrientationPatient=stack.axes[:, 1:].T.ravel().round(6).tolist())


def _mix(folder: Path, stack: Stack) -> None:
    stack.write(folder, SeriesInstanceUID="1.2.4")


PLANTED: dict[Callable[[Path, Stack], None], FaultCode] = {
    _lose_a_slice: FaultCode.SERIES_INCOMPLETE,
    _show_a_place_twice: FaultCode.SERIES_DUPLICATE,
    _repeat_an_identity: FaultCode.SERIES_DUPLICATE,
    _tilt: FaultCode.SERIES_TILTED,
    _turn_a_slice: FaultCode.SERIES_ORIENTATION,
    _mix: FaultCode.SERIES_MIXED,
}


@pytest.mark.fault(27)
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__.strip("_"))
@settings(max_examples=6)
@given(stack=stacks())
def test_a_series_that_is_no_straight_whole_stack_is_refused_by_name(
    tmp_path: Path, plant: Callable[[Path, Stack], None], stack: Stack
) -> None:
    folder = _fresh(tmp_path)
    plant(folder, stack)
    with pytest.raises(DataError) as refused:
        read_image(folder)
    assert {fault.code for fault in refused.value.faults} == {PLANTED[plant]}
