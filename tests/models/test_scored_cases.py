"""Which cases a model is scored on."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.base.progress import silent
from genseg.choices import Part
from genseg.errors import DataError, FaultCode, RunError
from genseg.examine.cases import LoadOptions
from genseg.examine.split import Split
from genseg.labels import LabelMap
from genseg.models.scored_cases import choose_part, scored_cases
from genseg.read.case import CaseFiles

SPLIT = Split(("a", "b"), ("c",), (), "")
BINARY = LabelMap(("background", "lesion"), {0: 0, 1: 1})


def _files(names: str, split: str | None = None) -> list[CaseFiles]:
    return [CaseFiles(name, (Path(name),), Path(name), name, split) for name in names]


@pytest.mark.parametrize(
    ("labelled", "part", "expected"),
    [
        (_files("abc") + _files("de", "test"), "test", "de"),
        (_files("abc") + _files("de", "test"), "validation", "c"),
        (_files("abc") + _files("de", "test"), "all", "abcde"),
        (_files("xyz"), "test", "xyz"),
        (_files("xyz", "train"), "test", "xyz"),
    ],
)
def test_parts(labelled: list[CaseFiles], part: Part, expected: str) -> None:
    assert [files.name for files in choose_part(labelled, part, SPLIT)] == list(expected)


@pytest.mark.parametrize(
    ("labelled", "part"), [(_files("abcd"), "test"), (_files("dc"), "test"), (_files("xyz"), "validation")]
)
def test_a_part_without_case_is_refused_rather_than_replaced(labelled: list[CaseFiles], part: Part) -> None:
    with pytest.raises(RunError, match=f"no {part} case among the {len(labelled)} labelled cases; use --split"):
        choose_part(labelled, part, SPLIT)


@pytest.fixture
def data(rgb_phantoms: Path, tmp_path: Path) -> Path:
    """A data set to be changed; its masks hold 0 and 1."""
    return shutil.copytree(rgb_phantoms, tmp_path / "data")


def _store(path: Path, factor: int) -> None:
    Image.fromarray(np.array(Image.open(path)) * np.uint8(factor)).save(path)


@pytest.mark.parametrize("labels", [BINARY, LabelMap(BINARY.names, {0: 0, 255: 1})])
@pytest.mark.parametrize("factor", [1, 255])
def test_two_classes_are_read_from_0_and_1_as_from_0_and_255(data: Path, factor: int, labels: LabelMap) -> None:
    truth = {path.stem: np.array(Image.open(path)) for path in (data / "masks").iterdir()}
    for path in (data / "masks").iterdir():
        _store(path, factor)
    cases = scored_cases(data, "test", SPLIT, (), labels, LoadOptions(), silent).cases
    assert len(cases) == 3
    assert all(np.array_equal(case.mask, truth[case.name]) for case in cases)


def test_other_values_are_refused_case_by_case_along_with_broken_files(data: Path) -> None:
    _store(data / "masks" / "phantom_007.png", 7)
    _store(data / "masks" / "phantom_009.png", 9)
    (data / "images" / "phantom_008.png").write_bytes(b"")
    with pytest.raises(DataError) as refused:
        scored_cases(data, "test", SPLIT, (), BINARY, LoadOptions(), silent)
    codes = {Path(fault.file).stem: fault.code for fault in refused.value.faults}
    assert codes == {
        "phantom_007": FaultCode.UNEXPECTED_LABEL,
        "phantom_008": FaultCode.EMPTY_FILE,
        "phantom_009": FaultCode.UNEXPECTED_LABEL,
    }


def test_cases_of_other_parts_are_not_opened(data: Path) -> None:
    (data / "images" / "phantom_000.png").write_bytes(b"")
    assert len(scored_cases(data, "test", SPLIT, (), BINARY, LoadOptions(), silent).cases) == 3
