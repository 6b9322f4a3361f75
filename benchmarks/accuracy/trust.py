"""Whether a model's probabilities mean what they say, and whether it tells images that it was not made for.

    python -m benchmarks.accuracy.trust [--tasks NAME ...] [--labels 40] [--size 128] [--data DIR]
        [--runs runs/trust] [--threads 2]

Of each task a model is trained (strong augmentation, seed 0; a run that is there is used, one that stopped gone on
with). On its test cases the expected calibration error is measured without and with the temperature that its held-out
cases taught, and how many test images are taken for usual. Aliens are test images of other data sets, photographs that
come with scikit-image, noise, and the task's own test images with their colours in the wrong order: AUROC against the
test images, and the share that is called unlike the training images. Writes benchmarks/results/trust.json.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import data as photographs

import genseg
from benchmarks.accuracy.run import labels_of
from benchmarks.locations import RESULTS, data_root, write_record
from genseg.base.progress import silent
from genseg.examine.split import Split
from genseg.index import index_dataset
from genseg.models.scored_cases import scored_cases
from genseg.prepare.preprocess import prepare
from genseg.read.case import Case
from genseg.trust.calibration import calibration_error
from genseg.trust.suitability import fit_case
from genseg.trust.trust import labelled_logits

TASKS = ("skin_isic2017", "breast_us_busi", "polyp_cvc_clinicdb", "foot_ulcer_fuseg", "lung_heart_jsrt_multiclass")
SAME_ANATOMY = {"foot_ulcer_fuseg": "foot_ulcer_medetec_ood"}
"""The same anatomy from another place: unlike, but no alien; reported by itself."""

MOST = 60
"""Most images of a kind."""


def main() -> None:
    """Measure what is asked for and add it to the results."""
    asked = _arguments()
    torch.set_num_threads(asked.threads)
    target = RESULTS / "trust.json"
    for task in asked.tasks:
        measured = measure(task, asked)
        found = json.loads(target.read_text(encoding="utf-8"))["tasks"] if target.exists() else {}
        found[task] = measured
        command = (
            f"python -m benchmarks.accuracy.trust --labels {asked.labels} --size {asked.size} --threads {asked.threads}"
        )
        write_record(target, {"command": command, "tasks": found})
        sys.stdout.write(f"{task}: {json.dumps(found[task])}\n")


def measure(task: str, asked: argparse.Namespace) -> dict[str, Any]:
    """All figures of one task."""
    model = trained(task, asked)
    tests = test_cases(asked.data / task, model)
    usual = ood_score(model, tests)
    highest = model.trust.ood.highest
    aliens = {name: ood_score(model, cases) for name, cases in alien_kinds(task, asked.data, model, tests)}
    return {
        "segmenter": model.plan.segmenter,
        "calibration": calibration(model, tests),
        "test_images_taken_for_usual": round(float(np.mean(usual <= highest)), 4),
        "aliens": {
            name: {
                "images": len(found),
                "auroc": round(float(np.mean(found[:, None] > usual)), 4),
                "told": round(float(np.mean(found > highest)), 4),
            }
            for name, found in aliens.items()
        },
    }


def trained(task: str, asked: argparse.Namespace) -> genseg.Model:
    """The task's model, trained where it is not there yet."""
    folder = asked.runs / f"{task}-{asked.labels}-{asked.size}"
    settings = genseg.Settings(
        method="strong-augmentation", labels=labels_of(asked.data / task, asked.labels), size=asked.size
    )
    begun = (folder / "plan.yaml").is_file()
    return genseg.fit(asked.data / task, folder, settings=settings, resume=begun)


def test_cases(data: Path, model: genseg.Model) -> list[Case]:
    """Labelled test cases of the model's own data."""
    nothing = Split((), (), (), "")
    cases = scored_cases(data, "test", nothing, model.seen, model.labels, model.options, silent).cases
    return [cases[number] for number in range(min(MOST, len(cases)))]


def calibration(model: genseg.Model, tests: Sequence[Case]) -> dict[str, float]:
    """Expected calibration error on the test cases, without and with the temperature."""
    prepared = [prepare(fit_case(case, model.plan), model.plan) for case in tests]
    logits = [labelled_logits(model.network, one, model.plan) for one in prepared]
    before, after = (calibration_error(logits, [by] * len(logits)) for by in (1.0, model.trust.temperature))
    return {
        "temperature": round(model.trust.temperature, 4),
        "error_before": round(before, 5),
        "error_after": round(after, 5),
    }


def ood_score(model: genseg.Model, cases: Sequence[Case]) -> NDArray[np.float64]:
    """Of each case."""
    return np.array([model.examine_case(case).ood_score for case in cases], np.float64)


def alien_kinds(
    task: str, data: Path, model: genseg.Model, tests: Sequence[Case]
) -> Iterator[tuple[str, Sequence[Case]]]:
    """Kinds of images that the model was not made for."""
    yield "noise", [changed(case, noise(case.image.shape, number)) for number, case in enumerate(tests)]
    if tests[0].image.shape[0] == 3:
        yield "wrong channel order", [changed(case, case.image[::-1].copy()) for case in tests]
    yield "photographs", [changed(tests[0], as_channels(photo, model.plan.channels)) for photo in photo_crops()]
    for other in TASKS:
        if other != task:
            yield other, in_channels(foreign_cases(data / other, model), model.plan.channels)
    if task in SAME_ANATOMY:
        yield SAME_ANATOMY[task], foreign_cases(data / SAME_ANATOMY[task], model)


def foreign_cases(data: Path, model: genseg.Model) -> list[Case]:
    """Test images of another data set, as the model's reader gives them."""
    entries = [files for files in index_dataset(data).entries if files.split == "test"][:MOST]
    return [model.read(files) for files in entries]


def in_channels(cases: Sequence[Case], channels: int) -> list[Case]:
    """Grey images as RGB or the other way round, as a careless export would leave them."""
    return [changed(case, as_channels(case.image, channels)) for case in cases]


def as_channels(image: NDArray[Any], channels: int) -> NDArray[Any]:
    """`(channel, row, column)` with so many channels."""
    if image.shape[0] == channels:
        return image
    return np.repeat(image[:1], channels, 0) if channels == 3 else image.mean(0, keepdims=True).astype(image.dtype)


def photo_crops(size: int = 256) -> Iterator[NDArray[np.uint8]]:
    """`(3, size, size)` parts of photographs."""
    random = np.random.default_rng(0)
    pictures = [photographs.astronaut(), photographs.coffee(), photographs.chelsea()]
    for number in range(30):
        picture = pictures[number % len(pictures)]
        row, column = (random.integers(0, side - size + 1) for side in picture.shape[:2])
        yield np.moveaxis(picture[row : row + size, column : column + size], -1, 0)


def noise(shape: tuple[int, ...], seed: int) -> NDArray[np.uint8]:
    """Uniform in 0..255."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def changed(case: Case, image: NDArray[Any]) -> Case:
    """A case of another image, without mask."""
    return replace(case, image=image, mask=None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--data", type=Path, default=data_root())
    parser.add_argument("--runs", type=Path, default=Path("runs/trust"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    return parser.parse_args()


if __name__ == "__main__":
    main()
