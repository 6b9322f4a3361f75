"""What a MONAI bundle says of itself, for people and for programs that look for a network that suits them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from genseg.config import BOUNDED, IntensityRule, Plan
from genseg.export.card import StoredData
from genseg.runs.folder import RunFolder

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
VERSION = "1.0.0"
INTENDED_USE = (
    "Research. This is not a medical device: no diagnosis or treatment may rest on what it puts out. For images of the "
    "kind that it was trained on, seen by a person who is able to judge every result."
)
OWNED = "The weights belong to whoever trained them. genseg claims no right in them and states no licence for them."

_TAKEN_AS_CODE = str.maketrans({"$": "\uff04", "@": "\uff20", "%": "\uff05"})
"""MONAI carries out text that begins with one of these; their full-width forms look alike and mean nothing."""


def describe_bundle(folder: RunFolder, plan: Plan) -> dict[str, Any]:
    """metadata.json by MONAI's schema of 2024-07-25. Raises RunError where the run's data.json is missing or damaged.

    The network takes what `genseg.prepare.preprocess.prepare` gives. Its output are logits; the mask is their argmax.
    """
    data = folder.record("data.json", StoredData)
    modality = data.statistics.modality or "unknown modality"
    kind = "pictures" if plan.rank == 2 else "volumes"
    found = ", ".join(map(_text, plan.class_names[1:]))
    title, licence = _text(data.title or "a dataset without a name"), _text(data.licence or "none stated")
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"exported by genseg {version('genseg')}"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {name: version(name) for name in ("genseg", "safetensors")},
        "name": f"Segmentation of {found}",
        "task": f"Segmentation of {found} in {kind}",
        "description": f"The network {plan.segmenter}, trained by genseg ({plan.method}) to mark {found} in {kind}",
        "authors": "Whoever trained the model with genseg",
        "copyright": OWNED,
        "data_source": f"Trained on {title}; licence stated by the dataset: {licence}",
        "data_type": f"{kind} ({modality})",
        "intended_use": INTENDED_USE,
        "network_data_format": _network_data_format(plan, modality),
    }


def _network_data_format(plan: Plan, modality: str) -> dict[str, Any]:
    same = {
        "type": "image",
        "spatial_shape": list(plan.patch_size),
        "dtype": "float32",
        "is_patch_data": plan.rank == 3,
    }
    image = {
        **same,
        "format": "magnitude",
        "modality": modality.upper(),
        "num_channels": plan.channels,
        "value_range": _value_range(plan.intensity),
        "channel_def": _numbered(_channels(plan)),
    }
    classes = [_text(name) for name in plan.class_names]
    logits = {**same, "format": "labels", "num_channels": plan.classes, "value_range": []}
    return {"inputs": {"image": image}, "outputs": {"pred": {**logits, "channel_def": _numbered(classes)}}}


def _value_range(intensity: Sequence[IntensityRule]) -> list[float]:
    """Of all channels together; empty where the values of one have no bounds."""
    ranges = [_channel_range(rule) for rule in intensity]
    if not all(ranges):
        return []
    return [min(low for low, _ in ranges), max(high for _, high in ranges)]


def _channel_range(intensity: IntensityRule) -> list[float]:
    """Empty where values have no bounds."""
    if intensity.rule == "window":
        return [(bound - intensity.mean) / intensity.std for bound in (intensity.low, intensity.high)]
    return [-1.0, 1.0] if intensity.rule in BOUNDED else []


def _channels(plan: Plan) -> list[str]:
    if plan.is_colour:
        return ["red", "green", "blue"]
    usual = ["image"] if plan.channels == 1 else [f"channel {number}" for number in range(plan.channels)]
    return [_text(rule.channel) or name for rule, name in zip(plan.intensity, usual, strict=True)]


def _numbered(names: Sequence[str]) -> dict[str, str]:
    return {str(number): name for number, name in enumerate(names)}


def _text(text: str) -> str:
    return text.translate(_TAKEN_AS_CODE)
