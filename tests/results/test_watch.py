"""A watched folder: each image once, when it is complete; nothing that happens to the folder ends the watch."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from genseg.errors import DataError, Fault, FaultCode, RunError
from genseg.read.case import CaseFiles
from genseg.results.watch import EMPTY_LOOKS, watch_folder

DICOM = b"\0" * 128 + b"DICM"
TIMES = itertools.count(1_700_000_000)


def nothing() -> None:
    """Let the folder be until the next look."""


def put(path: Path, content: bytes = b"pixels", moment: int | None = None) -> Path:
    """A file, each written a second after the one before where nothing is said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    moment = next(TIMES) if moment is None else moment
    os.utime(path, (moment, moment))
    return path


def fault_of(files: CaseFiles) -> DataError:
    return DataError([Fault(FaultCode.UNREADABLE, str(files.images[0]), "noise", "an image", "Look.")])


@dataclass
class Watched:
    """What came of a watch: names handed over, and faults reported."""

    handled: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    is_stopped: bool = False


def watch(
    folder: Path, *acts: Callable[[], Any], handle: Callable[[CaseFiles], Any] | None = None, **options: Any
) -> Watched:
    """Look, act, look, act, ..., look; then the watch is stopped."""
    seen, steps = Watched(), iter(acts)

    def record(files: CaseFiles) -> None:
        seen.handled.append(files.name)
        if handle is not None:
            handle(files)

    def wait(_seconds: float) -> None:
        act = next(steps, None)
        if act is None:
            seen.is_stopped = True
        else:
            act()

    watch_folder(
        folder,
        record,
        is_stopped=lambda: seen.is_stopped,
        report=lambda error: seen.faults.extend(error.faults),
        every=0.1,
        wait=wait,
        **options,
    )
    return seen


# When an image is complete


def test_images_are_handed_over_once_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b.png", "c.nii.gz", "a.tif"):
        put(tmp_path / name)
    assert watch(tmp_path, *[nothing] * 4) == Watched(["a", "b", "c"], [], True)


