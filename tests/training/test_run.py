"""From a folder of scans to a finished run folder, in one go or in several."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from genseg.base.progress import Progress, silent
from genseg.cli.tables import incidents
from genseg.compute.device import Machine
from genseg.config import Plan, Settings
from genseg.errors import DataError, DeviceError, GensegError, RunError, SettingsError, TrainingError
from genseg.prepare import storage as prepared
from genseg.runs import folder as run_folder
from genseg.runs.events import read_events
from genseg.runs.folder import RunFolder
from genseg.training.run import run_training


def _train(
    data: Path, out: Path, settings: Settings, *, resume: bool = False, progress: Progress = silent
) -> RunFolder:
    return run_training(data, out, settings, None, resume=resume, progress=progress)


def _interrupt_at(doing: str, at: int, raises: bool = False) -> Progress:
    def progress(now: str, done: int, _total: int) -> None:
        if now.startswith(doing) and done == at:
            if raises:
                raise KeyboardInterrupt
            os.kill(os.getpid(), signal.SIGINT)

    return progress


@pytest.fixture
def data(rgb_phantoms: Path, tmp_path: Path) -> Path:
    """A data set to be changed."""
    return shutil.copytree(rgb_phantoms, tmp_path / "data")


def test_a_run_leaves_the_files_that_it_says_and_nothing_else(rgb_run: Path) -> None:
    lines = re.findall(r"^    (\S.*?)   +\S", run_folder.__doc__ or "", flags=re.MULTILINE)
    named = {Path(name) for line in lines for name in line.split()}
    named |= {Path("validation") / name for name in ("scores.json", "scores.csv")}
    named -= {Path("scores.json"), Path("scores.csv")}
    assert len(named) == 27
    named -= {Path("pairs"), Path("model/generator.safetensors"), Path("comparison")}  # of runs with a generator alone
    named -= {Path("all-labels"), Path("unlabelled")}  # of runs that every label has trained
    named -= {Path("stalled.txt")}  # of runs that hung
    found = {path.relative_to(rgb_run) for path in rgb_run.rglob("*") if path.is_file()}
    assert {name for name in named if not (rgb_run / name).exists()} == set()
    assert {path for path in found if named.isdisjoint({path, *path.parents})} == set()
    assert not any(part.startswith(".") for path in found for part in path.parts)


@pytest.mark.fault(31)
def test_an_interrupted_run_ends_as_the_uninterrupted_one(
    rgb_phantoms: Path, rgb_run: Path, rgb_settings: Settings, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _train(rgb_phantoms, out, rgb_settings, progress=_interrupt_at("Training", 2))
    assert not RunFolder(out).is_finished
    _train(rgb_phantoms, out, Settings(), resume=True)
    for name in ("events.jsonl", "model/segmenter.safetensors", "split.json", "plan.yaml", "settings.yaml"):
        assert (out / name).read_bytes() == (rgb_run / name).read_bytes()


@pytest.mark.fault(99)
def test_resuming_with_another_number_of_threads_is_recorded_and_told(
    rgb_phantoms: Path, rgb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _train(rgb_phantoms, out, rgb_settings, progress=_interrupt_at("Training", 2))
    assert RunFolder(out).read_json("environment.json")["threads"] == 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    _train(rgb_phantoms, out, rgb_settings, resume=True)
    assert RunFolder(out).read_json("environment.json")["threads"] == 2
    (changed,) = [event for event in read_events(out) if event["event"] == "machine-changed"]
    assert changed["step"] == 2
    assert re.fullmatch(r"before: cpu .*, 1 threads, torch [\d.]+.*; now: cpu .*, 2 threads, .*", changed["changes"])
    (said,) = incidents(out)
    assert said.startswith("Update 2: resumed with a different machine, thread count or PyTorch version (")


@pytest.mark.fault(99)
@pytest.mark.parametrize("content", ["", "{}", '{"packages": 3}'])
def test_a_run_whose_environment_is_damaged_or_of_another_version_can_be_resumed(
    content: str, rgb_run: Path, tmp_path: Path, machine: Machine
) -> None:
    run = RunFolder(shutil.copytree(rgb_run, tmp_path / "run"))
    assert run.write_environment(machine, 2) == ""
    (run.path / "environment.json").write_text(content)
    run.write_environment(machine, 2)
    assert run.write_environment(machine, 2) == ""


def test_cases_that_do_not_fit_into_memory_make_no_difference(
    rgb_phantoms: Path, rgb_run: Path, rgb_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "memory_budget", lambda: 0)
    seen = []
    run = _train(
        rgb_phantoms, tmp_path, rgb_settings, progress=lambda *_: seen.append(RunFolder(tmp_path).cache.is_dir())
    )
    assert seen[-1]
    assert not run.cache.exists()
    assert run.weights.read_bytes() == RunFolder(rgb_run).weights.read_bytes()


@pytest.mark.fault(4)
def test_masks_of_0_and_255_make_no_difference(
    data: Path, rgb_run: Path, rgb_settings: Settings, tmp_path: Path
) -> None:
    for path in (data / "masks").iterdir():
        Image.fromarray(np.array(Image.open(path)) * np.uint8(255)).save(path)
    run = _train(data, tmp_path / "out", rgb_settings)
    assert run.weights.read_bytes() == RunFolder(rgb_run).weights.read_bytes()


@pytest.mark.fault(45)
def test_changed_data_are_refused_on_resuming_and_named(data: Path, rgb_settings: Settings, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        _train(data, out, rgb_settings, progress=_interrupt_at("Training", 1, raises=True))
    for path in (data / "images" / "phantom_002.png", data / "masks" / "phantom_004.png"):
        pixels = np.array(Image.open(path))
        pixels[0, 0] = 1 - np.minimum(pixels[0, 0], 1)
        Image.fromarray(pixels).save(path)
    with pytest.raises(RunError, match="changed: phantom_002, phantom_004"):
        _train(data, out, rgb_settings, resume=True)


def test_a_finished_run_is_left_as_it_is(rgb_run: Path, rgb_settings: Settings, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in rgb_run.rglob("*")}
    assert _train(tmp_path / "no-data", rgb_run, rgb_settings, resume=True).path == rgb_run
    assert {path: path.stat().st_mtime_ns for path in rgb_run.rglob("*")} == before


OTHER = {"updates": 900, "size": 64, "flips": (0,), "seed": 1, "nan_to": "min", "folds": 3}


@pytest.mark.fault(85)
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "interrupted"])
def test_a_run_is_not_resumed_with_other_settings_and_all_of_them_are_named(
    rgb_phantoms: Path, rgb_run: Path, tmp_path: Path, finished: bool
) -> None:
    run = shutil.copytree(rgb_run, tmp_path / "run")
    if not finished:
        (run / "model" / "model.json").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SettingsError) as caught:
        _train(rgb_phantoms, run, Settings.from_mapping(OTHER), resume=True)
    assert str(caught.value) == (
        f"{run}: "
        + (
            "this run has finished and cannot be changed; start a new run in another folder (-o)"
            if finished
            else "--resume can change only --device; leave out the other options, "
            "or start a new run in another folder (-o)"
        )
        + "; --size is 32 in this run (64 requested), --updates is 4 in this run (900 requested), "
        "--flips is 0,1 in this run (0 requested), --folds is not set in this run (3 requested), "
        "--seed is 0 in this run (1 requested), --nan-to is stop in this run (min requested)"
    )
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.fault(85)
def test_a_run_is_resumed_with_the_settings_and_the_plan_that_it_began_with(
    rgb_phantoms: Path, rgb_run: Path, rgb_settings: Settings
) -> None:
    plan = Plan.from_yaml(rgb_run / "plan.yaml")
    same = [
        rgb_settings,
        Settings(updates=4),
        Settings(flips="auto"),
        Settings(flips=(0, 1)),
        Settings(learning_rate=plan.learning_rate),
    ]
    for settings in same:
        assert run_training(rgb_phantoms, rgb_run, settings, plan, resume=True, progress=silent).is_finished
    other = plan.model_copy(update={"clip_norm": 2.0})
    with pytest.raises(SettingsError, match=r"; --plan differs from the plan\.yaml of this run$"):
        run_training(rgb_phantoms, rgb_run, Settings(), other, resume=True, progress=silent)


@pytest.mark.fault(85)
def test_a_run_whose_batch_was_halved_is_resumed_with_what_it_began_with(
    rgb_phantoms: Path, rgb_run: Path, rgb_settings: Settings, tmp_path: Path
) -> None:
    run, begun = shutil.copytree(rgb_run, tmp_path / "run"), Plan.from_yaml(rgb_run / "plan.yaml")
    begun.model_copy(update={"batch_size": 1}).to_yaml(run / "plan.yaml")
    with pytest.raises(SettingsError, match="--plan differs"):
        run_training(rgb_phantoms, run, rgb_settings, begun, resume=True, progress=silent)
    with (run / "events.jsonl").open("a") as events:
        events.write('{"event": "smaller-batch", "step": 2, "batch_size": 1}\n')
    assert run_training(rgb_phantoms, run, rgb_settings, begun, resume=True, progress=silent).is_finished


@pytest.mark.fault(85)
def test_a_run_is_resumed_on_another_device_and_that_is_written_down(
    rgb_phantoms: Path, rgb_run: Path, tmp_path: Path
) -> None:
    run = shutil.copytree(rgb_run, tmp_path / "run")
    with pytest.raises(DeviceError):
        _train(rgb_phantoms, run, Settings(device="none"), resume=True)
    assert _train(rgb_phantoms, run, Settings(device="auto"), resume=True).settings().device == "auto"
    assert _train(rgb_phantoms, run, Settings(), resume=True).settings().device == "auto"


@pytest.mark.fault(37)
@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_cannot_be_used_is_refused_before_anything_is_read(
    tmp_path: Path, rgb_settings: Settings, resume: bool
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(RunError):
        _train(tmp_path / "no-data", tmp_path / "out", rgb_settings, resume=resume)
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "notes.txt"]


@pytest.mark.parametrize(
    ("change", "error"),
    [({}, DataError), ({"labels": 3, "fold": 9}, SettingsError), ({"device": "gpu"}, DeviceError)],
)
def test_a_refused_run_leaves_no_folder(
    data: Path, rgb_settings: Settings, tmp_path: Path, change: dict[str, object], error: type[GensegError]
) -> None:
    (data / "images" / "phantom_004.png").write_bytes(b"")
    with pytest.raises(error):
        _train(data, tmp_path / "runs" / "out", rgb_settings.model_copy(update=change))
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_an_interrupt_while_reading_leaves_no_folder(data: Path, rgb_settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        _train(data, tmp_path / "out", rgb_settings, progress=_interrupt_at("Reading", 2, raises=True))
    assert not (tmp_path / "out").exists()


@pytest.mark.fault(39)
def test_a_run_that_diverges_delivers_nothing(
    rgb_phantoms: Path, rgb_run: Path, rgb_settings: Settings, tmp_path: Path
) -> None:
    plan = Plan.from_yaml(rgb_run / "plan.yaml").model_copy(update={"learning_rate": 1e38})
    with pytest.raises(TrainingError, match=r"update \d: the loss is nan.*--learning-rate"):
        run_training(rgb_phantoms, tmp_path, rgb_settings, plan, resume=False, progress=silent)
    assert not RunFolder(tmp_path).is_finished
    assert not (tmp_path / "model").exists()
    assert not RunFolder(tmp_path).cache.exists()


@pytest.mark.fault(94)
def test_a_run_does_not_write_through_links(rgb_phantoms: Path, rgb_settings: Settings, tmp_path: Path) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with pytest.raises(KeyboardInterrupt):
        _train(rgb_phantoms, run, rgb_settings, progress=_interrupt_at("Training", 1))
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    for name in ("validation", "model", "pairs", "tensorboard", "cache"):
        (run / name).symlink_to(elsewhere)
        with pytest.raises(RunError, match=f"{name}: a link leads out of"):
            _train(rgb_phantoms, run, rgb_settings, resume=True)
        (run / name).unlink()
    (elsewhere / "private").write_text("private")
    for name in ("training.owner", "training.lock", "stalled.txt", "environment.json"):
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(elsewhere / "private")
    events = (run / "events.jsonl").read_bytes()
    (elsewhere / "events.jsonl").write_bytes(events)
    (run / "events.jsonl").unlink()
    (run / "events.jsonl").symlink_to(elsewhere / "events.jsonl")
    assert _train(rgb_phantoms, run, rgb_settings, resume=True).is_finished
    assert {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {
        "private": b"private",
        "events.jsonl": events,
    }


@pytest.mark.fault(37)
def test_a_folder_that_another_process_trains_in_is_refused(
    rgb_phantoms: Path, rgb_settings: Settings, tmp_path: Path
) -> None:
    code = "import sys, filelock\nwith filelock.FileLock(sys.argv[1]): print('held', flush=True); input()"
    with pytest.raises(KeyboardInterrupt):
        _train(rgb_phantoms, tmp_path, rgb_settings, progress=_interrupt_at("Training", 1))
    lock = [sys.executable, "-c", code, str(tmp_path / "training.lock")]
    with subprocess.Popen(lock, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        before = (tmp_path / "events.jsonl").read_bytes()
        with pytest.raises(RunError, match="another process is training in this folder"):
            _train(rgb_phantoms, tmp_path, rgb_settings, resume=True)
        (tmp_path / "training.owner").write_text("process 7 on elsewhere")
        with pytest.raises(RunError, match="process 7 on elsewhere is training in this folder"):
            _train(rgb_phantoms, tmp_path, rgb_settings, resume=True)
        assert (tmp_path / "events.jsonl").read_bytes() == before
        other.kill()
    assert _train(rgb_phantoms, tmp_path, rgb_settings, resume=True).is_finished
    assert not list(tmp_path.glob("training.*"))
