"""A MONAI bundle: a folder from which MONAI makes the model and runs it, where genseg is installed too.

::

    configs/inference.json      preprocessing, network, inferer and postprocessing, to run on a folder of images
    configs/metadata.json       what the network takes and gives; see `genseg.export.bundle_metadata`
    models/model.safetensors    the weights
    models/model.json           what `genseg.Model` needs beside them: the plan, the labels, when to trust it; SHA-256
                                of every file of the bundle, which are checked when the model is made
    docs/README.md              how to use it, and the model card

Source: MONAI Bundle Specification, https://docs.monai.io/en/stable/mb_specification.html. One thing is otherwise: the
weights are safetensors and no model.pt, for that is a pickle. The network is an item of its own, "network", for MONAI
code that knows nothing of genseg's way to prepare images.

A run of the bundle gives the masks of `Model.predict_folder`, bit by bit: with mirroring, tiles and the post-processing
that was learned. It holds the logits of a whole image in memory, and leaves out all that tells when not to trust a
mask: confidence, notes, `predictions.csv`, `measurements.csv` and the extras. The item "model" is a `genseg.Model`,
which has them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import nn

from genseg.base.files import file_sha256
from genseg.base.templates import load_template
from genseg.config import Plan
from genseg.export.bundle_metadata import describe_bundle
from genseg.models.load import describe_model
from genseg.models.model import Model
from genseg.runs.checkpoint import write_tensors
from genseg.runs.delivered import write_sealed
from genseg.runs.folder import RunFolder

INFERENCE, METADATA = "configs/inference.json", "configs/metadata.json"
README = "docs/README.md"
WEIGHTS = "models/model.safetensors"
DESCRIPTION = "models/model.json"
CARD = "model/card.md"
PARTS = "genseg.export.bundle_parts"


def write_bundle(folder: RunFolder, segmenter: nn.Module, model: Model, path: Path) -> None:
    """Write the delivered segmenter of a run, and all that it needs, into the new folder `path`.

    Raises RunError where one of the run's files is missing or damaged.
    """
    for name in ("configs", "models", "docs"):
        (path / name).mkdir(parents=True)
    sha256 = write_tensors(path / WEIGHTS, segmenter.state_dict())
    _write_json(path / INFERENCE, _configuration(model.plan, sha256))
    _write_json(path / METADATA, describe_bundle(folder, model.plan))
    (path / README).write_bytes(_readme(folder, model.plan).encode())
    delivered = {**describe_model(folder.delivery()), "weights": Path(WEIGHTS).name, "sha256": sha256}
    files = {name: file_sha256(path / name) for name in (WEIGHTS, INFERENCE, METADATA, README)}
    told = {"model": delivered, "trust": model.trust.to_json(), "precision": "float32", "files": files}
    write_sealed(path / DESCRIPTION, told)


def open_bundle(path: Path) -> Model:
    """The model that a bundle's own configuration makes, on the processor.

    What its files say is carried out: only for bundles that can be trusted. Raises RuntimeError, with the reason as its
    cause, where one of them is damaged.
    """
    from monai.bundle.config_parser import ConfigParser

    parser = ConfigParser()
    parser.read_config(path / INFERENCE)
    parser.update({"bundle_root": str(path), "device": "cpu"})
    with torch.random.fork_rng():
        model: Model = parser.get_parsed_content("model")
    return model


def _configuration(plan: Plan, sha256: str) -> dict[str, Any]:
    """inference.json. No text of the user's is in it: MONAI would carry out what begins with "$"."""
    return {
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": {
            "_target_": "genseg.segmenters.registry.build_segmenter",
            "name": plan.segmenter,
            "rank": plan.rank,
            "channels": plan.channels,
            "classes": plan.classes,
        },
        "network": _part(
            "with_weights",
            network="@network_def",
            weights=f"$@bundle_root + '/{WEIGHTS}'",
            sha256=sha256,
            rank=plan.rank,
            device="@device",
        ),
        "model": _part(
            "describe_network",
            network="@network",
            description=f"$@bundle_root + '/{DESCRIPTION}'",
            device="@device",
        ),
        "datalist": _part("list_images", images="@dataset_dir", model="@model"),
        "preprocessing": _part("ReadImage", model="@model"),
        "dataset": _part("Images", data="@datalist", transform="@preprocessing"),
        "inferer": _part("PlannedInferer", model="@model"),
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [_part("FindMask", model="@model"), _part("WriteMask", model="@model", folder="@output_dir")],
        },
        "evaluator": _part(
            "Evaluator",
            dataset="@dataset",
            network="@network",
            inferer="@inferer",
            postprocessing="@postprocessing",
        ),
        "initialize": [_part("make_output", folder="@output_dir", images="@dataset_dir", data="@datalist")],
        "run": ["$@evaluator.run()"],
    }


def _part(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{PARTS}.{name}", **arguments}


def _readme(folder: RunFolder, plan: Plan) -> str:
    card = folder.path / CARD
    text = load_template("genseg.export", "bundle.md.j2", {}).render(
        card=Markup(card.read_text(encoding="utf-8")) if card.is_file() else "",
        classes=plan.class_names[1:],
        rank=plan.rank,
        genseg=version("genseg"),
    )
    return text + "\n"


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_bytes(json.dumps(content, indent=4).encode())
