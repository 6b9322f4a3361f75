"""A function of genseg leaves what belongs to its caller as it was: random states, threads, switches of libraries."""

from __future__ import annotations

import logging
import random
import shutil
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import genseg
from genseg.base.callers import callers_state_kept
from genseg.config import Settings
from genseg.errors import SettingsError


def _state() -> dict[str, Any]:
    """All that a process shares and a library might change."""
    return {
        "torch": torch.get_rng_state().tolist(),
        "numpy": str(np.random.get_state()),
        "python": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "default dtype": torch.get_default_dtype(),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "oneDNN": (torch._C._get_mkldnn_enabled(), torch._C._get_mkldnn_deterministic()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "gradients": torch.is_grad_enabled(),
        "matmul": torch.get_float32_matmul_precision(),
        "warnings": [*map(str, warnings.filters), str(warnings.showwarning)],
        "numpy errors": np.geterr(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "logging": (logging.root.level, list(logging.root.handlers)),
    }


def _changed_by(action: Callable[[], object]) -> list[str]:
    torch.manual_seed(7)
    np.random.seed(7)
    random.seed(7)
    before = _state()
    action()
    after = _state()
    return [name for name in before if before[name] != after[name]]


@pytest.fixture(scope="module")
def joint_settings(tiny_training: dict[str, Any]) -> Settings:
    """A joint training of no time."""
    return Settings(method="joint", size=32, folds=2, **tiny_training)


@pytest.fixture(scope="module")
def joint_run(rgb_phantoms: Path, joint_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run with a generator."""
    folder = tmp_path_factory.mktemp("runs") / "joint"
    assert _changed_by(lambda: genseg.fit(rgb_phantoms, folder, settings=joint_settings)) == []
    return folder


@pytest.mark.fault(89)
def test_training_resuming_loading_and_predicting_change_nothing(joint_run: Path, rgb_phantoms: Path) -> None:
    assert _changed_by(lambda: genseg.fit(rgb_phantoms, joint_run, resume=True)) == []
    assert _changed_by(lambda: genseg.load(joint_run, device="cpu")) == []
    model = genseg.load(joint_run, device="cpu")
    assert _changed_by(lambda: model.examine(np.zeros((3, 32, 32), np.uint8))) == []
    assert _changed_by(lambda: model.evaluate(rgb_phantoms)) == []


@pytest.mark.fault(89)
def test_checking_and_planning_change_nothing(joint_settings: Settings, rgb_phantoms: Path) -> None:
    assert _changed_by(lambda: genseg.check(rgb_phantoms)) == []
    assert _changed_by(lambda: genseg.plan(rgb_phantoms, joint_settings)) == []


WORKERS = {
    "genseg.fitting.finish_run": lambda: genseg.fit("data", "run", resume=True),
    "genseg.evidence.comparison.compare_with_baseline": lambda: genseg.compare("data", "run"),
    "genseg.evidence.refit.refit_on_all_labels": lambda: genseg.refit("data", "run"),
    "genseg.evidence.next_labels.choose_next": lambda: genseg.next_images("run", "images"),
    "genseg.evidence.learning_curve.measure_curve": lambda: genseg.curve("data", "out"),
    "genseg.export.exporting.export_run": lambda: genseg.export_model("run", "data", "onnx"),
    "genseg.synthetic.generate.generate_pairs": lambda: genseg.generate("run", "out"),
}
"""What does the work of a public function, and a call of that."""


@pytest.mark.fault(89)
@pytest.mark.parametrize("worker", WORKERS)
def test_what_work_draws_and_filters_is_put_back(
    worker: str, joint_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shutil.copytree(joint_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(worker, lambda *_, **__: _disturb())
    assert _changed_by(WORKERS[worker]) == []


def _disturb() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    warnings.simplefilter("ignore")


@pytest.mark.fault(89)
def test_generating_changes_nothing(joint_run: Path, tmp_path: Path) -> None:
    assert _changed_by(lambda: genseg.generate(joint_run, tmp_path / "new", 2, copies="keep", device="cpu")) == []


@pytest.mark.fault(89)
def test_a_training_that_is_refused_changes_nothing(rgb_phantoms: Path, tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(SettingsError):
            genseg.fit(rgb_phantoms, tmp_path / "out", settings=Settings(segmenter="unett", device="cpu"))

    assert _changed_by(refused) == []


@pytest.mark.fault(89)
def test_the_number_of_threads_changes_only_where_it_is_asked_for(joint_run: Path) -> None:
    genseg.load(joint_run, device="cpu", threads=2)
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)


@pytest.mark.fault(89)
def test_whatever_a_body_draws_and_filters_is_put_back_when_it_fails() -> None:
    @callers_state_kept()
    def fail() -> None:
        _disturb()
        raise KeyboardInterrupt

    def call() -> None:
        with pytest.raises(KeyboardInterrupt):
            fail()

    assert _changed_by(call) == []
