"""A delivered model is used only as it was delivered."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from deliveries import change_description, change_trust, vouch_for
from safetensors.torch import load_file, save_file

import genseg
from genseg.errors import GensegError, RunError
from genseg.runs.delivered import read_delivery
from genseg.runs.folder import RunFolder

Content = dict[str, Any]


@pytest.fixture
def run(rgb_run: Path, tmp_path: Path) -> Path:
    """A finished run to be changed."""
    return shutil.copytree(rgb_run, tmp_path / "run")


def _refusal(run: Path) -> str:
    with pytest.raises(RunError) as refused:
        genseg.load(run, device="cpu")
    return str(refused.value)


def _edit_json(path: Path, how: Callable[[Content], Any]) -> None:
    content = json.loads(path.read_text())
    how(content)
    path.write_text(json.dumps(content, indent=1))


RULE = {"class_index": 1, "rule": "fill-holes", "gain": 0.1, "least": 0.0}
EDITS: dict[str, tuple[str, Callable[[Content], Any]]] = {
    "temperature": ("trust.json", lambda told: told["calibration"].update(temperature=-1)),
    "rules": ("trust.json", lambda told: told["mendings"].append(RULE)),
    "limit": ("trust.json", lambda told: told["familiarity"].update(highest=99.0)),
    "names": ("model.json", lambda told: told["labels"].update(names=["background", "healthy"])),
    "spacing": ("model.json", lambda told: told["plan"].update(patch_size=[16, 16])),
    "flips": ("model.json", lambda told: told["plan"].update(flip_axes=[])),
    "weights": ("model.json", lambda told: told.update(sha256="0" * 64)),
    "list": ("model.json", lambda told: told["files"].pop("trust.json")),
}


@pytest.mark.fault(74)
@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_value_stops_the_model(run: Path, edit: str) -> None:
    name, how = EDITS[edit]
    _edit_json(run / "model" / name, how)
    message = _refusal(run)
    assert str(run / "model" / name) in message
    assert "SHA-256 differs" in message
    assert "restore the folder from a copy, or train again" in message


@pytest.mark.fault(74)
def test_every_delivered_file_is_looked_at(run: Path) -> None:
    delivered = {path.name for path in (run / "model").iterdir()}
    assert delivered == {*read_delivery(run / "model").files, "model.json"}
    for name in sorted(delivered):
        path = run / "model" / name
        before = path.read_bytes()
        path.write_bytes(before[:-3] + bytes([before[-3] ^ 1]) + before[-2:])
        assert name in _refusal(run), name
        path.write_bytes(before)
    assert genseg.load(run, device="cpu").labels.names == ("background", "lesion")


@pytest.mark.fault(74)
@pytest.mark.parametrize("name", ["trust.json", "segmenter.safetensors"])
def test_a_file_that_is_missing_is_named(run: Path, name: str) -> None:
    (run / "model" / name).unlink()
    assert f"{name} is missing" in _refusal(run)


@pytest.mark.fault(74)
def test_an_edited_card_is_said_to_be_kept_elsewhere_and_is_written_anew(run: Path, rgb_phantoms: Path) -> None:
    card = run / "model" / "card.md"
    before = card.read_text()
    card.write_text(before.replace("Not a medical device", "A medical device"))
    assert "to keep what you wrote, move it to a file of another name" in _refusal(run)
    card.rename(run / "model" / "my-notes.md")
    assert genseg.load(run, device="cpu").run == run
    genseg.fit(rgb_phantoms, run, resume=True)
    assert card.read_text() == before
    assert genseg.load(run, device="cpu").run == run


def test_what_was_interrupted_while_a_file_was_put_in_its_place_does_not_count(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(run)
    written: list[str] = []

    def stop(self: RunFolder, delivery: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append("once")
        write(self, delivery)

    write = RunFolder._write_delivery
    monkeypatch.setattr(RunFolder, "_write_delivery", stop)
    with pytest.raises(KeyboardInterrupt):
        folder.deliver_file("trust.json", b"{}")
    assert not folder.has_delivered("trust.json")
    assert genseg.load(run, device="cpu").trust.calibration is None


@pytest.mark.fault(73)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_stop_the_model(run: Path, value: float) -> None:
    path = run / "model" / "segmenter.safetensors"
    tensors = load_file(path)
    name = next(name for name, tensor in tensors.items() if tensor.ndim == 4)
    tensors[name].ravel()[3] = value
    save_file(tensors, path)
    vouch_for(run, path.name)
    message = _refusal(run)
    assert f"1 of its tensors hold NaN or infinite values (such as {name})" in message


@pytest.mark.fault(73)
def test_weights_whose_numbers_overflow_stop_the_model(run: Path) -> None:
    path = run / "model" / "segmenter.safetensors"
    save_file({name: one * 1e37 if one.dtype == torch.float32 else one for name, one in load_file(path).items()}, path)
    vouch_for(run, path.name)
    assert "values that are not finite, even for a plain image" in _refusal(run)


def test_weights_of_another_network_stop_the_model(run: Path) -> None:
    path = run / "model" / "segmenter.safetensors"
    tensors = load_file(path)
    save_file({name: one for name, one in tensors.items() if name != "head.weight"}, path)
    vouch_for(run, path.name)
    assert "weights of another network than the plan's" in _refusal(run)


CALIBRATION = {"temperature": 1.5, "error_before": 0.1, "error_after": 0.1, "cases": 2}
ODD_TRUST: list[Content] = [
    {"calibration": {**CALIBRATION, "temperature": value}} for value in (-1, 0, 1e-9, 1e9, "hot", None, [])
]
ODD_TRUST += [{"calibration": value} for value in ([], "none", 3, {}, {"temperature": 1})]
ODD_TRUST += [{"mendings": value} for value in (None, 7, "rules", [[]], [{}], {"rule": 1})]
ODD_TRUST += [
    {"mendings": [{**RULE, key: value}]}
    for key, value in (
        *(("class_index", 0), ("class_index", 2), ("class_index", -1), ("class_index", "a"), ("rule", "erase")),
        *(("rule", None), ("gain", 5), ("gain", "x"), ("least", -1), ("least", "x")),
    )
]
ODD_TRUST += [{"lowest_dice": value} for value in (-0.1, 1.1, "low", [])]
ODD_TRUST += [{"often_empty": value} for value in (None, 7, "maybe", [])]
ODD_TRUST += [{"familiarity": value} for value in ([], {}, "known", {"clouds": [], "usual": [], "highest": 1})]


@pytest.mark.fault(95)
@pytest.mark.parametrize("change", ODD_TRUST, ids=json.dumps)
def test_odd_values_in_what_was_learned_are_named_when_the_model_is_loaded(run: Path, change: Content) -> None:
    change_trust(run, **change)
    message = _refusal(run)
    assert "damaged" in message
    assert next(iter(change)) in message or "post-processing for the classes" in message


CLOUD_EDITS: list[tuple[str, Any]] = [
    *(("mean", []), ("mean", "x"), ("mean", [None]), ("mean", [[1.0]]), ("scale", [0.0]), ("scale", None)),
    *(("directions", [1.0]), ("directions", [[1.0], [1.0, 2.0]]), ("spread", [-1.0]), ("spread", {}), ("rest", 0)),
    *(("rest", "x"), ("rest", None)),
]


@pytest.mark.fault(95)
@pytest.mark.parametrize(("key", "value"), CLOUD_EDITS)
@pytest.mark.parametrize("level", [0, 1])
def test_odd_statistics_of_the_training_images_are_named(run: Path, level: int, key: str, value: Any) -> None:
    familiarity = RunFolder(run).read_json("model/trust.json")["familiarity"]
    familiarity["clouds"][level][key] = value
    change_trust(run, familiarity=familiarity)
    assert "damaged" in _refusal(run)


@pytest.mark.fault(95)
@pytest.mark.parametrize("change", ["fewer", "shorter", "swapped"])
def test_statistics_of_another_network_are_found_when_the_model_is_loaded(run: Path, change: str) -> None:
    familiarity = RunFolder(run).read_json("model/trust.json")["familiarity"]
    clouds = familiarity["clouds"]
    if change == "fewer":
        familiarity["clouds"], familiarity["usual"] = clouds[:-1], familiarity["usual"][:-1]
    elif change == "swapped":
        clouds[0], clouds[1] = clouds[1], clouds[0]
    else:
        clouds[1]["mean"], clouds[1]["scale"] = clouds[1]["mean"][1:], clouds[1]["scale"][1:]
        clouds[1]["directions"] = [row[1:] for row in clouds[1]["directions"]]
    change_trust(run, familiarity=familiarity)
    assert "the network does not fit its description" in _refusal(run)


ODD_VALUES: tuple[Any, ...] = (None, 0, -1, 1e400, "", "x", [], [None], {}, {"a": 1}, True, [[1]], "\udcff")


def _places(content: Any, at: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every place of a JSON text, but for single numbers of long lists."""
    found = [at]
    if isinstance(content, dict | list):
        inside = content.items() if isinstance(content, dict) else enumerate(content[:2])
        for key, value in inside:
            found += _places(value, (*at, key))
    return found


