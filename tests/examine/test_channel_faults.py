"""What a check says of single channels: empty ones, such as scaling empties, swapped and copied ones."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from genseg.errors import Fault, FaultCode
from genseg.examine.check import Examination, examine
from genseg.index import Index, index_dataset

pytestmark = pytest.mark.fault(56)
Write = Callable[..., Path]
SIDE = 10


def _ct(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    return random.choice([-1000.0, -80.0, 40.0, 60.0, 900.0], (SIDE,) * 3).astype(np.float32)


def _pet(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).gamma(1.5, 1.0, (SIDE,) * 3).astype(np.float32)


def _volumes(folder: Path, names: Mapping[str, str], channels: Callable[[int], list[NDArray[Any]]]) -> Path:
    """Six cases of nnU-Net's lay-out. channels: the files of a case by its number."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    mask = np.zeros((SIDE,) * 3, np.uint8)
    mask[2:7, 2:7, 2:7] = 1
    for case in range(6):
        for number, pixels in enumerate(channels(case)):
            nibabel.save(nibabel.Nifti1Image(pixels, np.eye(4)), folder / "imagesTr" / f"p{case}_000{number}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, np.eye(4)), folder / "labelsTr" / f"p{case}.nii.gz")
    described = {"channel_names": names, "labels": {"background": 0, "lesion": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({**described, "numTraining": 6}))
    return folder


NAMES = {"0": "CT", "1": "PET"}


def _checked(folder: Path) -> Examination:
    return examine(index_dataset(folder))


def _only(examination: Examination, code: FaultCode) -> Fault:
    (fault,) = examination.faults
    assert (fault.code, fault.stops) == (code, False)
    return fault


def test_ct_and_pet_in_order_have_nothing_said_of_them(tmp_path: Path) -> None:
    found = _checked(_volumes(tmp_path / "set", NAMES, lambda n: [_ct(n), _pet(n)]))
    assert found.faults == ()
    assert [channel.rule.rule for channel in found.statistics.by_channel] == ["window", "z-score"]


def test_a_channel_without_contrast_is_named_with_its_cases(tmp_path: Path) -> None:
    found = _checked(
        _volumes(tmp_path / "set", NAMES, lambda n: [_ct(n), np.zeros_like(_pet(n)) if n % 2 else _pet(n)])
    )
    fault = _only(found, FaultCode.CONSTANT_IMAGE)
    assert fault.found == "channel 1 (PET) has the same value everywhere in 3 of 6 images (p1, p3, p5)"


def test_an_empty_channel_of_pictures_is_named(tmp_path: Path) -> None:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = np.zeros((24, 24), np.uint8)
    mask[5:12, 5:12] = 1
    for case in range(3):
        pixels = np.random.default_rng(case).integers(0, 4000, (3, 24, 24)).astype(np.uint16)
        pixels[2] = 0
        tifffile.imwrite(tmp_path / "images" / f"{case}.tif", np.moveaxis(pixels, 0, -1), photometric="rgb")
        tifffile.imwrite(tmp_path / "masks" / f"{case}.tif", mask)
    fault = _only(_checked(tmp_path), FaultCode.CONSTANT_IMAGE)
    assert fault.found == "channel 2 has the same value everywhere in 3 of 3 images (0, 1, 2)"


def test_a_case_in_other_units_of_which_scaling_leaves_nothing_is_named(tmp_path: Path) -> None:
    # Hounsfield units and, in one case, values from 0 to 1: the window of the others has them all at one end.
    def channels(number: int) -> list[NDArray[Any]]:
        ct = np.random.default_rng(number).uniform(50, 300, (SIDE,) * 3)
        return [(ct / 1000 if number == 4 else ct).astype(np.float32)]

    found = _checked(_volumes(tmp_path / "set", {"0": "CT"}, channels))
    fault = _only(found, FaultCode.CONSTANT_IMAGE)
    assert fault.found.startswith("channel 0 (CT) is almost the same everywhere once scaled (window ")
    assert fault.found.endswith("in 1 of 6 images (p4)")


def test_channels_that_are_swapped_in_a_case_are_found_by_their_values(tmp_path: Path) -> None:
    names = {"0": "a", "1": "b"}
    folder = _volumes(tmp_path / "set", names, lambda n: [_pet(n), _ct(n)] if n == 2 else [_ct(n), _pet(n)])
    lost, swapped = sorted(_checked(folder).faults, key=lambda fault: fault.code == FaultCode.CHANNEL_CONTENT)
    assert swapped.found == "values of a CT in another channel than most cases have them in: 1 of 6 images (p2)"
    assert lost.found.startswith("channel 0 (a) is almost the same everywhere once scaled (window ")


def test_names_that_are_swapped_are_found_by_the_values(tmp_path: Path) -> None:
    found = _checked(_volumes(tmp_path / "set", {"0": "PET", "1": "CT"}, lambda n: [_ct(n), _pet(n)]))
    fault = _only(found, FaultCode.CHANNEL_CONTENT)
    assert fault.found == "channel 0 (PET) with values down to -1000, as CT has them"


def test_one_channel_file_in_two_cases_or_twice_in_one_is_found(tmp_path: Path) -> None:
    def channels(number: int) -> list[NDArray[Any]]:
        return [_ct(number), _pet(0 if number == 3 else number)] if number != 5 else [_ct(5), _ct(5)]

    faults = _checked(_volumes(tmp_path / "set", {"0": "a", "1": "b"}, channels)).faults
    (fault,) = [fault for fault in faults if fault.code is FaultCode.DUPLICATE_IMAGE]
    assert fault.found == "channel files that are equal to the byte in 3 of 6 images (p0, p3, p5)"


def test_whole_copies_are_said_to_be_such_alone(tmp_path: Path) -> None:
    folder = _volumes(tmp_path / "set", NAMES, lambda n: [_ct(n), _pet(n)])
    for number in range(2):
        shutil.copy(folder / "imagesTr" / f"p0_000{number}.nii.gz", folder / "imagesTr" / f"p1_000{number}.nii.gz")
    assert _only(_checked(folder), FaultCode.DUPLICATE_IMAGE).found.startswith("the same image as")


def test_names_in_another_number_than_channels_are_said_to_count_for_nothing(tmp_path: Path) -> None:
    folder = _volumes(tmp_path / "set", {"0": "CT"}, lambda n: [_ct(n)])
    index = index_dataset(folder)
    named = Index(**{**vars(index), "channel_names": ("CT", "PET")})
    fault = _only(examine(named), FaultCode.CHANNEL_MISMATCH)
    assert fault.found == "2 channel names (CT, PET) for images of 1 channel(s)"


def test_values_that_no_eight_bits_hold_are_said_of_a_channel_so_named(tmp_path: Path) -> None:
    found = _checked(_volumes(tmp_path / "set", {"0": "rgb_to_0_1"}, lambda n: [100 * _pet(n)]))
    assert "channel 0 (rgb_to_0_1) with values of " in _only(found, FaultCode.CHANNEL_CONTENT).found
    assert found.statistics.by_channel[0].rule.rule == "z-score"


@pytest.mark.parametrize("swapped", [(), (4,)])
def test_dicom_says_of_each_channel_file_what_it_is(
    tmp_path: Path, write_series: Write, swapped: tuple[int, ...]
) -> None:
    """Without a name, and with values that tell nothing, the files' own tags decide, each for its channel."""
    (tmp_path / "masks").mkdir()
    entries = []
    mask = np.zeros((SIDE,) * 3, np.uint8)
    mask[2:7, 2:7, 2:7] = 1
    from genseg.read.case import CaseFiles

    for case in range(6):
        kinds = ("PT", "CT") if case in swapped else ("CT", "PT")
        folders = []
        for number, kind in enumerate(kinds):
            folder = tmp_path / f"{case}-{number}"
            voxels = np.random.default_rng(10 * case + number).integers(0, 900, (SIDE,) * 3).astype(np.uint16)
            write_series(folder, voxels, Modality=kind)
            folders.append(folder)
        affine = _affine_of(folders[0])
        nibabel.save(nibabel.Nifti1Image(mask, affine), tmp_path / "masks" / f"{case}.nii.gz")
        entries.append(CaseFiles(f"{case}", tuple(folders), tmp_path / "masks" / f"{case}.nii.gz", f"{case}"))
    found = examine(Index(tmp_path, "by hand", tuple(entries), None, None, "", (), (), 0, ()))
    assert [channel.modality for channel in found.statistics.by_channel] == ["ct", "pet"]
    assert [channel.rule.rule for channel in found.statistics.by_channel] == ["window", "z-score"]
    assert [fault.found for fault in found.faults] == [
        f"channel {number} is {kind} in 1 of 6 images (4)" for number, kind in enumerate(("PET", "CT")) if swapped
    ]


def _affine_of(folder: Path) -> NDArray[np.float64]:
    from genseg.read import read_image

    affine = read_image(folder).affine
    assert affine is not None
    return affine
