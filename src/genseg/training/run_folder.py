"""The folder that a run leaves behind: everything needed to understand, resume, repeat and use it.

::

    settings.yaml plan.yaml split.json labels.json cases.json cases.png   what was trained on what, and how
    data.json                                                             what the data are like, in figures
    environment.json                                                      versions and machine
    events.jsonl curves.png tensorboard/                                  every update and validation, and its picture
    stalled.txt                                                           what it was doing, where it hung
    checkpoints/                                                          to resume from
    pairs/                                                                pictures of real and generated pairs
    model/segmenter.safetensors model/model.json                          the result, for prediction
    model/trust.json                                                      what held-out cases teach about its use
    model/generator.safetensors                                           the generator, for synthetic pairs
    model/card.md model/card.json                                         what the model is, for whom, and its limits
    validation/report.html scores.json scores.csv                         how good it is on the held-out cases
    comparison/                                                           what generated pairs bring here
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from filelock import FileLock, Timeout

from genseg.config import FORMAT, Arm, Plan, Settings
from genseg.data.case import Case
from genseg.data.check import Examination, contact_sheet
from genseg.data.split import Split
from genseg.device import Machine
from genseg.errors import RunError
from genseg.files import TEMPORARY, atomic_write_bytes, printable
from genseg.joint.generation import Generation
from genseg.joint.source import PairSource
from genseg.training.checkpoint import write_tensors
from genseg.training.data import TrainingData
from genseg.training.state import TrainingState

PACKAGES = ("genseg", "torch", "monai", "numpy", "scipy", "scikit-image", "pillow", "nibabel", "pydicom", "tifffile")
FROZEN = ("settings.yaml", "split.json", "labels.json", "cases.json", "data.json", "cases.png", "plan.yaml")
"""What is written before the first update; plan.yaml last, for it marks a run folder."""

BEGINNING = f"{TEMPORARY}beginning"
"""There only until plan.yaml is: tells the remains of a process that was killed from files of the user's."""


FEWER = "-with-"


