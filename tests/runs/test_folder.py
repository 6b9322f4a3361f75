"""A run folder is whole or not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from genseg.errors import RunError
from genseg.read.case import Case
from genseg.runs import folder as run_folder
from genseg.runs.folder import (
    BEGINNING,
    RunFolder,
    and_unlabelled,
    fingerprint,
    last_begun,
    new_run_folder,
    with_fewer_images,
)


def _case(name: str = "a", sha256: str = "1", foreground: int = 3) -> Case:
    mask = np.zeros((4, 4), np.uint8)
    mask.ravel()[:foreground] = 1
    return Case(name, np.zeros((1, 4, 4)), mask, (1.0, 1.0), None, name, "gray", sha256)


def _begin_and_fail(path: Path, written: str, error: type[BaseException]) -> None:
    with new_run_folder(path) as run:
        (run.path / written).write_text("{}")
        raise error


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with new_run_folder(tmp_path / "runs" / "first") as run:
        assert [path.name for path in run.path.iterdir()] == [BEGINNING]
    assert list((tmp_path / "runs" / "first").iterdir()) == []


@pytest.mark.fault(30)
def test_what_a_killed_beginning_has_left_makes_way_and_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("mine")
    with pytest.raises(RunError, match="not empty"), new_run_folder(tmp_path):
        pass
    (tmp_path / BEGINNING).touch()  # then it was the process's own
    (tmp_path / ".genseg-0123").write_text("half")
    with new_run_folder(tmp_path):
        pass
    (tmp_path / BEGINNING).touch()
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"), new_run_folder(tmp_path):
        pass
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.fault(37)
def test_a_folder_that_holds_something_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("mine")
    with pytest.raises(RunError, match=r"not empty.*--resume"), new_run_folder(tmp_path):
        pass
    assert (tmp_path / "plan.yaml").read_text() == "mine"


@pytest.mark.parametrize("below", ["", "below", "below/that"])
def test_a_file_in_the_way_is_refused(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(RunError, match="choose another -o"), new_run_folder(tmp_path / "file" / below):
        pass
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["n" * 300, "missing/" * 3 + "n" * 300])
def test_a_name_that_the_system_refuses_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="File name too long"), new_run_folder(tmp_path / name):
        pass


@pytest.mark.fault(37)
def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(run_folder, "TemporaryFile", refuse)
    with pytest.raises(RunError, match="Read-only file system"), new_run_folder(tmp_path):
        pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, RunError])
def test_when_the_beginning_fails_nothing_of_it_stays(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error):
        _begin_and_fail(tmp_path / "runs" / "first", "split.json", error)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_before_stays(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no"), new_run_folder(tmp_path):
        raise RunError("no")
    assert tmp_path.is_dir()


def test_what_others_put_there_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _begin_and_fail(tmp_path / "runs" / "first", "notes.txt", KeyboardInterrupt)
    assert [path.name for path in tmp_path.rglob("*.*")] == ["notes.txt"]


def test_only_run_folders_can_be_opened(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="not a run folder"):
            RunFolder.open(path)


@pytest.mark.parametrize("content", [None, "{", "[]", "\xff"])
def test_a_file_that_is_missing_or_broken_is_named(run: RunFolder, content: str | None) -> None:
    if content is not None:
        (run.path / "cases.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=r"cases\.json"):
        run.check_cases([])


def test_the_fingerprint_is_that_of_image_and_mask() -> None:
    assert fingerprint(_case()) == fingerprint(_case())
    others = [_case(sha256="2"), _case(foreground=4), replace(_case(), mask=None)]
    assert len({fingerprint(case) for case in (_case(), *others)}) == 4


@pytest.mark.fault(45)
def test_all_cases_that_are_not_those_of_before_are_named(run: RunFolder) -> None:
    before = [_case(name) for name in "abcd"]
    run.write_json("cases.json", {case.name: fingerprint(case) for case in before})
    run.check_cases(before[::-1])
    with pytest.raises(RunError, match="changed: b, c; added: x; missing: d"):
        run.check_cases([_case("a"), _case("b", sha256="2"), _case("c", foreground=9), _case("x")])


def test_of_a_training_begun_anew_with_fewer_images_the_last_counts(tmp_path: Path) -> None:
    plain = tmp_path / "joint-fold-0"
    assert last_begun(plain) == plain
    for images in (8, 16):
        with_fewer_images(plain, images).mkdir()
    (tmp_path / "joint-fold-01-with-2-images").mkdir()
    assert last_begun(plain) == last_begun(with_fewer_images(plain, 16)) == with_fewer_images(plain, 8)
    assert and_unlabelled(last_begun(plain)).name == "joint-and-unlabelled-fold-0-with-8-images"
