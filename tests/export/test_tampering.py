"""An exported model is used only as it was exported."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import genseg
from genseg.base.seals import BLANK, KEY, sealed
from genseg.errors import DataError, FaultCode, RunError
from genseg.export import exporting
from genseg.export.bundle import open_bundle
from genseg.export.exporting import Exported
from genseg.models.model import Model


@pytest.fixture
def copy(exported: Exported, tmp_path: Path) -> Path:
    """An exported model to be changed."""
    shutil.copytree(exported.path.parent, tmp_path / "copy")
    return tmp_path / "copy" / exported.path.name


def _refusal(path: Path) -> str:
    with pytest.raises(RunError) as refused:
        genseg.load(path)
    return str(refused.value)


@pytest.mark.fault(74)
def test_a_changed_bit_anywhere_stops_an_exported_model(copy: Path) -> None:
    for path in [one for one in (copy, copy.with_suffix(".bin")) if one.is_file()]:
        before = path.read_bytes()
        for place in np.random.default_rng(0).integers(0, len(before), 12):
            changed = bytearray(before)
            changed[place] ^= 4
            path.write_bytes(changed)
            assert str(copy) in _refusal(copy)
        path.write_bytes(before)
    assert genseg.load(copy).plan.segmenter == "unet-small"


@pytest.mark.fault(74)
@pytest.mark.parametrize("old", [b'"temperature":', b'"class_names":["background","lesion"]', b'"patch_size":[32'])
def test_an_edited_description_stops_an_exported_model(copy: Path, old: bytes) -> None:
    content = copy.read_bytes()
    old = old if old in content else old.replace(b'"', b"&quot;")
    assert content.count(old) == 1
    place = content.index(old) + len(old) - 2
    copy.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    assert "damaged, of another export, or was edited after it (its SHA-256 differs)" in _refusal(copy)


@pytest.mark.fault(74)
def test_without_its_hash_an_exported_model_is_not_used(copy: Path) -> None:
    content = copy.read_bytes()
    copy.write_bytes(content.replace(b"digest", b"dIgest"))
    assert "it has lost the hash that it is checked by" in _refusal(copy)


@pytest.mark.fault(96)
@pytest.mark.parametrize("exported", ["openvino"], indirect=True)
def test_weights_of_another_export_are_not_taken(
    copy: Path, picture_run: Path, rgb_phantoms: Path, tmp_path: Path
) -> None:
    other = genseg.export_model(picture_run, rgb_phantoms, "openvino", tmp_path / "o.xml", precision="int8").path
    shutil.copyfile(other.with_suffix(".bin"), copy.with_suffix(".bin"))
    assert f"{copy.name} or {copy.stem}.bin".replace(copy.name, "the file") in _refusal(copy)
    copy.with_suffix(".bin").unlink()
    assert "No such file" in _refusal(copy)


@pytest.mark.fault(95)
@pytest.mark.parametrize("exported", ["onnx"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("trust"),
        lambda told: told.pop("model"),
        lambda told: told.update(trust=[]),
        lambda told: told.update(model=None),
        lambda told: told["model"].update(plan=7),
        lambda told: told["model"].update(labels={"names": 3}),
        lambda told: told["model"]["labels"]["values"].update({"1": 9}),
        lambda told: told["model"].update(reading=None),
        lambda told: told["model"].update(channel_files="some"),
        lambda told: told["model"]["plan"].update(channels=1),
        lambda told: told["model"]["plan"].update(rank=3, spacing=[1, 1, 1], patch_size=[8, 8, 8]),
        lambda told: told["model"].update(seen={"salt": "1"}),
        lambda told: told["model"].update(seen=[1]),
        lambda told: told.update(precision="float8"),
        lambda told: told["trust"].update(often_empty={}),
        lambda told: told["trust"].update(mendings=[{"class_index": 9, "rule": "fill-holes", "gain": 0.1}]),
    ],
)
def test_odd_descriptions_are_refused_when_the_file_is_loaded(copy: Path, change: Callable[[Any], Any]) -> None:
    import onnx

    model = onnx.load(copy)
    told = json.loads(model.metadata_props[0].value)
    change(told)
    model.metadata_props[0].value = json.dumps({**told, KEY: BLANK})
    copy.write_bytes(sealed(model.SerializeToString()))
    assert str(copy) in _refusal(copy)


@pytest.mark.fault(74)
def test_every_file_of_a_bundle_is_looked_at(picture_run: Path, rgb_phantoms: Path, tmp_path: Path) -> None:
    bundle = genseg.export_model(picture_run, rgb_phantoms, "bundle", tmp_path / "bundle").path
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        before = path.read_bytes()
        path.write_bytes(before + b"\n")
        with pytest.raises(Exception) as refused:  # noqa: PT011  # MONAI raises what it likes around ours
            open_bundle(bundle)
        assert path.name in str(refused.value.__cause__), path
        path.write_bytes(before)
    (bundle / "docs" / "README.md").unlink()
    assert open_bundle(bundle).plan.segmenter == "unet-small"


@pytest.mark.fault(73)
def test_values_that_overflow_are_a_problem_and_no_empty_mask(exported: Exported, picture_run: Path) -> None:
    for model in (genseg.load(exported.path), genseg.load(picture_run, device="cpu")):
        for value in (3.4e38, -3.4e38, 1e300, 2e18):
            with pytest.raises(DataError) as refused:
                model.examine(_picture(model, value))
            assert [fault.code for fault in refused.value.faults] == [FaultCode.OVERFLOW]


def _picture(model: Model, value: float) -> np.ndarray:
    picture = np.random.default_rng(0).uniform(0, 255, (model.plan.channels, 32, 32))
    picture[0, 3, 4] = value
    return picture


@pytest.mark.fault(73)
def test_a_model_that_is_not_finite_is_not_exported(
    picture_run: Path, rgb_phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(segmenter: Any, *rest: Any) -> None:
        segmenter.head.bias.data[:] = float("inf")
        write(segmenter, *rest)

    write = exporting.write_onnx
    monkeypatch.setattr(exporting, "write_onnx", spoil)
    with pytest.raises(RunError, match="not finite"):
        genseg.export_model(picture_run, rgb_phantoms, "onnx", tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
