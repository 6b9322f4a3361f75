"""Where an export goes is looked at before any work is done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import genseg
from genseg.base import files
from genseg.base.files import copy_together
from genseg.choices import Target
from genseg.errors import MissingExtraError, RunError
from genseg.export import exporting, place
from genseg.export.exporting import Exported

Put = Callable[[Path], Path]


def _put(path: Path, content: bytes = b"mine") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def _idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where an export begins to work."""
    for name in ("load_run", "own_cases"):
        monkeypatch.setattr(exporting, name, lambda *_, **__: pytest.fail("work was done"))


PLACES: dict[str, tuple[Target, Put, str]] = {
    "beside weights of another program": ("openvino", lambda at: _put(at / "m.bin").with_suffix(".xml"), "m.bin: is"),
    "over a model of another program": ("onnx", lambda at: _put(at / "m.onnx"), "not a model that genseg exported"),
    "over a folder": ("openvino", lambda at: _put(at / "m.bin" / "a").parent.with_suffix(".xml"), "no file"),
    "below a file": ("onnx", lambda at: _put(at / "file") / "m.onnx", "cannot be written"),
    "a name that is too long": ("onnx", lambda at: at / f"{'n' * 300}.onnx", "File name too long"),
    "a full folder": ("bundle", lambda at: _put(at / "full" / "a").parent, "not an empty folder"),
    "a file for a folder": ("bundle", lambda at: _put(at / "file"), "not an empty folder"),
    "another suffix": ("onnx", lambda at: at / "m.png", "ends in .onnx"),
}


@pytest.mark.fault(100)
@pytest.mark.usefixtures("_idle")
@pytest.mark.parametrize("name", PLACES)
def test_a_place_that_will_not_do_is_refused(picture_run: Path, rgb_phantoms: Path, tmp_path: Path, name: str) -> None:
    to, put, message = PLACES[name]
    target = put(tmp_path)
    before = {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")}
    with pytest.raises(RunError, match=message):
        genseg.export_model(picture_run, rgb_phantoms, to, target)
    assert {path: path.is_dir() or path.read_bytes() for path in tmp_path.rglob("*")} == before


@pytest.mark.fault(100)
@pytest.mark.usefixtures("_idle")
@pytest.mark.parametrize("to", ["onnx", "openvino", "bundle"])
def test_nothing_is_written_among_the_data(picture_run: Path, rgb_phantoms: Path, to: Target) -> None:
    for folder in (rgb_phantoms, rgb_phantoms / "images", rgb_phantoms / "new" / "folder"):
        with pytest.raises(RunError, match="lies in the dataset"):
            genseg.export_model(picture_run, rgb_phantoms, to, folder / "model" / place.FILES[to])


@pytest.mark.fault(100)
@pytest.mark.usefixtures("_idle")
def test_a_folder_that_cannot_be_written_to_is_refused(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(place, "TemporaryFile", refuse)
    with pytest.raises(RunError, match="Read-only file system"):
        genseg.export_model(picture_run, rgb_phantoms, "onnx", tmp_path / "m.onnx")


@pytest.mark.fault(100)
@pytest.mark.usefixtures("_idle")
def test_a_package_that_is_missing_is_told_at_once(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, "find_spec", lambda name: None if name == "nncf" else name)
    with pytest.raises(MissingExtraError, match="nncf"):
        genseg.export_model(picture_run, rgb_phantoms, "openvino", tmp_path / "m.xml", precision="int8")


def test_a_run_within_its_data_and_an_earlier_export_are_no_obstacle(exported: Exported, tmp_path: Path) -> None:
    copy = shutil.copytree(exported.path.parent, tmp_path / "data" / "run" / "export") / exported.path.name
    to: Target = "onnx" if copy.suffix == ".onnx" else "openvino"
    assert place.free_target(copy, to, tmp_path / "data", tmp_path / "data" / "run") == copy


@pytest.mark.fault(96)
@pytest.mark.parametrize("fails", ["copy", "first move", "last move"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_files_that_belong_together_are_replaced_together_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str, error: BaseException
) -> None:
    sources = [_put(tmp_path / "new" / name, b"new") for name in ("m.bin", "m.xml")]
    targets = [_put(tmp_path / "old" / name, b"old") for name in ("m.bin", "m.xml")]
    moves = {"first move": 1, "last move": 2}.get(fails, 0)

    def failing_copy(source: Path, target: Path) -> None:
        if source.suffix == ".xml":
            raise error
        target.write_bytes(source.read_bytes())

    count = 0
    replace = Path.replace

    def failing_move(self: Path, target: Path) -> Path:
        nonlocal count
        count += 1
        if count == moves:
            raise error
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing_move)
    if fails == "copy":
        monkeypatch.setattr(files.shutil, "copyfile", failing_copy)
    with pytest.raises(type(error)):
        copy_together(dict(zip(sources, targets, strict=True)))
    assert [path.read_bytes() for path in sorted((tmp_path / "old").iterdir())] == [b"old", b"old"]


def test_files_that_belong_together_take_the_place_of_others_and_of_none(tmp_path: Path) -> None:
    sources = [_put(tmp_path / "new" / name, name.encode()) for name in ("m.bin", "m.xml")]
    _put(tmp_path / "out" / "m.xml", b"old")
    copy_together({source: tmp_path / "out" / source.name for source in sources})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["m.bin", "m.xml"]
    assert [(tmp_path / "out" / source.name).read_text() for source in sources] == ["m.bin", "m.xml"]


def test_what_fails_where_nothing_was_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [_put(tmp_path / "new" / name) for name in ("m.bin", "m.xml")]
    replace = Path.replace
    seen: list[str] = []

    def failing_move(self: Path, target: Path) -> Path:
        seen.append(target.name)
        if target.name == "m.xml":
            raise OSError(5, "Input/output error")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing_move)
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError, match="Input/output"):
        copy_together({source: tmp_path / "out" / source.name for source in sources})
    assert json.dumps(seen) == '["m.bin", "m.xml"]'
    assert list((tmp_path / "out").iterdir()) == []
