"""The folder that a run leaves behind: everything needed to understand, resume, repeat and use it.

::

    settings.yaml plan.yaml split.json labels.json cases.json cases.png   what was trained on what, and how
    images.json                                                           hashes of the images' pixels
    data.json                                                             what the data are like, in figures
    environment.json                                                      versions, machine and number of threads
    events.jsonl curves.png tensorboard/                                  every update and validation, and its picture
    stalled.txt                                                           what it was doing, where it hung
    checkpoints/                                                          to resume from
    pairs/                                                                pictures of real and generated pairs
    model/segmenter.safetensors                                           the result, for prediction
    model/model.json                                                      what it is; SHA-256 of all files beside it
    model/trust.json                                                      what held-out cases teach about its use
    model/generator.safetensors                                           the generator, for synthetic pairs
    model/card.md model/card.json                                         what the model is, for whom, and its limits
    validation/report.html scores.json scores.csv                         how good it is on the held-out cases
    comparison/                                                           what generated pairs bring; all folds
    all-labels/                                                           trainings on every labelled case
    unlabelled/                                                           masks predicted for unlabelled images
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, TypeVar

from genseg.base.files import (
    FULL_DISK,
    TEMPORARY,
    atomic_write_bytes,
    inner_folder,
    make_folders,
    printable,
    remove_empty,
    stay_inside,
    sweep,
)
from genseg.base.locking import folder_lock
from genseg.base.records import fitted, read_json
from genseg.compute.device import Machine
from genseg.config import FORMAT, Plan, Settings, TrainingMethod
from genseg.errors import RunError, SettingsError
from genseg.examine.check import Examination, contact_sheet
from genseg.examine.split import Split
from genseg.examine.training_data import TrainingData
from genseg.joint.generation import Generation
from genseg.joint.source import PairSource
from genseg.read.case import Case
from genseg.read.identity import SeenImages, pixels_hash, seen_images
from genseg.runs.checkpoint import write_tensors
from genseg.runs.delivered import MODEL, RESTORE, Delivery, read_delivery, read_sealed, write_sealed
from genseg.runs.state import TrainingState

PACKAGES = ("genseg", "torch", "monai", "numpy", "scipy", "scikit-image", "pillow", "nibabel", "pydicom", "tifffile")
FROZEN = (
    *("settings.yaml", "split.json", "labels.json", "cases.json", "images.json", "data.json"),
    *("cases.png", "plan.yaml"),
)
"""What is written before the first update; plan.yaml last, for it marks a run folder."""

ALL_LABELS, AND_UNLABELLED = "all-labels", "-and-unlabelled"
"""Folder of the trainings on every labelled case, and what is added to the name of one on unlabelled images too."""

SCORES, REPORT = "validation/scores.json", "validation/report.html"
"""How good the model is on held-out cases. The report is written last: with it, a run is complete."""

UNLABELLED = "unlabelled.json"
"""There only where unlabelled images train: what they show, as `images.json` says of labelled ones."""

BEGINNING = f"{TEMPORARY}beginning"
"""There only until plan.yaml is: tells the remains of a process that was killed from files of the user's."""


_Kind = TypeVar("_Kind")

FEWER = "-with-"


