"""The folder that a run leaves behind: everything needed to understand, resume, repeat and use it.

::

    settings.yaml plan.yaml split.json labels.json cases.json cases.png   what was trained on what, and how
    environment.json                                                      versions and machine
    events.jsonl curves.png tensorboard/                                  every update and validation, and its picture
    checkpoints/                                                          to resume from
    model/segmenter.safetensors model/model.json                          the result, for prediction
    validation/report.html scores.json scores.csv                         how good it is on the held-out cases
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn

from genseg.config import Plan, Settings
from genseg.data.case import Case
from genseg.data.labels import LabelMap
from genseg.data.split import Split
from genseg.errors import RunError
from genseg.files import atomic_write_bytes
from genseg.training.checkpoint import FORMAT, write_tensors
from genseg.training.device import Machine

PACKAGES = ("genseg", "torch", "monai", "numpy", "scipy", "scikit-image", "pillow", "nibabel", "pydicom", "tifffile")


@dataclass(frozen=True)
class RunFolder:
    """Names of what lies in a run folder, and how to read and write its small files."""

    path: Path

    @classmethod
    def create(cls, path: Path) -> RunFolder:
        """Make a new, empty run folder. Raises RunError where something is there already or it cannot be made."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            occupied = any(path.iterdir())
        except OSError as error:
            raise RunError(f"{path}: cannot be made a run folder ({error.strerror}); choose another -o") from error
        if occupied:
            raise RunError(f"{path}: not empty. Choose another -o, or go on with an interrupted run by --resume")
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder. Raises RunError where `path` is none."""
        if not (path / "plan.yaml").is_file():
            raise RunError(f"{path}: not a run folder (there is no plan.yaml in it)")
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The delivered weights."""
        return self.path / "model" / "segmenter.safetensors"

    @property
    def is_finished(self) -> bool:
        """Whether the run has delivered its weights."""
        return (self.path / "model" / "model.json").is_file()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a small JSON file, atomically."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        atomic_write_bytes(target, json.dumps(content, indent=1, ensure_ascii=False).encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a small JSON file. Raises RunError where it is missing or broken."""
        try:
            content: dict[str, Any] = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / name}: cannot be read ({error})") from error
        return content

    def freeze(self, settings: Settings, plan: Plan, split: Split, labels: LabelMap, cases: Sequence[Case]) -> None:
        """Write down what is to be trained, before the first update; plan.yaml last, for it marks a run folder."""
        settings.to_yaml(self.path / "settings.yaml")
        self.write_json("split.json", split.to_json())
        self.write_json("labels.json", labels.to_json())
        self.write_json("cases.json", {case.name: case.sha256 for case in cases})
        plan.to_yaml(self.path / "plan.yaml")

    def frozen(self) -> tuple[Settings, Plan]:
        """Settings and plan that the run began with."""
        return Settings.from_yaml(self.path / "settings.yaml"), Plan.from_yaml(self.path / "plan.yaml")

    def deliver(self, segmenter: nn.Module, plan: Plan, labels: LabelMap) -> None:
        """Write the trained weights and what is needed to use them; model.json last, for it marks a finished run."""
        self.weights.parent.mkdir(exist_ok=True)
        sha256 = write_tensors(self.weights, segmenter.state_dict())
        described = {"format": FORMAT, "genseg": version("genseg"), "sha256": sha256}
        self.write_json("model/model.json", {**described, "plan": plan.model_dump(mode="json"), "labels": labels.to_json()})

    def check_cases(self, cases: Sequence[Case]) -> None:
        """Raise RunError where a case's files are not those that the run began with; all such cases at once."""
        frozen = self.read_json("cases.json")
        changed = sorted(case.name for case in cases if frozen.get(case.name) != case.sha256)
        missing = sorted(set(frozen) - {case.name for case in cases})
        if changed or missing:
            raise RunError(
                f"{self.path}: the data are not those that this run began with (changed: {changed or 'none'}, "
                f"missing: {missing or 'none'}); put them back, or start a new run"
            )

    def write_environment(self, machine: Machine) -> None:
        """Write down versions and machine."""
        packages = {name: version(name) for name in PACKAGES}
        described = {"python": platform.python_version(), "system": platform.system(), "machine": machine.describe()}
        self.write_json("environment.json", {**described, "packages": packages})
