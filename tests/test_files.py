from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from genseg.files import atomic_folder, atomic_path, atomic_write_bytes, atomic_write_csv, file_name, printable


def test_bytes_are_written_and_replace_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    atomic_write_bytes(target, b"old")
    atomic_write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.fault(29)
def test_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "weights.bin"
    target.write_bytes(b"old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_bytes(b"ha")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_target_is_untouched_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "mask.nrrd"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"all")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".nrrd"
    assert target.read_bytes() == b"all"


def test_content_reaches_the_disk_before_the_move(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "weights.bin"
    seen: list[bool] = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.append(target.exists()))
    atomic_write_bytes(target, b"new")
    assert seen[0] is False


@pytest.mark.parametrize("name", ["ä 🩻 b.png", "-x.png", "CON", "a\nb.png", "n" * 251 + ".png", "x." + "n" * 253])
def test_any_legal_name_works(tmp_path: Path, name: str) -> None:
    atomic_write_bytes(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        atomic_write_bytes(tmp_path / "absent" / "a.bin", b"")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("scan 1.png", "scan 1.png"),
        ("Größe 🩻.png", "Größe 🩻.png"),
        ("a\nb.png", "a\\nb.png"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\udcff.png", "\\udcff.png"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
    ],
)
def test_printable_escapes_what_is_not_text(name: str, shown: str) -> None:
    assert printable(Path(name)) == shown


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, is_there: bool) -> None:
    target = tmp_path / "set"
    if is_there:
        target.mkdir()

    def fill(error: type[BaseException] | None) -> None:
        with atomic_folder(target) as folder:
            (folder / "part").write_text("1")
            assert not (target / "part").exists()
            if error is not None:
                raise error

    with pytest.raises(KeyboardInterrupt):
        fill(KeyboardInterrupt)
    assert list(tmp_path.rglob("*")) == [target] * is_there
    fill(None)
    assert sorted(tmp_path.rglob("*")) == [target, target / "part"]


def test_a_folder_that_holds_something_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "notes.txt").write_text("mine")
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "set"):
        pass
    assert [path.name for path in tmp_path.rglob("*")] == ["set", "notes.txt"]


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    name = 'Größe, "Δ"\n肝'
    atomic_write_csv(tmp_path / "a.csv", ("name", "size"), [(name, 1.5), ("b", None), ("c", -3)])
    assert _read_csv(tmp_path / "a.csv") == [["name", "size"], [name, "1.5"], ["b", ""], ["c", "-3"]]
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_a_name_whose_bytes_are_no_text_is_written_with_escapes(tmp_path: Path) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name",), [("a\udcff",)])
    assert _read_csv(tmp_path / "a.csv")[1] == ["a\\udcff"]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\n", "\uff1d"])
def test_no_text_of_a_table_is_run_as_a_formula(tmp_path: Path, start: str) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name",), [(f"{start}cmd|'/c calc'!A0",)])
    assert _read_csv(tmp_path / "a.csv")[1] == [f"'{start}cmd|'/c calc'!A0"]


def test_no_name_breaks_a_row(tmp_path: Path) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name", "size"), [("a\r=1", 1)])
    assert _read_csv(tmp_path / "a.csv") == [["name", "size"], ["a\\r=1", "1"]]


def test_a_table_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name",), [("old",)])
    with pytest.raises(ZeroDivisionError):
        atomic_write_csv(tmp_path / "a.csv", ("name",), ((1 / number,) for number in (1, 0)))
    assert _read_csv(tmp_path / "a.csv") == [["name"], ["old"]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.fault(81)
@pytest.mark.parametrize("stem", ["a" * 255, "\u00e4" * 127 + "a", "\U0001f9e0" * 63 + "abc", "b" * 249])
@pytest.mark.parametrize("suffix", [".png", ".nii.gz", ".ome.tif"])
def test_any_name_can_be_given_another_suffix(tmp_path: Path, stem: str, suffix: str) -> None:
    name = file_name(stem, suffix)
    assert name.endswith(suffix)
    assert name[:50] == stem[:50]
    atomic_write_bytes(tmp_path / name, b"mask")
    assert file_name(stem, suffix) == name
    assert file_name(stem[:-1] + "d", suffix) != name
    assert file_name("p07", suffix) == f"p07{suffix}"
