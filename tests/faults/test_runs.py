"""Faults of settings, machines, folders and models, as a person meets them at the command line."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from genseg.predict import prediction
from genseg.segmenters import inference
from genseg.segmenters.inference import Segmentation
from genseg.synthetic.phantoms import write_phantoms
from genseg.training import memory_forecast as memory

Run = Callable[..., tuple[int, str, str]]
SHORT = ("--method", "strong-augmentation", "--segmenter", "unet-small", "--updates", 2, "--device", "cpu")


@pytest.fixture
def data(rgb_phantoms: Path, tmp_path: Path) -> Path:
    """A data set to be changed."""
    return shutil.copytree(rgb_phantoms, tmp_path / "data")


@pytest.fixture
def unfinished(rgb_run: Path, tmp_path: Path) -> Path:
    """A run that stopped before its model was delivered."""
    run = shutil.copytree(rgb_run, tmp_path / "run")
    (run / "model" / "model.json").unlink()
    return run


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _refusal(run: Run, *arguments: object) -> str:
    """The message of a command that is refused with exit code 2."""
    code, _, message = run(*arguments)
    assert code == 2, message
    assert "Traceback" not in message
    return message


@pytest.mark.fault(36)
def test_an_absent_gpu_stops_and_auto_falls_back_and_says_so(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    message = _refusal(run, "train", data, "-o", tmp_path / "run", "--device", "cuda")
    assert message.strip() == "Error: device 'cuda' is not available: this machine has none; use --device auto"
    assert not (tmp_path / "run").exists()
    code, printed, _ = run("plan", data, "--method", "strong-augmentation", "--updates", 2)
    assert code == 0
    assert " on cpu (" in printed


@pytest.mark.fault(36)
def test_the_machine_that_trained_is_written_down(rgb_run: Path) -> None:
    assert json.loads((rgb_run / "environment.json").read_text())["machine"].startswith("cpu (")


@pytest.mark.fault(37)
@pytest.mark.parametrize("out", ["data", "data/images", "data/dataset.json"])
def test_a_run_never_goes_where_the_data_lie(run: Run, data: Path, tmp_path: Path, out: str) -> None:
    before = _contents(data)
    message = _refusal(run, "train", data, "-o", tmp_path / out)
    assert str(tmp_path / out) in message
    assert "another -o" in message
    assert _contents(data) == before


@pytest.mark.fault(37)
def test_masks_never_go_where_the_images_lie(run: Run, rgb_run: Path, data: Path) -> None:
    before = _contents(data)
    message = _refusal(run, "predict", rgb_run, data / "images", "-o", data / "images", "--device", "cpu")
    assert "among the images" in message
    assert _contents(data) == before


@pytest.mark.fault(37)
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no folder here that refuses even the administrator")
def test_a_folder_that_takes_nothing_is_refused_before_any_work(run: Run, rgb_run: Path, data: Path) -> None:
    for path in (data / "images").iterdir():
        path.write_bytes(b"")
    assert "/proc/out" in _refusal(run, "train", data, "-o", "/proc/out")
    (data / "images" / "a.png").write_bytes(b"")
    assert "/proc/out" in _refusal(run, "predict", rgb_run, data, "-o", "/proc/out", "--device", "cpu")


def _few(tmp_path: Path, cases: int) -> Path:
    """Pictures without the file that splits them."""
    folder = write_phantoms(tmp_path / "few", "rgb", 10, size=32)
    (folder / "dataset.json").unlink()
    for part in ("images", "masks"):
        for path in sorted((folder / part).iterdir())[cases:]:
            path.unlink()
    return folder


@pytest.mark.fault(41)
def test_one_case_is_refused(run: Run, tmp_path: Path) -> None:
    message = _refusal(run, "train", _few(tmp_path, 1), "-o", tmp_path / "run", *SHORT)
    assert "too-few-cases" in message
    assert "1 separate patients (1 cases) that may train" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(41)
@pytest.mark.parametrize("cases", [2, 3, 9])
def test_few_cases_are_held_out_one_at_a_time(run: Run, tmp_path: Path, cases: int) -> None:
    asked = ("--size", 32, "--effort", "quick", *SHORT)
    code, _, error = run("train", _few(tmp_path, cases), "-o", tmp_path / "run", *asked)
    assert code == 0, error
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert (len(split["train"]), len(split["validation"]), split["folds"]) == (cases - 1, 1, cases)
    scores = json.loads((tmp_path / "run" / "validation" / "scores.json").read_text())
    assert (scores["overall"]["dice"]["low"], scores["overall"]["dice"]["high"]) == (None, None)


@pytest.mark.fault(41)
def test_more_folds_than_patients_and_one_patient_alone_are_refused(run: Run, tmp_path: Path) -> None:
    data = _few(tmp_path, 4)
    message = _refusal(run, "train", data, "-o", tmp_path / "run", "--folds", 5, *SHORT)
    assert "4 separate patients" in message
    assert "at least 5" in message
    rows = [f"images/{path.name},masks/{path.name},p1\n" for path in sorted((data / "images").iterdir())]
    (data / "list.csv").write_text("image,mask,patient\n" + "".join(rows))
    message = _refusal(run, "train", data / "list.csv", "-o", tmp_path / "run", *SHORT)
    assert "1 separate patients (4 cases) that may train" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(42)
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"bach_size": 3}, ("bach_size: unknown key", "did you mean 'batch_size'")),
        ({"updates": "many"}, ("updates: ", "found 'many'")),
        ({"batch_size": 0}, ("batch_size: ", "found 0")),
        ({"rank": 3}, ("spacing: volumes need", "patch_size: 3D data need 3 sizes")),
    ],
)
def test_a_plan_that_cannot_be_followed_stops_before_any_work(
    run: Run, rgb_run: Path, tmp_path: Path, change: dict[str, object], parts: tuple[str, ...]
) -> None:
    plan = yaml.safe_load((rgb_run / "plan.yaml").read_text()) | change
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    message = _refusal(run, "train", tmp_path / "absent", "-o", tmp_path / "run", "--plan", tmp_path / "plan.yaml")
    assert [part for part in (*parts, str(tmp_path / "plan.yaml")) if part not in message] == []
    assert [path.name for path in tmp_path.iterdir()] == ["plan.yaml"]


@pytest.mark.fault(42)
def test_an_unknown_option_is_answered_with_the_nearest(run: Run, data: Path, tmp_path: Path) -> None:
    message = _refusal(run, "train", data, "-o", tmp_path / "run", "--bach-size", 3)
    assert "No such option: --bach-size" in message
    assert "--batch-size" in message


@pytest.mark.fault(42)
def test_a_setting_that_contradicts_the_plan_stops(run: Run, rgb_run: Path, data: Path, tmp_path: Path) -> None:
    message = _refusal(
        run, "train", data, "-o", tmp_path / "run", "--plan", rgb_run / "plan.yaml", "--updates", 9, "--device", "cpu"
    )
    assert "4 in the plan, 9 requested (updates)" in message
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(37)
@pytest.mark.parametrize("place", ["", "images", "masks"])
def test_a_check_writes_nothing_among_the_data(run: Run, rgb_phantoms: Path, tmp_path: Path, place: str) -> None:
    data = tmp_path / "data"
    shutil.copytree(rgb_phantoms, data)
    before = sorted(data.rglob("*"))
    assert "among the images" in _refusal(run, "check", data, "-o", data / place)
    assert sorted(data.rglob("*")) == before
    assert run("check", data, "-o", data / "checked")[0] == 0


@pytest.mark.fault(37)
@pytest.mark.parametrize("name", ["overlays", "confidence"])
def test_no_extra_is_written_over_an_image(
    run: Run, rgb_run: Path, rgb_phantoms: Path, tmp_path: Path, name: str
) -> None:
    shutil.copytree(rgb_phantoms / "images", tmp_path / name)
    message = _refusal(run, "predict", rgb_run, tmp_path / name, "-o", tmp_path, "--overlays", "--confidence")
    assert "among the images" in message


@pytest.mark.fault(43)
def test_images_of_another_kind_are_all_named_and_the_others_are_segmented(
    run: Run, rgb_run: Path, volume_phantoms: Path, tmp_path: Path
) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (50, 20, 3), np.uint8)).save(scans / "right.png")
    Image.fromarray(random.integers(0, 9999, (32, 32), np.uint16)).save(scans / "deep.png")
    two = random.integers(0, 256, (2, 32, 32), np.uint8)
    tifffile.imwrite(scans / "two.tif", two, planarconfig="separate", photometric="minisblack")
    shutil.copy(volume_phantoms / "images" / "phantom_001.nii.gz", scans / "volume.nii.gz")
    message = _refusal(run, "predict", rgb_run, scans, "-o", tmp_path / "out", "--device", "cpu")
    for part in ("3 problem(s)", "deep", "0 to 255", "two", "2 channels", "volume", "an image of 3 dimensions"):
        assert part in message
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["right.png"]


@pytest.mark.fault(43)
@pytest.mark.parametrize("kind", ["black", "noise"])
def test_an_image_of_the_right_form_but_another_kind_is_flagged(
    run: Run, rgb_run: Path, tmp_path: Path, kind: str
) -> None:
    pixels = np.zeros((32, 32, 3), np.uint8)
    if kind == "noise":
        pixels = np.random.default_rng(0).integers(0, 256, pixels.shape, np.uint8)
    (tmp_path / "scans").mkdir()
    Image.fromarray(pixels).save(tmp_path / "scans" / "odd.png")
    code, printed, _ = run("predict", rgb_run, tmp_path / "scans", "-o", tmp_path / "out", "--device", "cpu")
    assert code == 0
    assert "Needs review: 1 of 1" in printed
    assert "differs from the training images" in (tmp_path / "out" / "predictions.csv").read_text()


@pytest.mark.fault(34)
def test_images_that_memory_is_too_small_for_are_named_and_the_others_are_segmented(
    run: Run, rgb_run: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = itertools.count()

    def segment(*given: object, **named: object) -> Segmentation:
        if next(calls) == 0:
            raise MemoryError
        return replace(inference.segment(*given, **named), is_in_pieces=True)  # type: ignore[arg-type]

    monkeypatch.setattr(prediction, "segment", segment)
    message = _refusal(run, "predict", rgb_run, data / "images", "-o", tmp_path / "out", "--device", "cpu")
    assert "1 problem(s)" in message
    assert "32 x 32 pixels: out of memory" in message
    assert "too-large" in message
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert table.count("segmented in smaller tiles") == 9 == len(list((tmp_path / "out").glob("*.png")))


@pytest.mark.fault(44)
@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"format": 99, "genseg": "9.9"}, ("format 99, by genseg 9.9", "this genseg reads format")),
        ({"labels": {}}, ("damaged, or edited after it was written",)),
    ],
)
def test_a_model_of_another_version_or_without_its_labels_is_refused(
    run: Run, rgb_run: Path, data: Path, tmp_path: Path, change: dict[str, object], parts: tuple[str, ...]
) -> None:
    model = shutil.copytree(rgb_run, tmp_path / "run")
    path = model / "model" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    message = _refusal(run, "predict", model, data, "-o", tmp_path / "out", "--device", "cpu")
    assert [part for part in parts if part not in message] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.fault(17)
def test_images_without_a_mask_are_left_out_where_that_is_asked_for_and_listed(
    run: Run, data: Path, tmp_path: Path
) -> None:
    for name in ("phantom_001", "phantom_008"):
        (data / "masks" / f"{name}.png").unlink()
    assert "--unlabelled leave-out" in _refusal(run, "check", data)
    asked = ("--unlabelled", "leave-out")
    code, printed, error = run("check", data, "-o", tmp_path / "checked", *asked)
    assert code == 0, error
    assert "8 cases are ready for training; images without a mask: 2 left out." in printed
    used = run("check", data, "--unlabelled", "use")[1]
    assert "images without a mask: 1 for the final model to learn from, 1 left out." in used
    listed = json.loads((tmp_path / "checked" / "check.json").read_text())["to_label"]
    assert [Path(path).name for path in listed] == ["phantom_001.png", "phantom_008.png"]
    code, _, error = run("train", data, "-o", tmp_path / "run", "--size", 32, *SHORT, *asked)
    assert code == 0, error
    assert "phantom_001" not in json.loads((tmp_path / "run" / "cases.json").read_text())
    assert run("evaluate", tmp_path / "run", data, "--device", "cpu")[0] == 0


@pytest.mark.fault(45)
def test_edited_labels_stop_a_resumed_run_and_are_named(run: Run, unfinished: Path, data: Path) -> None:
    before = _contents(unfinished)
    for name in ("phantom_001", "phantom_004"):
        mask = np.array(Image.open(data / "masks" / f"{name}.png"))
        mask[0, :4] = 1
        Image.fromarray(mask).save(data / "masks" / f"{name}.png")
    message = _refusal(run, "train", data, "-o", unfinished, "--resume")
    assert "changed: phantom_001, phantom_004" in message
    assert "start a new run" in message
    assert _contents(unfinished) == before


@pytest.mark.fault(45)
def test_edited_labels_are_accepted_where_that_is_asked_for_and_noted(run: Run, unfinished: Path, data: Path) -> None:
    mask = np.array(Image.open(data / "masks" / "phantom_001.png"))
    mask[0, :4] = 1
    Image.fromarray(mask).save(data / "masks" / "phantom_001.png")
    assert "--accept-data-change" in _refusal(run, "train", data, "-o", unfinished, "--resume")
    code, printed, error = run("train", data, "-o", unfinished, "--resume", "--accept-data-change")
    assert code == 0, error
    assert "and were accepted: changed: phantom_001." in printed
    events = [json.loads(line) for line in (unfinished / "events.jsonl").read_text().splitlines()]
    assert [event["cases"] for event in events if event["event"] == "data-changed"] == ["changed: phantom_001"]


@pytest.mark.fault(45)
def test_what_is_gone_is_not_accepted(run: Run, unfinished: Path, data: Path) -> None:
    before = _contents(unfinished)
    described = json.loads((data / "dataset.json").read_text())
    described["splits"]["train"].remove("phantom_001")
    (data / "dataset.json").write_text(json.dumps(described))
    message = _refusal(run, "train", data, "-o", unfinished, "--resume", "--accept-data-change")
    assert "missing: phantom_001" in message
    assert "restore the others" in message
    assert _contents(unfinished) == before


@pytest.mark.fault(35)
def test_a_training_that_memory_is_too_small_for_is_refused_with_numbers(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda: 2**29)
    message = _refusal(run, "train", data, "-o", tmp_path / "run", *SHORT, "--size", 256, "--batch-size", 64)
    assert re.search(r"needs \d+\.\d GiB of memory, \d+\.\d GiB more than now; 0\.5 GiB are free on cpu", message)
    assert re.search(r"lower --batch-size \(now 64, \d+ should fit\) or --size", message)
    assert not (tmp_path / "run").exists()


@pytest.mark.fault(45)
def test_a_removed_case_stops_a_resumed_run_and_is_named(run: Run, unfinished: Path, data: Path) -> None:
    before = _contents(unfinished)
    described = json.loads((data / "dataset.json").read_text())
    described["splits"]["train"].remove("phantom_001")
    (data / "dataset.json").write_text(json.dumps(described))
    assert "missing: phantom_001" in _refusal(run, "train", data, "-o", unfinished, "--resume")
    assert _contents(unfinished) == before


@pytest.mark.fault(46)
def test_an_absent_package_is_one_line_and_only_where_it_is_needed(
    run: Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    assert run("check", data)[0] == 0
    (data / "images" / "phantom_001.png").unlink()
    (data / "images" / "phantom_001.nrrd").write_bytes(b"NRRD0005\n")
    message = _refusal(run, "check", data, "-o", tmp_path / "out")
    lines = [line for line in message.splitlines() if line and not line.startswith("Reading")]
    assert lines == [
        "Error: reading or writing NRRD and MetaImage files needs the package SimpleITK: pip install 'genseg[itk]'"
    ]
    assert not (tmp_path / "out").exists()