@pytest.mark.fault(95)
@pytest.mark.parametrize("seed", range(8))
def test_a_value_of_another_kind_anywhere_is_refused_by_name_or_does_no_harm(run: Path, seed: int) -> None:
    draw = random.Random(seed)
    told = json.loads((run / "model" / "model.json").read_text())
    for _ in range(6):
        changed = json.loads(json.dumps(told))
        place = draw.choice([place for place in _places(told) if place])
        part = changed
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = draw.choice(ODD_VALUES)
        change_description(run, **changed)
        try:
            model = genseg.load(run, device="cpu")
        except GensegError as error:
            problem = str(error)
        else:
            problem = "" if model.plan.class_names == model.labels.names else "names of classes that do not agree"
        assert problem == "" or str(run) in problem, place


@pytest.mark.fault(95)
@pytest.mark.parametrize("content", ["", "{", "[]", "null", "3", '"text"', "[" * 100_000, '{"format": NaN}', "\xff"])
@pytest.mark.parametrize("name", ["model/model.json", "split.json", "cases.json"])
def test_what_is_no_json_is_named(run: Path, name: str, content: str) -> None:
    (run / name).write_bytes(content.encode("latin-1"))
    read = {
        "model/model.json": lambda: genseg.load(run, device="cpu"),
        "split.json": RunFolder(run).split,
        "cases.json": lambda: RunFolder(run).check_fingerprints({}),
    }[name]
    with pytest.raises(RunError, match=name.rpartition("/")[2]):
        read()
