"""The model card says what the run's own files say, and never more."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from deliveries import change_description, change_trust

from genseg.errors import RunError
from genseg.export.card import describe, write_card
from genseg.runs.folder import RunFolder
from genseg.segmenters.efficientnet_lite import imagenet_file


@pytest.fixture
def run(rgb_run: Path, tmp_path: Path) -> RunFolder:
    """A finished run to be changed."""
    return RunFolder(shutil.copytree(rgb_run, tmp_path / "run"))


@pytest.fixture
def change(run: RunFolder) -> Callable[..., None]:
    """Change a JSON file of the run: `change("data.json", lambda content: ...)`."""

    def change(name: str, how: Callable[[dict[str, Any]], Any]) -> None:
        content = run.read_json(name)
        how(content)
        if name == "model/model.json":
            change_description(run.path, **content)
        elif name == "model/trust.json":
            change_trust(run.path, **content)
        else:
            run.write_json(name, content)

    return change


def _text(run: RunFolder) -> str:
    write_card(run)
    return (run.path / "model" / "card.md").read_text(encoding="utf-8")


def test_training_writes_the_card(rgb_run: Path) -> None:
    folder = RunFolder(rgb_run)
    assert json.loads((rgb_run / "model" / "card.json").read_text()) == describe(folder)
    text = (rgb_run / "model" / "card.md").read_text()
    assert "**Not a medical device.**" in text
    assert "Licence stated by the dataset: Apache-2.0." in text
    assert "genseg phantom (rgb)" in text


def test_figures_are_those_of_the_held_out_cases(run: RunFolder) -> None:
    scores, card = run.read_json("validation/scores.json"), describe(run)
    (part,) = card["scores"]["parts"]
    assert part["name"] == "lesion"
    assert part["dice"] == scores["by_class"][0]["dice"]
    assert card["scores"]["count"] == 2
    worst = [one["case"] for one in card["scores"]["worst"]]
    assert worst == sorted(worst, key=lambda name: (scores["dice_by_case"][name], name))
    assert f"| lesion | {part['dice']['mean']:.3f} (" in _text(run)


def test_the_weights_are_those_that_lie_there(run: RunFolder) -> None:
    weights = describe(run)["weights"]
    content = (run.path / "model" / weights["file"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == weights["sha256"]


def test_the_data_hash_changes_with_any_case_and_not_with_their_order(
    run: RunFolder, change: Callable[..., None]
) -> None:
    before = describe(run)["data"]["sha256"]
    cases = run.read_json("cases.json")
    run.write_json("cases.json", dict(reversed(cases.items())))
    assert describe(run)["data"]["sha256"] == before
    change("cases.json", lambda content: content.update(phantom_003="0" * 64))
    assert describe(run)["data"]["sha256"] != before


def test_what_is_not_stated_or_undefined_is_said_to_be(run: RunFolder, change: Callable[..., None]) -> None:
    undefined = {"mean": None, "low": None, "high": None, "count": 0}
    change("data.json", lambda content: content.update(title="", licence=""))
    change("validation/scores.json", lambda content: content["by_class"][0].update(hd95=undefined))
    text = _text(run)
    assert "Dataset without a name. Licence stated by the dataset: none." in text
    assert "| undefined |" in text


@pytest.mark.parametrize(("held_out", "is_rough"), [(2, True), (40, False)])
def test_few_held_out_cases_are_called_few(
    run: RunFolder, change: Callable[..., None], held_out: int, is_rough: bool
) -> None:
    change("validation/scores.json", lambda content: content.update(count=held_out))
    assert ("these scores are rough" in _text(run)) == is_rough


def test_a_damaged_run_has_no_card(run: RunFolder) -> None:
    (run.path / "validation" / "scores.json").unlink()
    (run.path / "model" / "card.md").unlink()
    with pytest.raises(RunError, match=r"scores\.json"):
        write_card(run)
    assert not (run.path / "model" / "card.md").exists()


def test_the_weights_that_training_began_with_are_told(run: RunFolder, change: Callable[..., None]) -> None:
    assert describe(run)["pretrained"] is None
    assert "ImageNet" not in _text(run)
    change("model/model.json", lambda content: content["plan"].update(segmenter="unet-pretrained"))
    told = describe(run)["pretrained"]
    assert told["sha256"] == hashlib.sha256(imagenet_file().read_bytes()).hexdigest()
    assert told["sha256"] in _text(run)


def test_what_held_out_cases_taught_is_told(run: RunFolder, change: Callable[..., None]) -> None:
    text = _text(run)
    trust = run.read_json("model/trust.json")
    assert f"{trust['calibration']['temperature']:.2f}" in text
    assert f"{trust['familiarity']['highest']:.2f}" in text
    change("model/trust.json", lambda content: content.update(calibration=None, familiarity=None))
    text = _text(run)
    assert "Probabilities are not calibrated" in text
    assert "Out-of-distribution images are not detected" in text
    change("model/trust.json", lambda content: content.update(mendings=[STEP]))
    assert "fill-holes of object (+2.0 Dice points)" in _text(run).replace("lesion", "object")


STEP = {"class_index": 1, "rule": "fill-holes", "gain": 0.02, "least": 0.0}


@pytest.mark.fault(56)
def test_the_rule_of_each_channel_is_told(run: RunFolder, change: Callable[..., None]) -> None:
    assert describe(run)["intensity"] == ["eight-bit"]
    rules = [{"rule": "window", "channel": "CT"}, {"rule": "z-score", "channel": "PET"}, {"rule": "unchanged"}]
    change("model/model.json", lambda content: content["plan"].update(channels=3, intensity=rules))
    assert describe(run)["intensity"] == [
        "window for channel 0 (CT)",
        "z-score for channel 1 (PET)",
        "unchanged for channel 2",
    ]


@pytest.mark.fault(92)
def test_names_and_titles_are_neither_headings_nor_scripts(run: RunFolder, change: Callable[..., None]) -> None:
    nasty = "lesion\n\n# Approved as a medical device\n\n<script>alert(1)</script> | x"
    names = ["background", nasty]
    change("data.json", lambda content: content.update(title=nasty, licence=nasty, modality=nasty))
    change("model/model.json", lambda content: content["labels"].update(names=names))
    change("model/model.json", lambda content: content["plan"].update(class_names=names))
    change("split.json", lambda content: content.update(method=nasty))
    change("validation/scores.json", lambda content: content["by_class"][0].update(name=nasty))
    change("validation/scores.json", lambda content: content.update(dice_by_case={nasty: 0.5}))
    text = _text(run)
    headings = [line for line in text.splitlines() if line.startswith("#")]
    assert len(headings) == 6
    assert "<script" not in text
    assert not any(line.startswith("#") and "Approved" in line and not line.startswith("# Segm") for line in headings)
    (row,) = [line for line in text.splitlines() if line.startswith("| lesion")]
    assert row.replace("\\|", "").count("|") == 5
