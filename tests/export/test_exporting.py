"""Exported files give the run's own masks, or are not written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import genseg
from genseg.choices import Target
from genseg.errors import DeviceError, RunError, SettingsError
from genseg.export import exporting, parity
from genseg.export.exporting import Exported


def test_masks_and_what_is_said_of_them_are_the_same(exported: Exported, picture_run: Path, rgb_phantoms: Path) -> None:
    original, other = genseg.load(picture_run, device="cpu"), genseg.load(exported.path)
    assert (other.plan, other.labels, other.options) == (original.plan, original.labels, original.options)
    for path in sorted((rgb_phantoms / "images").iterdir()):
        one, two = original.examine(path), other.examine(path)
        assert np.mean(one.mask == two.mask) >= 0.9999
        assert np.abs(one.confidence.astype(int) - two.confidence).max() <= 1
        assert two.ood_score == pytest.approx(one.ood_score, abs=1e-2)
        assert len(one.notes) == len(two.notes)


def test_the_parity_that_was_measured_is_told(exported: Exported, picture_run: Path) -> None:
    held_out = json.loads((picture_run / "split.json").read_text())["validation"]
    assert exported.parity.cases == len(held_out) == 2
    assert exported.parity.agreement >= 0.9999
    assert exported.parity.logit_difference < 1e-3
    assert exported.parity.dice_after == pytest.approx(exported.parity.dice_before, abs=1e-3)
    assert "2 cases" in str(exported.parity)


def test_any_number_of_images_of_any_size_goes_through(exported: Exported, picture_run: Path) -> None:
    original, other = genseg.load(picture_run, device="cpu").network, genseg.load(exported.path).network
    assert not other.is_fixed
    for shape in ((1, 3, 32, 32), (5, 3, 32, 32), (2, 3, 48, 80)):
        image = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        one, two = original(image), other(image)
        assert two.logits == pytest.approx(one.logits, abs=1e-4)
        for own, theirs in zip(one.features, two.features, strict=True):
            assert theirs == pytest.approx(own, abs=1e-4)


def test_an_exported_model_is_scored_as_the_run_is(exported: Exported, picture_run: Path, rgb_phantoms: Path) -> None:
    other = genseg.load(exported.path).evaluate(rgb_phantoms)
    own = genseg.load(picture_run, device="cpu").evaluate(rgb_phantoms)
    assert other.overall.dice.mean == pytest.approx(own.overall.dice.mean, abs=1e-3)


def test_an_exported_model_runs_on_the_processor_alone(exported: Exported) -> None:
    with pytest.raises(DeviceError, match="exported models run on the processor"):
        genseg.load(exported.path, device="cuda")


@pytest.mark.parametrize("damage", ["cut", "text"])
def test_a_damaged_file_is_refused(exported: Exported, tmp_path: Path, damage: str) -> None:
    content = exported.path.read_bytes()
    broken = tmp_path / exported.path.name
    broken.write_bytes(content[: len(content) // 2] if damage == "cut" else b"no model")
    with pytest.raises(RunError, match="cannot be read as a model"):
        genseg.load(broken)


@pytest.mark.parametrize("exported", ["onnx"], indirect=True)
def test_a_file_of_another_program_is_refused(exported: Exported, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exported.path)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(RunError, match="not a model that genseg exported"):
        genseg.load(tmp_path / "other.onnx")


@pytest.mark.parametrize("to", ["onnx", "openvino"])
def test_volumes_of_any_size_give_the_same_masks(
    to: Target, volume_run: Path, volume_phantoms: Path, tmp_path: Path
) -> None:
    made = genseg.export_model(volume_run, volume_phantoms, to, tmp_path / {"onnx": "m.onnx", "openvino": "m.xml"}[to])
    assert made.parity.agreement == 1
    original, other = (
        model.without_mirroring() for model in (genseg.load(volume_run, device="cpu"), genseg.load(made.path))
    )
    volume = np.random.default_rng(0).normal(size=(41, 30, 25)).astype(np.float32)
    assert np.mean(original.predict(volume) == other.predict(volume)) >= 0.9999


def test_int8_is_smaller_and_less_exact(picture_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    made = {
        precision: genseg.export_model(
            picture_run, rgb_phantoms, "openvino", tmp_path / precision / "m.xml", precision=precision
        )
        for precision in ("float32", "int8")
    }
    sizes = {precision: one.path.with_suffix(".bin").stat().st_size for precision, one in made.items()}
    assert sizes["int8"] < 0.6 * sizes["float32"]
    assert made["int8"].parity.logit_difference > made["float32"].parity.logit_difference
    assert genseg.load(made["int8"].path).plan.segmenter == "unet-small"


def test_other_masks_are_a_reason_to_write_nothing(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = parity.Parity(2, 0.99, 1.0, 0.9, 0.9)
    monkeypatch.setattr(exporting, "measure_parity", lambda *_: worse)
    with pytest.raises(RunError, match=r"nothing was written.*99\.0000 %"):
        genseg.export_model(picture_run, rgb_phantoms, "onnx", tmp_path / "new" / "model.onnx")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("exact", "agreement", "dice", "refused"),
    [
        (True, 0.99995, 0.9, False),
        (True, 0.9998, 0.9, True),
        (False, 0.9, 0.895, False),
        (False, 0.9999, 0.88, True),
    ],
)
def test_what_is_near_enough(exact: bool, agreement: float, dice: float, refused: bool) -> None:
    measured = parity.Parity(2, agreement, 0.1, 0.9, dice)
    if refused:
        with pytest.raises(RunError, match="nothing was written"):
            parity.require_parity(measured, exact=exact)
    else:
        parity.require_parity(measured, exact=exact)


def test_a_precision_that_a_target_does_not_have_is_refused(picture_run: Path, rgb_phantoms: Path) -> None:
    with pytest.raises(SettingsError, match="unknown precision for onnx 'int8'; choose from float32"):
        genseg.export_model(picture_run, rgb_phantoms, "onnx", precision="int8")


@pytest.mark.parametrize(
    ("to", "name", "message"), [("onnx", "m.xml", "ends in .onnx"), ("bundle", "full", "empty folder")]
)
def test_a_place_that_will_not_do_is_refused_before_any_work(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path, to: Target, name: str, message: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match=message):
        genseg.export_model(picture_run, rgb_phantoms, to, tmp_path / name)


def test_other_data_than_the_run_s_own_are_refused(picture_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    shutil.copytree(rgb_phantoms, tmp_path / "data")
    image = tmp_path / "data" / "images" / "phantom_000.png"
    image.write_bytes((rgb_phantoms / "images" / "phantom_001.png").read_bytes())
    with pytest.raises(RunError, match="changed: phantom_000"):
        genseg.export_model(picture_run, tmp_path / "data", "onnx", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


WITHOUT_TORCH = """
import sys
for name in ("torch", "monai", "matplotlib", "safetensors", "einops"):
    sys.modules[name] = None
sys.argv = ["genseg", "predict", *sys.argv[1:]]
from genseg.cli import main
main()
"""


def test_the_command_line_predicts_without_pytorch(
    exported: Exported, picture_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    arguments = [str(exported.path), str(rgb_phantoms / "images"), "-o", str(tmp_path / "masks"), "--overlays"]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 masks" in done.stdout
    mask = np.array(Image.open(tmp_path / "masks" / "phantom_003.png"))
    own = genseg.load(picture_run, device="cpu").predict(rgb_phantoms / "images" / "phantom_003.png")
    assert np.mean(mask == own) >= 0.9999


def test_a_run_folder_without_pytorch_says_what_to_install(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    arguments = [str(picture_run), str(rgb_phantoms / "images"), "-o", str(tmp_path / "masks")]
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'genseg[train]'" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