@dataclass(frozen=True)
class RunFolder:
    """Names of what lies in a run folder, and how to read and write its small files."""

    path: Path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder. Raises RunError where `path` is none."""
        if not (path / "plan.yaml").is_file():
            reason = "there is no plan.yaml in it" if path.exists() else "no such file or folder"
            raise RunError(f"{path}: not a run folder ({reason})")
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
    def model(self) -> Path:
        """Folder of the delivered model."""
        return self.path / "model"

    @property
    def weights(self) -> Path:
        """The weights that the run's own training ended with."""
        return self.model / "segmenter.safetensors"

    @property
    def generator(self) -> Path:
        """The delivered generator; there only where the run has one that is of use."""
        return self.model / "generator.safetensors"

    def compared(self, method: TrainingMethod, fold: int, images: int | None = None) -> RunFolder:
        """A comparison's training with this method and held-out fold; of the run itself, its scores alone.

        images: per update, if memory ran out and all trainings of the comparison were restarted with fewer.
        """
        folder = self.path / "comparison" / f"{method}-fold-{fold}"
        return RunFolder(folder if images is None else with_fewer_images(folder, images))

    def judges(self) -> list[RunFolder]:
        """The trainings like that of the delivered model which held out each fold, in order of the folds.

        Where all were begun anew with fewer images an update, the last ones.
        """
        method, with_unlabelled = self.delivery().plan.method, self.delivered_from.path.name.endswith(AND_UNLABELLED)
        found = []
        for fold in range(self.split().folds):
            plain = self.compared(method, fold).path
            found.append(RunFolder(last_begun(and_unlabelled(plain) if with_unlabelled else plain)))
        return found

    @property
    def has_ensemble(self) -> bool:
        """Whether the models of all folds are there."""
        return self.split().folds > 1 and all(
            judge.is_finished or (fold == self.fold and not self.delivers_all_labels)
            for fold, judge in enumerate(self.judges())
        )

    @property
    def is_finished(self) -> bool:
        """Whether the run has delivered its weights."""
        return (self.model / MODEL).is_file()

    @property
    def fold(self) -> int:
        """The fold that the run held out. Raises SettingsError where it held out none."""
        fold = self.settings().fold
        if fold == "all":
            raise SettingsError(
                f"{self.path}: no case was held out in this run (fold: all), so there is nothing to judge by"
            )
        return fold

    def on_all_labels(self, method: TrainingMethod, *, with_unlabelled: bool = False) -> RunFolder:
        """The training on every labelled case, and on unlabelled ones too; made once the models of all folds are."""
        return RunFolder(self.path / ALL_LABELS / (method + AND_UNLABELLED * with_unlabelled))

    @property
    def delivered_from(self) -> RunFolder:
        """The training on every label whose model is delivered; this run itself where its own, or a fold's, is."""
        weights = self._stored_delivery().weights
        finals = [path for path in self.path.glob(f"{ALL_LABELS}/*") if weights == _weights_of(path)]
        return RunFolder(finals[0]) if finals else self

    @property
    def delivers_all_labels(self) -> bool:
        """Whether the delivered model was trained on every label."""
        return self.delivered_from != self

    def keep_as_fold(self, other: RunFolder) -> None:
        """Copy what a finished run is to another folder, which is then one too; the report, that marks it, last."""
        names = [*FROZEN, "environment.json", *(f"model/{name}" for name in self.delivery().files), f"model/{MODEL}"]
        for name in (*names, "validation/scores.csv", SCORES, REPORT):
            inner_folder(other.path, Path(name).parent)
            atomic_write_bytes(other.path / name, (self.path / name).read_bytes())

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a small JSON file, atomically; in ASCII, for file names may hold bytes that are no text."""
        folder = inner_folder(self.path, Path(name).parent)
        atomic_write_bytes(folder / Path(name).name, json.dumps(content, indent=1).encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a small JSON file. Raises RunError where it is missing or broken."""
        return read_json(self.path / name)

    def record(self, name: str, kind: type[_Kind]) -> _Kind:
        """What a small JSON file holds. Raises RunError where it is missing, broken, or holds anything else."""
        return fitted(kind, self.read_json(name), self.path / name, RESTORE)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from training in this folder while the body runs; a killed process keeps nobody out.

        Raises RunError where one is at work in it.
        """
        with folder_lock(self.path, "training"):
            self.check_links()
            for folder in (self.path, *(path for path in self.path.iterdir() if path.is_dir())):
                sweep(folder)
            yield

    def check_links(self) -> None:
        """Raise RunError where a folder in this one lies elsewhere by a link: nothing is written there."""
        for path in self.path.iterdir():
            if path.is_symlink() and path.is_dir():
                stay_inside(self.path, path)

    def freeze(self, settings: Settings, gathered: TrainingData) -> None:
        """Write down what is to be trained, before the first update; see `FROZEN`."""
        settings.to_yaml(self.path / "settings.yaml")
        self.write_json("split.json", gathered.split.to_json())
        self.write_json("labels.json", gathered.examination.labels.to_json())
        self._keep_hashes(gathered.examination.cases)
        index, statistics = gathered.examination.index, gathered.examination.statistics
        described = {"title": index.title, "licence": index.licence, "modality": index.modality}
        self.write_json("data.json", {**described, "statistics": statistics.to_json()})
        contact_sheet(gathered.examination, self.path / "cases.png")
        gathered.plan.to_yaml(self.path / "plan.yaml")

    def _keep_hashes(self, cases: Iterable[Case]) -> None:
        """Write down what tells whether cases are those of before, and their images those that were seen."""
        files, pixels = {}, {}
        for case in cases:
            files[case.name], pixels[case.name] = fingerprint(case), pixels_hash(case)
        self.write_json("cases.json", files)
        self.write_json("images.json", pixels)

    def settings(self) -> Settings:
        """The settings that the run began with."""
        return Settings.from_yaml(self.path / "settings.yaml")

    def plan(self) -> Plan:
        """The plan that the run began with."""
        return Plan.from_yaml(self.path / "plan.yaml")

    def split(self) -> Split:
        """The split that the run began with."""
        return Split.from_json(self.read_json("split.json"), str(self.path / "split.json"))

    def deliver(self, state: TrainingState, gathered: TrainingData, source: PairSource | None) -> None:
        """Write the trained weights and what is needed to use them; model.json last, for it marks a finished run.

        source: what synthetic pairs are made from, where the run has a generator that is of use.
        """
        examination = gathered.examination
        inner_folder(self.path, self.model.name)
        sha256 = write_tensors(self.weights, state.learner.average.module.state_dict())
        generator = self._deliver_generator(state.generation, source)
        self._write_delivery(
            Delivery(
                format=FORMAT,
                genseg=version("genseg"),
                weights=self.weights.name,
                sha256=sha256,
                plan=gathered.plan,
                labels=examination.labels,
                reading=examination.options,
                generator=generator,
                channel_files=any(len(files.images) > 1 for files in examination.cases.entries),
                seen=self._seen_images(),
                files={self.weights.name: sha256} | self._generator_file(generator),
            )
        )

    def deliver_file(self, name: str, content: bytes) -> None:
        """Add a file to the delivered model, or put another in its place.

        Whenever it is interrupted, model.json names what is there: a file that it does not name does not count.
        """
        delivery = self._stored_delivery()
        others = {other: sha256 for other, sha256 in delivery.files.items() if other != name}
        if name in delivery.files:
            self._write_delivery(delivery.model_copy(update={"files": others}))
        atomic_write_bytes(self.model / name, content)
        files = {**others, name: hashlib.sha256(content).hexdigest()}
        self._write_delivery(delivery.model_copy(update={"files": files}))

    def has_delivered(self, name: str) -> bool:
        """Whether a file belongs to the delivered model and is there."""
        return name in self._stored_delivery().files and (self.model / name).is_file()

    def delivery(self) -> Delivery:
        """What the run says of the model that it delivered, which is seen to be whole.

        Raises RunError where the run has not finished, the model is of another version, or a file of it was changed.
        """
        if not self.is_finished:
            cure = f"continue with `genseg train DATA -o {self.path} --resume`"
            raise RunError(f"{self.path}: this run has not finished; {cure}")
        return read_delivery(self.model)

    def deliver_instead(self, other: RunFolder) -> None:
        """Deliver the model of another finished run, in this one's folder, in place of the own; the generator stays.

        Whenever it is interrupted, one of the two is there whole: model.json, written last, names the file of weights.
        What was learned about the own model, and its card, are no longer part of the delivery.
        """
        better, own = other.delivery(), self.delivery()
        weights = self.model / _weights_of(other.path)
        atomic_write_bytes(weights, (other.model / better.weights).read_bytes())
        files = {weights.name: better.sha256} | self._generator_file(own.generator)
        update = {"weights": weights.name, "generator": own.generator, "files": files}
        self._write_delivery(better.model_copy(update=update))
        for name in own.files.keys() - files.keys():
            (self.model / name).unlink(missing_ok=True)

    def _stored_delivery(self) -> Delivery:
        """What model.json says; the files that it names are not looked at."""
        return fitted(Delivery, read_sealed(self.model / MODEL), self.model / MODEL, RESTORE)

    def _write_delivery(self, delivery: Delivery) -> None:
        write_sealed(self.model / MODEL, delivery.model_dump(mode="json"))

    def _seen_images(self) -> SeenImages:
        """The images of the run's training, as its model remembers them."""
        split = self.split()
        cases, images = (self.record(name, dict[str, str]) for name in ("cases.json", "images.json"))
        further = self.unlabelled()
        return seen_images(images | further, cases, (*split.train, *further), split.validation)

    def _generator_file(self, generator: Mapping[str, Any] | None) -> dict[str, str]:
        return {self.generator.name: str(generator["sha256"])} if generator and "sha256" in generator else {}

    def _deliver_generator(self, generation: Generation | None, source: PairSource | None) -> dict[str, Any] | None:
        """Write the generator. Returns what model.json says of it: why it was switched off ("off", empty where it was
        not), else the hash of its file and all that is no tensor; None for a run without one.
        """
        if source is None:
            return None if generation is None else {"off": generation.off}
        return {"off": "", "sha256": write_tensors(self.generator, source.tensors()), **source.describe()}

    def unlabelled(self) -> dict[str, str]:
        """Hashes of the unlabelled images that the run trained on, by name."""
        return self.record(UNLABELLED, dict[str, str]) if (self.path / UNLABELLED).is_file() else {}

    def check_cases(self, cases: Iterable[Case]) -> None:
        """Raise RunError where cases are not those that the run began with; all such cases at once."""
        self.check_fingerprints(fingerprints(cases))

    def check_fingerprints(self, found: Mapping[str, str]) -> None:
        """The same, of cases whose hashes are known; see `fingerprints`."""
        different = self._differences(found)
        if different:
            cure = "restore them, or start a new run"
            if different.keys() == {"changed"}:
                cure += ", or accept the changes with --resume --accept-data-change"
            raise RunError(f"{self.path}: the data changed since this run began ({_listed(different)}); {cure}")

    def accept_cases(self, examination: Examination) -> str:
        """Take the cases as they are now for those that the run began with. Returns those that differ, in words.

        Raises RunError where cases are missing or were added, or the masks hold other classes by now: the split and the
        network are for those that the run began with.
        """
        found = fingerprints(examination.cases)
        different = self._differences(found)
        if different.keys() - {"changed"} or self.read_json("labels.json") != examination.labels.to_json():
            cure = "only changed images and masks can be accepted; restore the others, or start a new run"
            listed = _listed(different)
            raise RunError(f"{self.path}: the cases or their classes changed since this run began ({listed}); {cure}")
        if different:
            self._keep_hashes(examination.cases)
        return _listed(different)

    def _differences(self, found: Mapping[str, str]) -> dict[str, list[str]]:
        """Names of cases that are not as they were when the run began, by what has become of them."""
        frozen = self.record("cases.json", dict[str, str])
        kinds = {
            "changed": sorted(name for name in found.keys() & frozen.keys() if found[name] != frozen[name]),
            "added": sorted(found.keys() - frozen.keys()),
            "missing": sorted(frozen.keys() - found.keys()),
        }
        return {kind: names for kind, names in kinds.items() if names}

    def write_environment(self, machine: Machine, rank: int) -> str:
        """Write down versions and machine. rank: of the images.

        Returns how machine, precision, threads or PyTorch differ from those that the run was left with, in words; empty
        where they are the same, or nothing is known of those.
        """
        found = {
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": machine.describe(rank),
            "threads": machine.threads,
            "packages": {name: version(name) for name in PACKAGES},
        }
        before = found
        with suppress(RunError):  # the run has only begun, or nobody can tell any more
            before = self.read_json("environment.json")
        self.write_json("environment.json", found)
        was, now = _computed_on(before), _computed_on(found)
        return "" if was == now else f"before: {was}; now: {now}"