@dataclass(frozen=True)
class RunFolder:
    """Names of what lies in a run folder, and how to read and write its small files."""

    path: Path

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
    def cache(self) -> Path:
        """Folder of prepared cases that do not fit into memory; there only while the run trains."""
        return self.path / "cache"

    @property
    def pairs(self) -> Path:
        """Folder of pictures of real and synthetic pairs."""
        return self.path / "pairs"

    @property
    def weights(self) -> Path:
        """The weights that the run's own training ended with."""
        return self.path / "model" / "segmenter.safetensors"

    @property
    def generator(self) -> Path:
        """The delivered generator; there only where the run has one that is of use."""
        return self.path / "model" / "generator.safetensors"

    def compared(self, arm: Arm, fold: int, images: int | None = None) -> RunFolder:
        """The training of an arm with a fold held out that a comparison makes; of the run itself, its scores alone.

        images: in an update, where memory ran out and all trainings of the comparison were begun anew with fewer.
        """
        folder = self.path / "comparison" / f"{arm}-fold-{fold}"
        return RunFolder(folder if images is None else with_fewer_images(folder, images))

    @property
    def is_finished(self) -> bool:
        """Whether the run has delivered its weights."""
        return (self.path / "model" / "model.json").is_file()

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a small JSON file, atomically; in ASCII, for file names may hold bytes that are no text."""
        target = self.path / name
        target.parent.mkdir(exist_ok=True)
        atomic_write_bytes(target, json.dumps(content, indent=1).encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a small JSON file. Raises RunError where it is missing or broken."""
        try:
            content = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{self.path / name}: cannot be read ({error})") from error
        if not isinstance(content, dict):
            raise RunError(f"{self.path / name}: damaged; expected keys and values, found {type(content).__name__}")
        return content

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder while the body runs; a killed process keeps nobody out.

        Raises RunError where one is at work in it.
        """
        lock, owner = self.path / "training.lock", self.path / "training.owner"
        try:
            with FileLock(lock, timeout=0):
                owner.write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
                try:
                    yield
                finally:
                    for path in (owner, lock):
                        with suppress(OSError):  # Windows keeps open files
                            path.unlink()
        except Timeout:
            other = owner.read_text(encoding="utf-8") if owner.is_file() else "another process"
            cure = "wait for it to end, or choose another -o"
            raise RunError(f"{self.path}: {other} is training in this folder; {cure}") from None

    def freeze(self, settings: Settings, gathered: TrainingData) -> None:
        """Write down what is to be trained, before the first update; see `FROZEN`."""
        settings.to_yaml(self.path / "settings.yaml")
        self.write_json("split.json", gathered.split.to_json())
        self.write_json("labels.json", gathered.examination.labels.to_json())
        self.write_json("cases.json", fingerprints(gathered.examination.cases))
        index, statistics = gathered.examination.index, gathered.examination.statistics
        described = {"title": index.title, "licence": index.licence, "modality": index.modality}
        self.write_json("data.json", {**described, "statistics": statistics.to_json()})
        contact_sheet(gathered.examination, self.path / "cases.png")
        gathered.plan.to_yaml(self.path / "plan.yaml")

    def settings(self) -> Settings:
        """The settings that the run began with."""
        return Settings.from_yaml(self.path / "settings.yaml")

    def plan(self) -> Plan:
        """The plan that the run began with."""
        return Plan.from_yaml(self.path / "plan.yaml")

    def split(self) -> Split:
        """The split that the run began with."""
        return Split.from_json(self.read_json("split.json"))

    def deliver(self, state: TrainingState, gathered: TrainingData, source: PairSource | None) -> None:
        """Write the trained weights and what is needed to use them; model.json last, for it marks a finished run.

        source: what synthetic pairs are made from, where the run has a generator that is of use.
        """
        examination = gathered.examination
        self.weights.parent.mkdir(exist_ok=True)
        described = {
            "format": FORMAT,
            "genseg": version("genseg"),
            "weights": self.weights.name,
            "sha256": write_tensors(self.weights, state.learner.average.module.state_dict()),
            "plan": gathered.plan.model_dump(mode="json"),
            "labels": examination.labels.to_json(),
            "reading": asdict(examination.options),
            "generator": self._deliver_generator(state.generation, source),
            "channel_files": any(len(files.images) > 1 for files in examination.cases.entries),
        }
        self.write_json("model/model.json", described)

    def deliver_instead(self, other: RunFolder) -> None:
        """Deliver the model of another finished run, which was better, in place of the own; the generator stays.

        Whenever it is interrupted, one of the two is there whole: model.json, written last, names the file of weights.
        """
        described = other.read_json("model/model.json")
        weights = self.path / "model" / f"segmenter-{Plan.from_mapping(described['plan']).arm}.safetensors"
        atomic_write_bytes(weights, other.weights.read_bytes())
        own = self.read_json("model/model.json")
        self.write_json("model/model.json", {**described, "weights": weights.name, "generator": own["generator"]})
        self.weights.unlink(missing_ok=True)

    def _deliver_generator(self, generation: Generation | None, source: PairSource | None) -> dict[str, Any] | None:
        """Write the generator. Returns what model.json says of it: why it was switched off ("off", empty where it was
        not), else the hash of its file and all that is no tensor; None for a run without one.
        """
        if source is None:
            return None if generation is None else {"off": generation.off}
        return {"off": "", "sha256": write_tensors(self.generator, source.tensors()), **source.describe()}

    def check_cases(self, cases: Iterable[Case]) -> None:
        """Raise RunError where cases are not those that the run began with; all such cases at once."""
        self.check_fingerprints(fingerprints(cases))

    def check_fingerprints(self, found: Mapping[str, str]) -> None:
        """The same, of cases whose hashes are known; see `fingerprints`."""
        different = self._differences(found)
        if different:
            cure = "put them back, or start a new run"
            if different.keys() == {"changed"}:
                cure += ", or go on with what there is now by --resume --accept-data-change"
            raise RunError(
                f"{self.path}: the data are not those that this run began with ({_listed(different)}); {cure}"
            )

    def accept_cases(self, examination: Examination) -> str:
        """Take the cases as they are now for those that the run began with. Returns those that differ, in words.

        Raises RunError where cases are missing or were added, or the masks hold other classes by now: the split and the
        network are for those that the run began with.
        """
        found = fingerprints(examination.cases)
        different = self._differences(found)
        if different.keys() - {"changed"} or self.read_json("labels.json") != examination.labels.to_json():
            cure = "only changed images and masks can be accepted; put the others back, or start a new run"
            listed = _listed(different)
            raise RunError(
                f"{self.path}: the cases or their classes are not those that this run began with ({listed}); {cure}"
            )
        if different:
            self.write_json("cases.json", found)
        return _listed(different)

    def _differences(self, found: Mapping[str, str]) -> dict[str, list[str]]:
        """Names of cases that are not as they were when the run began, by what has become of them."""
        frozen = self.read_json("cases.json")
        kinds = {
            "changed": sorted(name for name in found.keys() & frozen.keys() if found[name] != frozen[name]),
            "added": sorted(found.keys() - frozen.keys()),
            "missing": sorted(frozen.keys() - found.keys()),
        }
        return {kind: names for kind, names in kinds.items() if names}

    def write_environment(self, machine: Machine) -> None:
        """Write down versions and machine."""
        packages = {name: version(name) for name in PACKAGES}
        described = {"python": platform.python_version(), "system": platform.system(), "machine": machine.describe()}
        self.write_json("environment.json", {**described, "packages": packages})


@contextmanager
def new_run_folder(path: Path) -> Iterator[RunFolder]:
    """Make a new, empty run folder, for the body to freeze a run in. When the body fails, nothing of it stays.

    What a process left there that was killed in the body makes way. Raises RunError where anything else is there
    already, or nothing can be written there.
    """
    made = _make_empty(path)
    (path / BEGINNING).touch()
    try:
        yield RunFolder(path)
    except BaseException:
        for name in (*FROZEN, BEGINNING):
            (path / name).unlink(missing_ok=True)
        with suppress(OSError):  # someone else has put something there
            for folder in made:
                folder.rmdir()
        raise
    (path / BEGINNING).unlink(missing_ok=True)


def _make_empty(path: Path) -> list[Path]:
    """Make the folder, see that it can be written to, and return the folders that had to be made, deepest first."""
    try:
        made = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        occupied = _is_occupied(path)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RunError(f"{path}: cannot be made a run folder ({error.strerror}); choose another -o") from error
    if occupied:
        raise RunError(f"{path}: not empty. Choose another -o, or go on with an interrupted run by --resume")
    return made


def _is_occupied(path: Path) -> bool:
    """Whether a folder holds more than what a process that was killed before its run had begun has left behind."""
    names = {entry.name for entry in path.iterdir()}
    remnants = {name for name in names if name in FROZEN[:-1] or name.startswith(TEMPORARY)}
    return bool(names) if BEGINNING not in names else names != remnants


def _listed(different: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {printable(', '.join(names))}" for kind, names in different.items())


def with_fewer_images(folder: Path, images: int) -> Path:
    """Where a training is that was begun anew with so many images an update, for in `folder` memory ran out."""
    return folder.with_name(f"{folder.name.partition(FEWER)[0]}{FEWER}{images}-images")


def fingerprints(cases: Iterable[Case]) -> dict[str, str]:
    """The hash of each case, by its name."""
    return {case.name: fingerprint(case) for case in cases}


def fingerprint(case: Case) -> str:
    """Hash of a case's image file and of its mask's class indices: what training depends on."""
    mask = b"" if case.mask is None else case.mask.tobytes()
    return hashlib.sha256(case.sha256.encode() + mask).hexdigest()
