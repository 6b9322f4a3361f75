"""What a person meets at the command line: exit codes, messages without a traceback, everything wrong at once."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from genseg.cli import main, tables
from genseg.cli.overview import HELP
from genseg.cli.verbs import app
from genseg.errors import DataError, Fault, FaultCode, SettingsError

Run = Callable[..., tuple[int, str, str]]


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make the verb `segmenters` meet `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(tables, "networks_table", fail)


def test_version_is_the_project_s(run: Run, repository: Path) -> None:
    assert f'version = "{version("genseg")}"' in (repository / "pyproject.toml").read_text()
    assert run("--version")[:2] == (0, f"genseg {version('genseg')}\n")


def test_help_lists_every_verb(run: Run) -> None:
    registered = [verb.name or verb.callback.__name__ for verb in app.registered_commands if verb.callback]
    assert registered == list(HELP)
    shown = run("--help")[1]
    assert all(f" {verb} " in shown for verb in registered)


def test_a_refusal_is_one_message_and_exit_code_2(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, SettingsError("size: [bold]3[/bold] found"))
    code, out, err = run("segmenters")
    assert (code, out, err) == (2, "", "Error: size: [bold]3[/bold] found\n")


def test_every_fault_of_the_data_is_listed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [Fault(FaultCode.EMPTY_FILE, f"{n}.png", f"{n} bytes", "an image", "Copy it again.") for n in range(30)]
    _raise(monkeypatch, DataError(faults))
    code, _, err = run("segmenters")
    assert code == 2
    assert "30 problem(s)" in err
    assert all(f" {n}.png " in err for n in range(30))


@pytest.mark.fault(102)
def test_a_fault_of_many_files_is_one_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [Fault(FaultCode.EMPTY_FILE, f"{n}.png", "0 bytes", "an image", "Copy it again.") for n in range(30)]
    _raise(monkeypatch, DataError(faults))
    _, _, err = run("segmenters")
    assert "1 problem(s)" in err
    assert err.count("Copy it again.") == 1
    assert all(part in err for part in ("30 files", "0.png", "4.png", "25 more"))
    assert "5.png" not in err


@pytest.mark.fault(29)
def test_a_failing_disk_is_named_and_exit_code_4(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, OSError(28, "No space left on device", "runs/a/plan.yaml"))
    code, _, err = run("segmenters")
    assert code == 4
    assert "No space left on device" in err
    assert "runs/a/plan.yaml" in err
    assert "Free some space; --resume continues a training" in err


@pytest.mark.fault(31)
def test_an_interrupt_is_exit_code_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, KeyboardInterrupt())
    assert run("segmenters")[0] == 130


def test_a_bug_still_shows_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    _raise(monkeypatch, ZeroDivisionError())
    monkeypatch.setattr(sys, "argv", ["genseg", "segmenters"])
    with pytest.raises(ZeroDivisionError):
        main()


def test_phantom_writes_what_was_asked_for(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("phantom", tmp_path / "set", "--kind", "gray", "--cases", 4, "--size", 16)
    assert (code, out) == (0, f"4 phantoms saved to {tmp_path / 'set'}.\n")
    assert len(list((tmp_path / "set" / "images").iterdir())) == 4


def test_check_shows_pairs_labels_figures_and_writes_the_sheet(run: Run, rgb_phantoms: Path, tmp_path: Path) -> None:
    code, out, _ = run("check", rgb_phantoms, "-o", tmp_path / "check")
    assert code == 0
    for expected in ("phantom_003", "lesion", "10, 10 of them labelled", "10 cases are ready for training."):
        assert expected in out
    assert "10 cases; patients not known, so each image stands alone." in out
    assert sorted(path.name for path in (tmp_path / "check").iterdir()) == ["check.json", "contact-sheet.png"]
    findings = json.loads((tmp_path / "check" / "check.json").read_text())
    assert len(findings["pairs"]) == 10
    assert set(findings) == {"pairs", "patients", "labels", "statistics", "to_label", "warnings"}


@pytest.mark.fault(2)
def test_check_of_a_broken_data_set_names_every_bad_file_and_writes_nothing(
    run: Run, rgb_phantoms: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    for name in ("phantom_001.png", "phantom_004.png"):
        (data / "images" / name).write_bytes(b"")
    code, _, err = run("check", data, "-o", tmp_path / "check")
    assert code == 2
    assert "phantom_001.png" in err
    assert "phantom_004.png" in err
    assert "Traceback" not in err
    assert not (tmp_path / "check").exists()


@pytest.mark.fault(5)
def test_repaired_masks_are_written_beside_the_findings_only_when_repair_is_asked_for(
    run: Run, rgb_phantoms: Path, tmp_path: Path
) -> None:
    data = shutil.copytree(rgb_phantoms, tmp_path / "data")
    for path in (data / "masks").iterdir():
        path.write_bytes(_as_jpeg(path))
    code, _, err = run("check", data, "-o", tmp_path / "check")
    assert code == 2
    assert "--mask-repair nearest" in err
    assert run("check", data, "--mask-repair", "nearest", "-o", tmp_path / "check")[0] == 0
    repaired = sorted((tmp_path / "check" / "repaired-masks").iterdir())
    assert len(repaired) == 10
    assert {value for path in repaired for value in np.unique(np.asarray(Image.open(path)))} == {0, 255}


def _as_jpeg(mask: Path) -> bytes:
    """A mask of 0 and 1 as a lossy picture of black and white."""
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(Image.open(mask)) * 255).save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


@pytest.mark.fault(42)
def test_a_bad_setting_stops_before_anything_is_read(run: Run, tmp_path: Path) -> None:
    code, _, err = run("train", tmp_path / "absent", "--size", "3", "--updates", "none")
    assert code == 2
    assert "size" in err
    assert "updates" in err