def _weights_of(folder: Path) -> str:
    """Name of delivered weights that come from another training, in such a folder of the run."""
    return f"segmenter-{folder.parent.name}-{folder.name}.safetensors"


@contextmanager
def new_run_folder(path: Path) -> Iterator[RunFolder]:
    """Make a new, empty run folder, for the body to freeze a run in. When the body fails, nothing of it stays.

    What a process left there that was killed in the body makes way. Raises RunError where anything else is there
    already, or nothing can be written there.
    """
    made = _make_empty(path)
    atomic_write_bytes(path / BEGINNING, b"")
    try:
        yield RunFolder(path)
    except BaseException:
        for name in (*FROZEN, BEGINNING):
            (path / name).unlink(missing_ok=True)
        remove_empty(made)
        raise
    (path / BEGINNING).unlink(missing_ok=True)


def _make_empty(path: Path) -> list[Path]:
    """Make the folder, see that it can be written to, and return the folders that had to be made, deepest first."""
    try:
        made = make_folders(path)
        sweep(path)
        occupied = _is_occupied(path)
        with TemporaryFile(dir=path):
            pass
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise RunError(f"{path}: cannot be made a run folder ({error.strerror}); choose another -o") from error
    if occupied:
        raise RunError(f"{path}: not empty. Choose another -o, or continue an interrupted run with --resume")
    return made