def test_an_image_is_looked_at_twice_before_it_is_handed_over(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    assert watch(tmp_path).handled == []
    assert watch(tmp_path, nothing).handled == ["a"]


def test_an_image_that_comes_is_handed_over(tmp_path: Path) -> None:
    put(tmp_path / "b.png")
    come = [nothing, lambda: put(tmp_path / "a.png"), nothing, nothing]
    assert watch(tmp_path, *come).handled == ["b", "a"]


def test_an_image_that_grows_is_waited_for(tmp_path: Path) -> None:
    path = put(tmp_path / "a.png", moment=7)
    grow = [lambda: put(path, path.read_bytes() + b"more", moment=7)] * 3
    assert watch(tmp_path, *grow).handled == []
    assert watch(tmp_path, *grow, nothing).handled == ["a"]


def test_an_image_whose_size_was_taken_in_advance_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    write = [lambda: put(tmp_path / "a.png", b"PIXELS")] * 3
    assert watch(tmp_path, *write).handled == []
    assert watch(tmp_path, *write, nothing).handled == ["a"]


def test_an_empty_file_is_waited_for(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"")
    assert watch(tmp_path, nothing, nothing).handled == []
    assert watch(tmp_path, nothing, lambda: put(tmp_path / "a.png"), nothing).handled == ["a"]


def test_an_image_that_is_replaced_is_handed_over_again(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    acts = [nothing, nothing, lambda: put(tmp_path / "a.png"), nothing, nothing]
    assert watch(tmp_path, *acts).handled == ["a", "a"]


@pytest.mark.fault(69)
def test_an_image_that_is_replaced_by_an_older_one_is_handed_over_again(tmp_path: Path) -> None:
    put(tmp_path / "a.png", moment=2_000_000_000)
    acts = [nothing, nothing, lambda: put(tmp_path / "a.png", moment=1_000_000_000), nothing, nothing]
    assert watch(tmp_path, *acts).handled == ["a", "a"]


@pytest.mark.fault(69)
def test_an_image_that_is_replaced_by_one_of_the_same_size_and_time_is_handed_over_again(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"first", moment=7)
    other = put(tmp_path / "other", b"other", moment=7)
    acts = [nothing, nothing, lambda: other.replace(tmp_path / "a.png"), nothing, nothing]
    assert watch(tmp_path, *acts).handled == ["a", "a"]


@pytest.mark.fault(69)
def test_an_image_that_stays_empty_is_handed_over_for_its_fault_to_be_told(tmp_path: Path) -> None:
    put(tmp_path / "a.png", b"")
    assert watch(tmp_path, *[nothing] * (EMPTY_LOOKS - 1)).handled == []
    assert watch(tmp_path, *[nothing] * (EMPTY_LOOKS + 3)).handled == ["a"]


def test_an_image_that_takes_the_place_of_another_is_handed_over_even_if_size_and_time_are_the_same(
    tmp_path: Path,
) -> None:
    png = put(tmp_path / "a.png", moment=7)
    acts = [nothing, png.unlink, lambda: put(tmp_path / "a.bmp", moment=7), nothing, nothing]
    assert watch(tmp_path, *acts).handled == ["a", "a"]


# What is an image


@pytest.mark.parametrize(
    "name", [".a.png", ".genseg-1.png", "a.png.part", "notes.txt", "Thumbs.db", "masks/b.png", "b_mask.png"]
)
def test_what_is_no_image_is_let_be(tmp_path: Path, name: str) -> None:
    put(tmp_path / "b.png")
    put(tmp_path / name)
    assert watch(tmp_path, nothing, nothing) == Watched(["b"], [], True)


def test_a_folder_with_a_dicom_series_is_one_image_when_no_slice_comes_any_more(tmp_path: Path) -> None:
    seen: list[CaseFiles] = []
    come = [lambda n=n: put(tmp_path / "series" / f"{n}.dcm", DICOM) for n in range(3)]
    assert watch(tmp_path, *come).handled == []
    again = [nothing, nothing, lambda: put(tmp_path / "series" / "9.dcm", DICOM), nothing, nothing]
    assert watch(tmp_path, *again, handle=seen.append).handled == ["series", "series"]
    assert seen[0].images == (tmp_path / "series",)


def test_hidden_files_in_a_series_and_a_folder_within_do_not_count(tmp_path: Path) -> None:
    put(tmp_path / "series" / "1.dcm", DICOM)
    acts = [nothing, lambda: put(tmp_path / "series" / ".DS_Store"), (tmp_path / "series" / "empty").mkdir, nothing]
    assert watch(tmp_path, *acts).handled == ["series"]


@pytest.mark.parametrize(("header", "pixels"), [("a.mhd", "a.raw"), ("a.nhdr", "a.raw.gz")])
def test_a_header_is_complete_when_its_pixels_are(tmp_path: Path, header: str, pixels: str) -> None:
    put(tmp_path / header)
    grow = [lambda: put(tmp_path / pixels, b"more")] * 3
    assert watch(tmp_path, *grow).handled == []
    others = [nothing, nothing, lambda: put(tmp_path / "ab.raw"), nothing]
    assert watch(tmp_path, *grow, *others).handled == ["a"]


def test_files_of_one_channel_each_are_one_image(tmp_path: Path) -> None:
    seen: list[CaseFiles] = []
    for name in ("a_0000.nii.gz", "a_0001.nii.gz"):
        put(tmp_path / name)
    assert watch(tmp_path, nothing, nothing, channel_files=True, handle=seen.append).handled == ["a"]
    assert [path.name for path in seen[0].images] == ["a_0000.nii.gz", "a_0001.nii.gz"]


def test_two_images_of_one_name_are_reported_once_and_the_others_handed_over(tmp_path: Path) -> None:
    for name in ("a.png", "A.jpg", "b.png"):
        put(tmp_path / name)
    seen = watch(tmp_path, *[nothing] * 3)
    assert seen.handled == ["b"]
    assert [fault.code for fault in seen.faults] == [FaultCode.DUPLICATE_NAME]
    later = [nothing, lambda: put(tmp_path / "B.jpg"), nothing]
    assert len(watch(tmp_path, *later).faults) == 2
    (tmp_path / "B.jpg").unlink()
    assert watch(tmp_path, nothing, (tmp_path / "A.jpg").unlink, nothing, nothing).handled == ["b", "a"]


# What goes wrong


def test_a_bad_image_is_reported_once_and_tried_again_when_it_changes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        put(tmp_path / name)

    def fail(files: CaseFiles) -> None:
        if files.name == "a":
            raise fault_of(files)

    acts = [nothing, nothing, nothing, lambda: put(tmp_path / "a.png"), nothing, nothing]
    seen = watch(tmp_path, *acts, handle=fail)
    assert seen.handled == ["a", "b", "a"]
    assert [fault.file for fault in seen.faults] == [str(tmp_path / "a.png")] * 2


def test_an_image_that_was_read_too_early_is_tried_again_without_a_word(tmp_path: Path) -> None:
    put(tmp_path / "a.png")
    tries = itertools.count()

    def fail_at_first(files: CaseFiles) -> None:
        if next(tries) == 0:
            put(tmp_path / "a.png", b"all pixels")
            raise fault_of(files)

    assert watch(tmp_path, *[nothing] * 5, handle=fail_at_first) == Watched(["a", "a"], [], True)


def test_a_drive_that_drops_out_is_reported_once_and_waited_for(tmp_path: Path) -> None:
    folder, gone = tmp_path / "in", tmp_path / "gone"
    for name in ("a.png", "b.png"):
        put(folder / name)
    drop, back = (lambda: folder.rename(gone)), (lambda: gone.rename(folder))
    come = [nothing, drop, nothing, nothing, back, lambda: put(folder / "c.png"), nothing, drop, nothing]
    seen = watch(folder, *come)
    assert seen.handled == ["a", "b", "c"]
    assert [(fault.code, fault.file) for fault in seen.faults] == [(FaultCode.UNREADABLE, str(folder))] * 2


def test_a_drive_that_drops_out_while_an_image_is_read_loses_no_image(tmp_path: Path) -> None:
    folder, gone = tmp_path / "in", tmp_path / "gone"
    put(folder / "a.png")
    tries = itertools.count()

    def fail_at_first(files: CaseFiles) -> None:
        if next(tries) == 0:
            folder.rename(gone)
            raise fault_of(files)

    seen = watch(folder, nothing, nothing, lambda: gone.rename(folder), *[nothing] * 3, handle=fail_at_first)
    assert seen.handled == ["a", "a"]
    assert {fault.file for fault in seen.faults} == {str(folder)}


def test_a_drive_that_looks_empty_for_a_while_brings_no_image_twice(tmp_path: Path) -> None:
    folder, away = tmp_path / "in", tmp_path / "away"
    put(folder / "a.png")

    def drop() -> None:
        folder.rename(away)
        folder.mkdir()

    def come_back() -> None:
        folder.rmdir()
        away.rename(folder)

    assert watch(folder, nothing, drop, nothing, come_back, nothing, nothing).handled == ["a"]


def test_a_folder_that_is_not_there_yet_is_waited_for(tmp_path: Path) -> None:
    seen = watch(tmp_path / "in", nothing, lambda: put(tmp_path / "in" / "a.png"), nothing, nothing)
    assert seen.handled == ["a"]
    assert [fault.file for fault in seen.faults] == [str(tmp_path / "in")]


def test_what_is_no_fault_of_an_image_ends_the_watch(tmp_path: Path) -> None:
    put(tmp_path / "a.png")

    def fail(_files: CaseFiles) -> None:
        raise RunError("the folder for masks has gone")

    with pytest.raises(RunError, match="has gone"):
        watch(tmp_path, nothing, nothing, handle=fail)


# The end


def test_the_image_in_work_is_the_last_one_when_the_watch_is_stopped(tmp_path: Path) -> None:
    handled: list[str] = []
    for name in ("a.png", "b.png"):
        put(tmp_path / name)
    watch_folder(
        tmp_path,
        lambda files: handled.append(files.name),
        is_stopped=lambda: bool(handled),
        report=lambda error: pytest.fail(str(error)),
        wait=lambda _: None,
    )
    assert handled == ["a"]


def test_between_two_looks_the_watch_naps_so_that_it_soon_ends(tmp_path: Path) -> None:
    naps: list[float] = []
    watch_folder(
        tmp_path,
        lambda _: None,
        is_stopped=lambda: len(naps) == 7,
        report=lambda error: pytest.fail(str(error)),
        every=0.5,
        wait=naps.append,
    )
    assert naps == pytest.approx([0.2, 0.2, 0.1, 0.2, 0.2, 0.1, 0.2])
