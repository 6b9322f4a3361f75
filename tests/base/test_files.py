from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from genseg.base.files import (
    append_csv,
    append_line,
    atomic_folder,
    atomic_path,
    atomic_write_bytes,
    atomic_write_csv,
    combined_sha256,
    file_name,
    file_sha256,
    inner_folder,
    printable,
    sweep,
    temporary_name,
)
from genseg.errors import RunError


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


def test_the_hash_of_one_file_is_that_of_other_tools_and_of_several_depends_on_their_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    one = file_sha256(tmp_path / "a")
    assert one == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, B.1
    assert combined_sha256([one]) == one
    assert combined_sha256([one, "0"]) != combined_sha256(["0", one])


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


@pytest.mark.fault(97)
def test_folders_made_for_one_that_fails_do_not_stay(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "a" / "b" / "set"):
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match=r"No space.*a/b/set"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault(94)
def test_a_link_in_the_place_of_a_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("private")
    (tmp_path / "mine").symlink_to(tmp_path / "theirs")
    atomic_write_bytes(tmp_path / "mine", b"new")
    assert (tmp_path / "theirs").read_text() == "private"
    assert (tmp_path / "mine").read_bytes() == b"new"
    assert not (tmp_path / "mine").is_symlink()


@pytest.mark.fault(94)
def test_a_folder_is_made_within_another_and_not_through_a_link_out_of_it(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    assert inner_folder(root, "a/b").is_dir()
    assert inner_folder(root, ".") == root
    (root / "within").symlink_to(root / "a")
    assert inner_folder(root, "within/c").samefile(root / "a" / "c")
    for target in (other, tmp_path):
        (root / "out").unlink(missing_ok=True)
        (root / "out").symlink_to(target)
        with pytest.raises(RunError, match="out/c: a link leads out of"):
            inner_folder(root, "out/c")
    assert not other.exists()


def test_a_line_is_added(tmp_path: Path) -> None:
    for line in ("1\n", "2\n"):
        append_line(tmp_path / "a", line)
    assert (tmp_path / "a").read_bytes() == b"1\n2\n"


def _temporary_of(number: int, machine: str = "", process: str = "00000000") -> str:
    """The name of something temporary of another process."""
    prefix, own_machine, *_, token = temporary_name().split("-")
    return "-".join([prefix, machine or own_machine, str(number), process, token])


@pytest.mark.fault(70)
def test_what_dead_processes_have_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as living:
        dead, own = 2**22 + 1, os.getpid()  # a number beyond the largest that Linux gives
        gone = [_temporary_of(dead), f"{_temporary_of(dead)}.nii.gz", _temporary_of(own)]
        staying = [
            *(temporary_name(), _temporary_of(living.pid), _temporary_of(dead, "ffffffff")),
            *(".genseg-beginning", ".genseg-mine", f"x{_temporary_of(dead)}", "a.png"),
        ]
        for name in (*gone[:-1], *staying):
            (tmp_path / name).write_bytes(b"")
        (tmp_path / gone[-1] / "images").mkdir(parents=True)
        sweep(tmp_path)
        living.communicate()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(staying)


def test_sweeping_where_there_is_nothing_is_no_error(tmp_path: Path) -> None:
    sweep(tmp_path / "absent")


def _read_csv(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    name = 'Größe, "Δ" 肝'
    atomic_write_csv(tmp_path / "a.csv", ("name", "size"), [(name, 1.5), ("b", None), ("c", -3)])
    assert _read_csv(tmp_path / "a.csv") == [["name", "size"], [name, "1.5"], ["b", ""], ["c", "-3"]]
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()


def test_rows_that_are_added_read_like_those_that_were_there(tmp_path: Path) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name", "size"), [("a", 1)])
    append_csv(tmp_path / "a.csv", [("=b\n", 2), ("c", None)])
    assert _read_csv(tmp_path / "a.csv") == [["name", "size"], ["a", "1"], ["'=b\\n", "2"], ["c", ""]]


@pytest.mark.fault(91)
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d"])
def test_no_text_of_a_table_is_run_as_a_formula(tmp_path: Path, start: str) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name",), [(f"{start}cmd|'/c calc'!A0",)])
    assert _read_csv(tmp_path / "a.csv")[1] == [f"'{start}cmd|'/c calc'!A0"]


@pytest.mark.fault(91)
@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("a\nb\tc\rd\x00", "a\\nb\\tc\\rd\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b2J", "\\x9b2J"),
        ("a\udcff", "a\\udcff"),
        ("a\\nb", "a\\\\nb"),
        ("\t=1", "\\t=1"),
        ("a;=1", "a\\x3b=1"),
        ('a; "=1', 'a\\x3b "=1'),
        ("a;b", "a;b"),
        ("'=1", "''=1"),
        ("it's", "it's"),
    ],
)
def test_control_characters_stand_in_tables_as_escapes_that_can_be_undone(tmp_path: Path, text: str, cell: str) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name", "size"), [(text, 1)])
    assert _read_csv(tmp_path / "a.csv") == [["name", "size"], [cell, "1"]]
    undone = cell.removeprefix("'") if cell.startswith("'") else cell
    assert undone.encode("latin-1").decode("unicode_escape") == text


def test_a_table_that_fails_halfway_leaves_the_old_one(tmp_path: Path) -> None:
    atomic_write_csv(tmp_path / "a.csv", ("name",), [("old",)])
    with pytest.raises(ZeroDivisionError):
        atomic_write_csv(tmp_path / "a.csv", ("name",), ((1 / number,) for number in (1, 0)))
    assert _read_csv(tmp_path / "a.csv") == [["name"], ["old"]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


@pytest.mark.fault(88)
def test_a_source_that_is_missing_is_named_and_not_the_target(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "target.bin") as unfinished:
        shutil.copyfile(tmp_path / "gone.bin", unfinished)
    assert str(caught.value.filename) == str(tmp_path / "gone.bin")
    assert not list(tmp_path.iterdir())


def test_a_target_that_was_never_written_is_named_by_its_own_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "target.bin"):
        pass
    assert caught.value.filename == str(tmp_path / "target.bin")


@pytest.mark.fault(97)
def test_an_error_names_the_file_that_was_wanted_and_no_temporary_one(tmp_path: Path) -> None:
    def copy() -> None:
        with atomic_path(tmp_path / "m.onnx") as temporary:
            raise OSError(28, "No space left on device", "/tmp/m.onnx", None, str(temporary))

    with pytest.raises(OSError, match=r"^\[Errno 28\] No space left on device: '.*m.onnx'$") as raised:
        copy()
    assert ".genseg-" not in str(raised.value)


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