def _is_occupied(path: Path) -> bool:
    """Whether a folder holds more than what a process that was killed before its run had begun has left behind."""
    names = {entry.name for entry in path.iterdir()}
    remnants = {name for name in names if name in FROZEN[:-1] or name.startswith(TEMPORARY)}
    return bool(names) if BEGINNING not in names else names != remnants


def _computed_on(environment: Mapping[str, Any]) -> str:
    """What of an environment a result depends on: machine, precision, threads, and PyTorch."""
    packages = environment.get("packages")
    torch = packages.get("torch", "unknown") if isinstance(packages, dict) else "unknown"
    return f"{environment.get('machine', 'unknown machine')}, torch {torch}"


def _listed(different: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{kind}: {printable(', '.join(names))}" for kind, names in different.items())


def with_fewer_images(folder: Path, images: int) -> Path:
    """Where a training is that was begun anew with so many images an update, for in `folder` memory ran out."""
    return folder.with_name(f"{folder.name.partition(FEWER)[0]}{FEWER}{images}-images")


def last_begun(folder: Path) -> Path:
    """A training's folder, or that of the same begun anew with the fewest images, where memory ran out."""
    name = folder.name.partition(FEWER)[0]
    fewer = [int(path.name.split("-")[-2]) for path in folder.parent.glob(f"{name}{FEWER}*-images")]
    return with_fewer_images(folder, min(fewer)) if fewer else folder


def and_unlabelled(fold: Path) -> Path:
    """Where the training is that is like that of a fold, and learns from unlabelled images too."""
    return fold.with_name(fold.name.replace("-fold-", f"{AND_UNLABELLED}-fold-"))


def fingerprints(cases: Iterable[Case]) -> dict[str, str]:
    """The hash of each case, by its name."""
    return {case.name: fingerprint(case) for case in cases}


def fingerprint(case: Case) -> str:
    """Hash of a case's image file and of its mask's class indices: what training depends on."""
    mask = b"" if case.mask is None else case.mask.tobytes()
    return hashlib.sha256(case.sha256.encode() + mask).hexdigest()
