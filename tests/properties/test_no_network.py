"""Nothing leaves the machine: everything runs where no connection can be made, and none is tried.

What is tried is written down, since packages that report on their users pass over their failure.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

Run = Callable[..., tuple[int, str, str]]

WAYS_OUT = ((socket.socket, "connect"), (socket, "create_connection"), (socket, "getaddrinfo"))
EXPORTING = """
import socket, sys
from pathlib import Path

here = Path(sys.argv[1])

def refuse(*place, **_):
    with (here / "tried.txt").open("a") as tried:
        tried.write(f"{place}\\n")
    raise OSError("no network")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse

import numpy as np
from genseg.export.openvino import write_openvino
from genseg.predict.runtimes import OpenVinoNetwork

write_openvino(here / "model.onnx", "{}", here / "model.xml", [np.zeros((1, 3, 16, 16), np.float32)])
OpenVinoNetwork(here / "model.xml", 1)
"""


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked of the network, which is not there."""
    found: list[str] = []

    def refuse(*place: object, **_: object) -> NoReturn:
        found.append(str(place))
        raise OSError("no network")

    for owner, name in WAYS_OUT:
        monkeypatch.setattr(owner, name, refuse)
    return found


def test_every_verb_runs_without_a_network(
    run: Run, tried: list[str], tiny_training: dict[str, Any], rgb_phantoms: Path, tmp_path: Path
) -> None:
    options = [word for name, value in tiny_training.items() for word in (f"--{name.replace('_', '-')}", value)]
    made = tmp_path / "run"
    for verb in (
        ["check", rgb_phantoms, "-o", tmp_path / "checked"],
        ["plan", rgb_phantoms, "-o", tmp_path / "plan.yaml", *options],
        ["train", rgb_phantoms, "-o", made, "--method", "joint", *options],  # and the comparison
        ["predict", made, rgb_phantoms / "images", "-o", tmp_path / "masks", "--overlays"],
        ["evaluate", made, rgb_phantoms],
        ["next", made, rgb_phantoms / "images", "-n", 1],
        ["generate", made, "-n", 2, "--copies", "keep", "-o", tmp_path / "synthetic"],
        ["export", made, rgb_phantoms, "--to", "bundle"],
    ):
        code, *printed = run(*verb)
        assert code == 0, (verb, printed)
    assert tried == []


@pytest.mark.skipif(sys.platform == "win32", reason="processes that report are not copies of this one there")
def test_exporting_and_predicting_with_openvino_reports_to_nobody(tmp_path: Path) -> None:
    """In a process of its own: another test may have imported the packages, and they report on import."""
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    _write_convolution(tmp_path / "model.onnx")
    told_to_be_quiet = {"CI", "TF_BUILD", "JENKINS_URL", "NNCF_CI", "NNCF_DEV"}
    environment = {name: value for name, value in os.environ.items() if name not in told_to_be_quiet}
    command = [sys.executable, "-c", EXPORTING, str(tmp_path)]
    # What the user has once answered lies in the home folder.
    done = subprocess.run(command, env=environment | {"HOME": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.onnx", "model.xml"]


def _write_convolution(path: Path) -> None:
    """The least network that can be quantised."""
    onnx = pytest.importorskip("onnx")
    make, number = onnx.helper, onnx.TensorProto.FLOAT
    weights = make.make_tensor("weights", number, (2, 3, 3, 3), np.ones(54, np.float32))
    ends = [
        make.make_tensor_value_info(name, number, (1, count, 16, 16)) for name, count in (("image", 3), ("logits", 2))
    ]
    node = make.make_node("Conv", ["image", "weights"], ["logits"], pads=[1, 1, 1, 1])
    onnx.save(make.make_model(make.make_graph([node], "network", ends[:1], ends[1:], [weights])), path)
