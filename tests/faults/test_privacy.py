"""Names of patients in the headers of files reach no output: neither files nor messages."""

from __future__ import annotations

import gzip
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_files import write_dicom
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from genseg.data.phantoms import write_phantoms

Run = Callable[..., tuple[int, str, str]]
PLANTED = ("Doe^Jane", "MRN-4711", "St. Planted Hospital")
SPLITS = {"train": ["a", "b", "c", "d"], "val": ["e"], "test": ["f"]}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Six DICOM pictures with masks in PNG, all with names in their headers."""
    phantoms = write_phantoms(tmp_path / "phantoms", "gray", 6, size=32)
    folder = tmp_path / "scans"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    note = PngInfo()
    note.add_text("Author", " ".join(PLANTED))
    tags = dict(zip(("PatientName", "PatientID", "InstitutionName"), PLANTED, strict=True))
    for number, name in enumerate("abcdef"):
        pixels = np.asarray(Image.open(phantoms / "images" / f"phantom_00{number}.png"))
        series = f"1.2.{number}"
        write_dicom(folder / "images" / f"{name}.dcm", pixels, Modality="US", SeriesInstanceUID=series, **tags)
        Image.open(phantoms / "masks" / f"phantom_00{number}.png").save(folder / "masks" / f"{name}.png", pnginfo=note)
    (folder / "dataset.json").write_text(json.dumps({"splits": SPLITS}))
    return folder


def _assert_none_planted(content: bytes, place: object) -> None:
    assert [text for text in PLANTED if text.encode() in content] == [], place


def _content(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.suffix == ".gz" else content


@pytest.mark.fault(28)
def test_nothing_that_any_verb_writes_or_says_holds_a_name(
    run: Run, scans: Path, tmp_path: Path, tiny_training: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for path in scans.rglob("*.*"):
        assert path.suffix == ".json" or all(text.encode() in path.read_bytes() for text in PLANTED)
    out = tmp_path / "out"
    options = [word for name, value in tiny_training.items() for word in (f"--{name.replace('_', '-')}", value)]
    for verb in (
        ["check", scans, "-o", out / "checked", "--mask-repair", "nearest", "--all-pairs"],
        ["plan", scans, "-o", out / "plan.yaml"],
        ["train", scans, "-o", out / "run", *options],
        ["predict", out / "run", scans, "-o", out / "masks", "--overlays"],
        ["evaluate", out / "run", scans, "-o", out / "evaluation"],
        ["generate", out / "run", "-n", 2, "--copies", "keep", "-o", out / "synthetic"],
    ):
        code, *printed = run(*verb)
        assert code == 0, printed
        _assert_none_planted("".join(printed).encode(), verb)
    written = [path for path in out.rglob("*") if path.is_file()]
    assert len(written) > 50
    for path in written:
        _assert_none_planted(_content(path), path)
    _assert_none_planted(caplog.text.encode(), "log")


@pytest.mark.fault(28)
def test_refused_files_are_named_without_what_their_headers_say(run: Run, scans: Path, tmp_path: Path) -> None:
    images = sorted((scans / "images").iterdir())
    images[0].write_bytes(images[0].read_bytes()[:-100])
    images[1].write_bytes(images[1].read_bytes().replace(b"MONOCHROME2", b"Doe^Jane   "))
    volume = nibabel.Nifti1Image(np.zeros((9, 9, 9), np.complex64), np.eye(4))
    volume.header["descrip"] = PLANTED[0]
    nibabel.save(volume, scans / "images" / "e.nii")
    images[4].unlink()
    code, printed, message = run("check", scans, "-o", tmp_path / "out")
    assert code == 2
    assert all(name in message for name in ("a.dcm", "b.dcm", "e.nii"))
    _assert_none_planted((printed + message).encode(), message)
