"""A folder of masks and its tables: no mask of another image, no row of another mask, whatever happened before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import nibabel
import numpy as np
import pytest
from csv_rows import read_rows
from PIL import Image

from genseg.base.files import file_sha256
from genseg.errors import DataError, FaultCode, RunError
from genseg.models.model import Model
from genseg.results import folder as predicting
from genseg.results import mask_folder as writing
from genseg.results.folder import PredictedCase
from genseg.results.mask_folder import unrecorded
from genseg.results.watch import watch_folder

MakeModel = Callable[..., Model]
Write = Callable[..., Path]


class Killed(BaseException):
    """Ends a process at once, as SIGKILL does."""


@pytest.fixture
def scans(tmp_path: Path, write_picture: Write) -> Path:
    """Three different pictures, a to c."""
    for number, name in enumerate("abc"):
        write_picture(tmp_path / "scans" / f"{name}.png", (20 + number, 24))
    return tmp_path / "scans"


def masks_of(folder: Path) -> dict[str, str]:
    """The masks that lie in a folder, with their hashes."""
    return {path.name: file_sha256(path) for path in sorted(folder.glob("*.png"))}


def assert_tables_tell_of_what_lies_there(folder: Path, images: dict[str, Path]) -> None:
    """images: of each mask, by its name, the image that it must be of."""
    rows = {row["mask"]: row for row in read_rows(folder / "predictions.csv")}
    assert rows.keys() == masks_of(folder).keys() == images.keys()
    assert {name: row["image_sha256"] for name, row in rows.items()} == {
        name: file_sha256(path) for name, path in images.items()
    }
    for row in read_rows(folder / "measurements.csv"):
        mask = np.array(Image.open(folder / f"{row['case']}.png"))
        assert int(row["pixels"]) == np.count_nonzero(mask == ("organ", "vessel").index(row["class"]) + 1)


def all_of(scans: Path, out: Path, names: str) -> None:
    assert_tables_tell_of_what_lies_there(out, {f"{name}.png": scans / f"{name}.png" for name in names})


@pytest.mark.fault(71)
def test_the_table_names_image_and_model_by_their_hashes(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    make_model().predict_folder(scans, tmp_path / "out")
    all_of(scans, tmp_path / "out", "abc")
    assert {row["model_sha256"] for row in read_rows(tmp_path / "out" / "predictions.csv")} == {"0" * 64}
    told = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert {one["mask"]["path"]: one["mask"]["sha256"] for one in told} == masks_of(tmp_path / "out")


@pytest.mark.fault(71)
def test_masks_of_the_same_images_and_model_are_kept(
    make_model: MakeModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = make_model().predict_folder(scans, out, extras=["contours"])
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    monkeypatch.setattr(Model, "examine_case", lambda *_: pytest.fail("segmented again"))
    again = make_model().predict_folder(scans, out, extras=["contours"])
    assert [case.state for case in again] == ["kept"] * 3
    assert [replace(case, state="new") for case in again] == first
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


@pytest.mark.fault(69)
@pytest.mark.parametrize("age", [1_000_000_000, 3_000_000_000])
def test_the_mask_of_an_image_that_was_replaced_makes_way_for_its_own(
    make_model: MakeModel, write_picture: Write, scans: Path, tmp_path: Path, age: int
) -> None:
    out, model = tmp_path / "out", make_model()
    extras = ["overlays", "confidence", "contours"]
    model.predict_folder(scans, out, extras=extras)
    before, size = masks_of(out), (scans / "b.png").stat().st_size
    write_picture(scans / "b.png", (30, 31))
    os.utime(scans / "b.png", (age, age))
    assert (scans / "b.png").stat().st_size != size
    cases = model.predict_folder(scans, out, extras=extras)
    assert [case.state for case in cases] == ["kept", "new", "kept"]
    moved = cases[1].set_aside
    assert moved is not None
    assert file_sha256(moved) == before["b.png"]
    all_of(scans, out, "abc")
    assert np.array_equal(np.array(Image.open(out / "b.png")), model.predict(scans / "b.png"))
    place = moved.parent
    assert [row["case"] for row in read_rows(place / "predictions.csv")] == ["b"]
    assert {row["case"] for row in read_rows(place / "contours.csv")} == {"b"}
    assert sorted(path.relative_to(place).as_posix() for path in place.rglob("*.png")) == [
        *("b.png", "confidence/b.png", "overlays/b.png")
    ]
    assert [row["case"] for row in read_rows(out / "contours.csv")].count("b") > 0


@pytest.mark.fault(69)
def test_content_decides_where_size_and_time_are_the_same(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_model()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
    for name, content in (("a.bmp", pixels), ("b.bmp", pixels[::-1])):
        Image.fromarray(content).save(tmp_path / name)
        os.utime(tmp_path / name, (7, 7))
    shutil.rmtree(scans)
    scans.mkdir()
    shutil.copy2(tmp_path / "a.bmp", scans / "x.bmp")
    model.predict_folder(scans, out)
    shutil.copy2(tmp_path / "b.bmp", scans / "x.bmp")
    (case,) = model.predict_folder(scans, out)
    assert case.state == "new"
    assert np.array_equal(np.array(Image.open(case.mask)), model.predict(tmp_path / "b.bmp"))


@pytest.mark.fault(69)
@pytest.mark.parametrize("damage", [b"", b"noise"])
def test_where_the_new_image_is_damaged_the_old_mask_is_moved_and_both_is_said(
    make_model: MakeModel, scans: Path, tmp_path: Path, damage: bytes
) -> None:
    out = tmp_path / "out"
    make_model().predict_folder(scans, out)
    (scans / "b.png").write_bytes(damage)
    shutil.copy(scans / "c.png", scans / "a.png")
    with pytest.raises(DataError) as refused:
        make_model().predict_folder(scans, out)
    first, second = refused.value.faults
    assert (first.file, second.file) == (str(scans / "b.png"), str(out))
    assert (second.code, second.stops) == (FaultCode.MASK_SET_ASIDE, False)
    assert "2 earlier masks" in second.found
    assert sorted(path.name for path in (out / "replaced").rglob("*.png")) == ["a.png", "b.png"]
    assert all(str(path.relative_to(out)) in second.cure for path in (out / "replaced").rglob("*.png"))
    all_of(scans, out, "ac")


@pytest.mark.fault(69)
def test_an_image_with_the_same_content_and_another_time_keeps_its_mask(
    make_model: MakeModel, scans: Path, tmp_path: Path
) -> None:
    make_model().predict_folder(scans, tmp_path / "out")
    (scans / "a.png").write_bytes((scans / "a.png").read_bytes())
    os.utime(scans / "b.png", (7, 7))
    (scans / "c.png").rename(tmp_path / "c.png")
    shutil.copy(tmp_path / "c.png", scans / "c.png")
    assert [case.state for case in make_model().predict_folder(scans, tmp_path / "out")] == ["kept"] * 3


@pytest.mark.fault(69)
@pytest.mark.parametrize("new_name", ["a.bmp", "A.png"])
def test_another_suffix_or_letter_case_leaves_one_mask(
    make_model: MakeModel, scans: Path, tmp_path: Path, new_name: str
) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out)
    picture = Image.open(scans / "b.png").copy()
    (scans / "a.png").unlink()
    picture.save(scans / new_name)
    case = next(case for case in model.predict_folder(scans, out) if case.name.lower() == "a")
    assert (case.state, case.set_aside is None) == ("new", False)
    assert_tables_tell_of_what_lies_there(
        out, {case.mask.name: scans / new_name, "b.png": scans / "b.png", "c.png": scans / "c.png"}
    )


@pytest.mark.fault(69)
def test_images_that_have_gone_leave_their_masks_and_rows(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    make_model().predict_folder(scans, tmp_path / "out")
    (scans / "a.png").rename(tmp_path / "a.png")
    (scans / "b.png").rename(scans / "d.png")
    make_model().predict_folder(scans, tmp_path / "out")
    places = {"a": tmp_path / "a.png", "b": scans / "d.png", "c": scans / "c.png", "d": scans / "d.png"}
    assert_tables_tell_of_what_lies_there(tmp_path / "out", {f"{name}.png": path for name, path in places.items()})


@pytest.mark.fault(71)
@pytest.mark.parametrize("change", ["weights", "settings"])
def test_masks_by_another_model_make_way(make_model: MakeModel, scans: Path, tmp_path: Path, change: str) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out)
    (scans / "c.png").rename(tmp_path / "c.png")
    other = replace(model, sha256="1" * 64) if change == "weights" else model.without_mirroring()
    cases = other.predict_folder(scans, out)
    assert [case.set_aside is not None for case in cases] == [True, True]
    assert len({case.set_aside.parent for case in cases if case.set_aside}) == 1
    makers = {row["mask"]: row["model_sha256"] for row in read_rows(out / "predictions.csv")}
    assert makers == {"a.png": other.sha256, "b.png": other.sha256, "c.png": model.sha256}


@pytest.mark.fault(71)
def test_a_mask_that_a_person_has_edited_is_left_alone_and_has_no_row(
    make_model: MakeModel, scans: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out, extras=["contours"])
    Image.new("L", (24, 21), 1).save(out / "b.png")
    edited = (out / "b.png").read_bytes()
    cases = model.predict_folder(scans, out, extras=["contours"])
    assert [(case.state, case.expected_dice is None) for case in cases][1] == ("edited", True)
    assert (out / "b.png").read_bytes() == edited
    for table in ("predictions.csv", "measurements.csv", "contours.csv"):
        assert {row["case"] for row in read_rows(out / table)} == {"a", "c"}
    cases = replace(model, sha256="1" * 64).predict_folder(scans, out)
    assert cases[1].set_aside is not None
    assert cases[1].set_aside.read_bytes() == edited
    all_of(scans, out, "abc")


@pytest.mark.fault(71)
def test_a_mask_that_was_deleted_is_made_again(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out, extras=["overlays"])
    (out / "b.png").unlink()
    cases = model.predict_folder(scans, out, extras=["overlays"])
    assert [(case.state, case.set_aside) for case in cases] == [("kept", None), ("new", None), ("kept", None)]
    all_of(scans, out, "abc")


def test_what_is_asked_for_later_is_added(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out)
    before = masks_of(out)
    for extras in (["overlays"], ["contours"], ["overlays", "contours"]):
        model.predict_folder(scans, out, extras=extras)
    assert masks_of(out) == before
    assert not (out / "replaced").exists()
    all_of(scans, out, "abc")
    model.predict_folder(scans, tmp_path / "other", extras=["overlays", "contours"])
    assert (out / "contours.csv").read_bytes() == (tmp_path / "other" / "contours.csv").read_bytes()
    assert sorted(path.name for path in (out / "overlays").iterdir()) == ["a.png", "b.png", "c.png"]


@pytest.mark.fault(71)
def test_files_of_someone_else_are_never_replaced(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in ("A.nii.gz", "b.png"):
        (out / name).write_text("an expert's")
    with pytest.raises(RunError, match=r"files that genseg did not write \(A.nii.gz, b.png\)"):
        make_model().predict_folder(scans, out)
    (out / "A.nii.gz").unlink()
    (out / "b.png").rename(out / "z.png")
    make_model().predict_folder(scans, out)
    assert unrecorded(out) == ["z.png"]
    assert (out / "z.png").read_text() == "an expert's"


@pytest.mark.fault(71)
def test_tables_of_someone_else_and_masks_of_other_dimensions_are_refused(
    make_model: MakeModel, scans: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.csv").write_text("mine")
    with pytest.raises(RunError, match=r"holds predictions.csv but no manifest.jsonl"):
        make_model().predict_folder(scans, tmp_path / "out")
    assert (tmp_path / "out" / "predictions.csv").read_text() == "mine"
    make_model().predict_folder(scans, tmp_path / "other")
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(12, 12, 12)), np.eye(4)), tmp_path / "v.nii")
    with pytest.raises(RunError, match="holds masks of pictures, and this model segments volumes"):
        make_model(rank=3, channels=1).predict_folder(tmp_path / "v.nii", tmp_path / "other")


@pytest.mark.fault(71)
@pytest.mark.parametrize(
    "line",
    ["[]", "{", '{"format": 2}', "null"],
)
def test_a_damaged_manifest_is_named(make_model: MakeModel, scans: Path, tmp_path: Path, line: str) -> None:
    make_model().predict_folder(scans, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    manifest.write_text(f"{line}\n{manifest.read_text()}")
    with pytest.raises(RunError, match=r"manifest.jsonl: damaged"):
        make_model().predict_folder(scans, tmp_path / "out")


@pytest.mark.fault(94)
@pytest.mark.parametrize("path", ["../x.png", "/x.png", "a/b/c.png", ""])
def test_a_manifest_that_leads_out_of_its_folder_is_refused(
    make_model: MakeModel, scans: Path, tmp_path: Path, path: str
) -> None:
    make_model().predict_folder(scans, tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.jsonl"
    told = json.loads(manifest.read_text().splitlines()[0])
    told["mask"]["path"] = path
    manifest.write_text(json.dumps(told) + "\n")
    with pytest.raises(RunError, match=r"manifest.jsonl: damaged"):
        make_model().predict_folder(scans, tmp_path / "out")


@pytest.mark.fault(71)
def test_a_folder_that_another_process_predicts_in_is_refused_by_name(
    make_model: MakeModel, scans: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    code = (
        "import sys; from pathlib import Path; from genseg.base.locking import folder_lock\n"
        "with folder_lock(Path(sys.argv[1]), 'predicting'): print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", code, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=f"process {other.pid} on .* is predicting in this folder"):
            make_model().predict_folder(scans, out)
        assert not masks_of(out)
        other.kill()
    make_model().predict_folder(scans, out)
    all_of(scans, out, "abc")
    assert not list(out.glob("predicting.*"))


@pytest.mark.fault(70)
@pytest.mark.parametrize("step", ["append_line", "append_csv", "append_contours", "move_file"])
@pytest.mark.parametrize("call", [1, 3])
def test_a_process_that_is_killed_leaves_no_mask_without_rows_and_goes_on(
    make_model: MakeModel, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, call: int
) -> None:
    out, model, extras = tmp_path / "out", make_model(), ["overlays", "contours"]
    calls, original = iter(range(1, 100)), getattr(writing, step)

    def die(*arguments: object) -> None:
        if next(calls) == call:
            raise Killed
        original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writing, step, die)
        with pytest.raises(Killed):
            model.predict_folder(scans, out, extras=extras)
    rows = {row["mask"] for row in read_rows(out / "predictions.csv")}
    assert rows >= masks_of(out).keys()
    model.predict_folder(scans, out, extras=extras)
    all_of(scans, out, "abc")
    model.predict_folder(scans, tmp_path / "whole", extras=extras)
    for table in ("predictions.csv", "measurements.csv", "contours.csv"):
        assert (out / table).read_bytes() == (tmp_path / "whole" / table).read_bytes()
    assert not list(out.glob(".genseg-*"))


@pytest.mark.fault(70)
def test_lines_that_a_crash_has_cut_short_are_left_out(make_model: MakeModel, scans: Path, tmp_path: Path) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out, extras=["contours"])
    (out / "c.png").unlink()
    for name in ("manifest.jsonl", "predictions.csv", "measurements.csv", "contours.csv"):
        (out / name).write_text((out / name).read_text()[:-9])
    model.predict_folder(scans, out, extras=["contours"])
    all_of(scans, out, "abc")
    assert {row["case"] for row in read_rows(out / "contours.csv")} == {"a", "b", "c"}


@pytest.mark.fault(81)
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), FaultCode.TOO_LARGE, "memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), FaultCode.TOO_LARGE, "memory"),
        (OSError(36, os.strerror(36)), FaultCode.UNUSABLE_NAME, "name"),
        (ZeroDivisionError("Doe^John"), FaultCode.UNEXPECTED, "ZeroDivisionError at results/folder.py, line"),
    ],
)
def test_whatever_goes_wrong_with_one_image_is_its_own_problem(
    make_model: MakeModel,
    scans: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: FaultCode,
    said: str,
) -> None:
    original = predicting.measure

    def fail_at_b(case: object, *arguments: object) -> object:
        if getattr(case, "name", "") == "b":
            raise error
        return original(case, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(predicting, "measure", fail_at_b)
    with pytest.raises(DataError) as refused:
        make_model().predict_folder(scans, tmp_path / "out")
    (fault,) = refused.value.faults
    assert (fault.code, fault.file) == (code, str(scans / "b.png"))
    assert said in fault.found
    assert "Doe" not in str(fault)
    all_of(scans, tmp_path / "out", "ac")


@pytest.mark.fault(81)
def test_names_of_255_bytes_work(make_model: MakeModel, tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    volume = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(12, 12, 12)).astype(np.float32), np.eye(4))
    nibabel.save(volume, tmp_path / "a.nii.gz")
    fits, grows = f"{'n' * 248}.nii.gz", f"{'m' * 251}.nii"  # whose content is compressed, so that its mask is too
    for name in (fits, grows, "z.nii.gz"):
        shutil.copy(tmp_path / "a.nii.gz", scans / name)
    make_model(rank=3, channels=1).predict_folder(scans, out, extras=["overlays", "confidence"])
    masks = [row["mask"] for row in read_rows(out / "predictions.csv")]
    assert {fits, "z.nii.gz"} < set(masks)
    assert len(masks) == 3
    assert all((out / mask).is_file() for mask in masks)


@pytest.mark.fault(94)
@pytest.mark.parametrize("name", ["overlays", "confidence", "replaced"])
def test_nothing_is_written_through_a_link_to_another_folder(
    make_model: MakeModel, scans: Path, tmp_path: Path, name: str
) -> None:
    elsewhere, out = tmp_path / "elsewhere", tmp_path / "out"
    elsewhere.mkdir()
    out.mkdir()
    (out / name).symlink_to(elsewhere)
    with pytest.raises(RunError, match=f"{name}: a link leads out of"):
        make_model().predict_folder(scans, out, extras=["overlays", "confidence"])
    assert not list(elsewhere.iterdir())


@pytest.mark.fault(94)
def test_links_in_the_place_of_tables_and_locks_are_replaced(
    make_model: MakeModel, scans: Path, tmp_path: Path
) -> None:
    out, private = tmp_path / "out", tmp_path / "private"
    make_model().predict_folder(scans, out)
    for name in ("predictions.csv", "measurements.csv", "manifest.jsonl", "predicting.lock", "predicting.owner"):
        private.write_bytes((out / name).read_bytes() if (out / name).is_file() else b"private")
        before = private.read_bytes()
        (out / name).unlink(missing_ok=True)
        (out / name).symlink_to(private)
        (out / "b.png").unlink()
        make_model().predict_folder(scans, out)
        assert private.read_bytes() == before
        all_of(scans, out, "abc")


def test_an_image_that_changes_while_it_is_read_is_named(
    make_model: MakeModel, write_picture: Write, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, read = make_model(), Model.read

    def read_and_replace(self: Model, files: object) -> object:
        case = read(self, files)  # type: ignore[arg-type]
        if case.name == "b":
            write_picture(scans / "b.png", (31, 9))
        return case

    monkeypatch.setattr(Model, "read", read_and_replace)
    with pytest.raises(DataError, match="changed while it was read"):
        model.predict_folder(scans, tmp_path / "out")
    all_of(scans, tmp_path / "out", "ac")


@pytest.mark.fault(69)
def test_a_watch_sets_the_masks_of_replaced_images_aside_and_says_so(
    make_model: MakeModel, write_picture: Write, scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, model = tmp_path / "out", make_model()
    model.predict_folder(scans, out)
    write_picture(scans / "a.png", (30, 31))
    os.utime(scans / "a.png", (7, 7))
    (scans / "b.png").write_bytes((scans / "b.png").read_bytes()[:-40])
    told: list[PredictedCase] = []
    reported: list[DataError] = []
    asked = iter(range(40))
    monkeypatch.setattr("genseg.results.live.watch_folder", partial(watch_folder, wait=lambda _: None))
    made = model.watch(
        scans, out, is_stopped=lambda: next(asked, None) is None, tell=told.append, report=reported.append
    )
    assert (made, [case.name for case in told]) == (1, ["a"])
    assert told[0].set_aside is not None
    ((first, second),) = (error.faults for error in reported)
    assert (first.file, second.code) == (str(scans / "b.png"), FaultCode.MASK_SET_ASIDE)
    all_of(scans, out, "ac")
