"""Descriptions of models for the fuzzing: samples of each, and what is done with a damaged one.

Each is read as `genseg.load` or a resumed training reads it, up to the network that is tried on a small image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from genseg.base.records import fitted, read_json
from genseg.config import FORMAT, Plan
from genseg.examine.cases import LoadOptions
from genseg.labels import LabelMap
from genseg.models.model import described_model
from genseg.runs.delivered import Description, read_sealed, write_sealed
from genseg.segmenters.network import Array, Response
from genseg.trust.calibration import Calibration
from genseg.trust.ood import OODDetector, distances
from genseg.trust.postprocess import PostprocessingStep
from genseg.trust.trust import UNTESTED, Trust

CLASSES, LEVELS = 3, (4, 6)
_NAMES = ("background", "head", "tail")


@dataclass(frozen=True)
class Mean:
    """A network without weights: logits and features are means of the image."""

    is_fixed: bool = False

    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`."""
        means = image.mean(1, keepdims=True, dtype=np.float32)
        axes = tuple(range(2, image.ndim))
        features = tuple(np.repeat(means.mean(axes), width, axis=1) for width in LEVELS)
        return Response(np.concatenate([index * means for index in range(CLASSES)], 1), features)


def plan() -> Plan:
    """For grey pictures of 32 pixels."""
    return Plan.from_mapping(
        {
            "rank": 2,
            "channels": 1,
            "class_names": _NAMES,
            "intensity": {"rule": "eight-bit"},
            "patch_size": (32, 32),
            "segmenter": "unet-small",
            "batch_size": 2,
            "updates": 10,
            "learning_rate": 1e-3,
            "augmentation": "none",
            "flip_axes": (0, 1),
        }
    )


def trust() -> Trust:
    """What held-out cases might have taught."""
    draw = np.random.default_rng(0)
    widths = (9, *LEVELS)  # of a grey picture, 9 figures of its intensities
    images = [[draw.normal(size=width).astype(np.float32) for width in widths] for _ in range(8)]
    rules = (PostprocessingStep(1, "no-specks", 0.02, 0.001), PostprocessingStep(2, "fill-holes", 0.01))
    calibration = Calibration(1.7, 0.05, 0.02, 8)
    known = OODDetector.learn(images, distances(images, images[:4]))
    return replace(UNTESTED, calibration=calibration, ood=known, postprocessing=rules, lowest_dice=0.6)


def description() -> dict[str, Any]:
    """What model.json says of it."""
    labels = LabelMap(_NAMES, {0: 0, 128: 1, 255: 2})
    described = Description(
        format=FORMAT,
        genseg="1",
        weights="segmenter.safetensors",
        sha256="0" * 64,
        plan=plan(),
        labels=labels,
        reading=LoadOptions(),
        generator={"off": "it collapsed"},
        channel_files=False,
        seen={"salt": "1" * 64, "trained_on": ["2" * 64], "held_out": ["3" * 64]},  # type: ignore[arg-type]
    )
    return described.model_dump(mode="json")


def model_samples(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Name, folder and file of each description, written below `folder`."""
    checkpoint = {"file": "update-0000001.safetensors", "update": 1, "counters": {"updates": 1}, "sha256": "4" * 64}
    contents: dict[str, dict[str, Any]] = {
        "model.json": {**description(), "files": {}},
        "trust.json": trust().to_json(),
        "export.json": {"model": description(), "trust": trust().to_json(), "precision": "float32"},
        "manifest.json": {"format": FORMAT, "torch": "2", "checkpoints": [checkpoint]},
        "split.json": {
            "train": ["a"],
            "validation": ["b"],
            "test": [],
            "method": "by name",
            "left_out": [],
            "folds": 5,
        },
        "scores.json": {"dice_by_case": {"a": 0.5, "b": 0.25}},
    }
    for name, content in contents.items():
        place = folder / f"model-{name}"
        place.mkdir(parents=True)
        if name in ("model.json", "export.json"):
            write_sealed(place / name, content)
        else:
            (place / name).write_text(json.dumps(content, indent=1))
        yield name, place, name


def _read_model(folder: Path) -> None:
    from genseg.runs.delivered import read_delivery

    described_model([read_delivery(folder)], trust(), Mean(), folder, "")


def _read_trust(folder: Path) -> None:
    path = folder / "trust.json"
    learned = fitted(Trust, read_json(path), path, "")
    described_model([_whole()], learned, Mean(), folder, "")


@cache
def _whole() -> Description:
    return Description.model_validate(description())


def _read_export(folder: Path) -> None:
    from genseg.models.load import ExportDescription

    path = folder / "export.json"
    told = fitted(ExportDescription, read_sealed(path), path, "")
    described_model([told.model], told.trust, Mean(), path, "")


def _read_manifest(folder: Path) -> None:
    from genseg.runs.checkpoint import read_manifest

    read_manifest(folder)


def _read_split(folder: Path) -> None:
    from genseg.examine.split import Split

    Split.from_json(read_json(folder / "split.json"))


def _read_scores(folder: Path) -> None:
    from genseg.evidence.trainings import HeldOutScores

    fitted(HeldOutScores, read_json(folder / "scores.json"), folder, "")


MODELS: dict[str, Callable[[Path], None]] = {
    "model.json": _read_model,
    "trust.json": _read_trust,
    "export.json": _read_export,
    "manifest.json": _read_manifest,
    "split.json": _read_split,
    "scores.json": _read_scores,
}
"""What is done with the folder of a damaged description, by its kind."""
