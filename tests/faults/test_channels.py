"""Images of several channels, from the check to the mask: none of them may be lost on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import yaml
from numpy.typing import NDArray
from PIL import Image

import genseg
from genseg.config import Settings
from genseg.models.model import Model
from genseg.segmenters import unet

Run = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.fault(56)
SIDE, CASES = 32, 10


def _case(number: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """A slice of CT and of PET, and the lesion, which takes up sugar and has the density of its surroundings."""
    random = np.random.default_rng(number)
    row, column = np.mgrid[:SIDE, :SIDE]
    centre, radius = random.uniform(9, SIDE - 9, 2), random.uniform(4, 6)
    mask = np.hypot(row - centre[0], column - centre[1]) < radius
    body = np.hypot(row - SIDE / 2, column - SIDE / 2) < 15
    ct = np.where(body, random.choice([-80.0, 40.0, 60.0], (SIDE, SIDE)), -1000) + random.normal(0, 8, (SIDE, SIDE))
    pet = np.where(mask, 9.0, 1.0) * body + random.normal(0, 0.3, (SIDE, SIDE))
    return ct.astype(np.float32), pet.astype(np.float32), (mask & body).astype(np.uint8)


def _write(folder: Path, names: tuple[str, str]) -> Path:
    """The cases in nnU-Net's lay-out, a file for each channel, in the order of `names`."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    for number in range(CASES):
        ct, pet, mask = _case(number)
        for place, name in enumerate(names):
            tifffile.imwrite(folder / "imagesTr" / f"p{number}_000{place}.tif", {"CT": ct, "PET": pet}[name])
        Image.fromarray(mask).save(folder / "labelsTr" / f"p{number}.tif")
    described = {"channel_names": dict(enumerate(names)), "labels": {"background": 0, "lesion": 1}}
    (folder / "dataset.json").write_text(json.dumps({**described, "numTraining": CASES, "file_ending": ".tif"}))
    return folder


@pytest.mark.parametrize("names", [("CT", "PET"), ("PET", "CT")])
def test_check_and_plan_show_the_rule_of_each_channel(run: Run, tmp_path: Path, names: tuple[str, str]) -> None:
    data = _write(tmp_path / "data", names)
    code, printed, error = run("check", data)
    assert code == 0, error
    for place, name in enumerate(names):
        row = next(line for line in printed.splitlines() if f"channel {place} ({name})" in line)
        assert f" {name}, float32, " in row
        assert ("scaled by window" if name == "CT" else "scaled by percentile") in row
    code, printed, error = run("plan", data, "-o", tmp_path / "plan.yaml", "--device", "cpu", "--method", "plain")
    assert code == 0, error
    rules = yaml.safe_load((tmp_path / "plan.yaml").read_text())["intensity"]
    assert [(rule["channel"], rule["rule"]) for rule in rules] == [
        (name, "window" if name == "CT" else "percentile") for name in names
    ]
    ct = np.concatenate([image[mask > 0] for image, _, mask in map(_case, range(CASES))])
    window = rules[names.index("CT")]
    assert (window["low"], window["high"]) == pytest.approx(tuple(np.percentile(ct, (0.5, 99.5))), abs=2)
    assert (window["mean"], window["std"]) == pytest.approx((ct.mean(), ct.std()), rel=0.02)
    assert f"channel 0 ({names[0]}): " in printed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Trained on CT with PET, where the PET alone shows the lesion."""
    import torch

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("channels")
    settings = Settings(
        segmenter="unet-small", updates=60, batch_size=4, learning_rate=5e-3, method="plain", device="cpu"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet, "SMALL", {2: [8, 16], 3: [8, 16]})
        return genseg.fit(_write(folder / "data", ("CT", "PET")), folder / "run", settings=settings)


def test_an_object_that_only_the_second_channel_shows_is_found_by_it(model: Model) -> None:
    ct, pet, mask = _case(99)
    found = model.predict(np.stack([ct, pet]))
    assert 2 * np.count_nonzero(found & mask) / (found.sum() + mask.sum()) > 0.8
    without = model.examine(np.stack([ct, 0 * pet]))
    assert np.count_nonzero(without.mask != found) > mask.sum() / 2
    assert any("channel 1 (PET) has the same value everywhere" in note for note in without.notes)
