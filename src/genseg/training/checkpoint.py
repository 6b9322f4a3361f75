"""Checkpoints: safetensors and a JSON manifest with hashes; written atomically, never pickled.

A checkpoint holds everything that the next update depends on. Random draws are functions of the update's number (see
`randomness`), so that no random state has to be kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from genseg.errors import RunError
from genseg.files import TEMPORARY, atomic_write_bytes
from genseg.training.state import TrainingState

FORMAT = 1
KEPT = 2
"""How many checkpoints stay: the newest, and the one before it in case the newest is damaged."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write named tensors as safetensors, atomically. Returns the file's sha256."""
    content = save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()})
    atomic_write_bytes(path, content)
    return hashlib.sha256(content).hexdigest()


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote. Raises RunError where the file is missing or is not the one hashed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"{path}: its content is not what was written (sha256 differs); the file is damaged")
    try:
        return load(content)
    except SafetensorError as error:
        raise RunError(f"{path}: not a safetensors file ({error})") from error


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Write `state` into `folder`; the manifest names the file only once it is whole. Others are removed.

    A checkpoint of a later update was found damaged when training resumed from an earlier one: it goes too.
    """
    folder.mkdir(exist_ok=True)
    name = f"update-{state.update:07d}.safetensors"
    entry: dict[str, str | int] = {
        "file": name,
        "update": state.update,
        "sha256": write_tensors(folder / name, _flatten(state)),
    }
    kept = [entry, *(old for old in _read_manifest(folder) if int(old["update"]) < state.update)][:KEPT]
    manifest = {"format": FORMAT, "torch": torch.__version__, "checkpoints": kept}
    atomic_write_bytes(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    for stale in {*folder.glob("update-*.safetensors"), *folder.glob(f"{TEMPORARY}*")}:
        if stale.name not in {old["file"] for old in kept}:
            stale.unlink()


def load_checkpoint(folder: Path, state: TrainingState) -> list[str]:
    """Bring `state` to the newest checkpoint that is whole.

    Returns what was wrong with newer ones, empty where nothing was. Raises RunError when none can be used.
    """
    problems: list[str] = []
    for entry in _read_manifest(folder):
        try:
            tensors = read_tensors(folder / str(entry["file"]), str(entry["sha256"]))
        except RunError as error:
            problems.append(str(error))
            continue
        _restore(state, tensors)
        state.update = int(entry["update"])
        return problems
    raise RunError(f"{folder}: no usable checkpoint to resume from; start a new run. " + "; ".join(problems))


def _read_manifest(folder: Path) -> list[dict[str, str | int]]:
    path = folder / "manifest.json"
    if not path.exists():
        return []
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        written, checkpoints = manifest["format"], list(manifest["checkpoints"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(
            f"{path}: damaged, so that there is nothing to resume from; start a new run ({error})"
        ) from error
    if written != FORMAT:
        raise RunError(f"{path}: format {written} was written by another version of genseg; this one reads {FORMAT}")
    return checkpoints


def _flatten(state: TrainingState) -> dict[str, Tensor]:
    tensors = {f"segmenter.{name}": tensor for name, tensor in state.segmenter.state_dict().items()}
    tensors |= {f"average.{name}": tensor for name, tensor in state.average.state_dict().items()}
    for number, moments in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{number}.{name}": tensor for name, tensor in moments.items()}
    return tensors


def _restore(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    def part(prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}

    try:
        state.segmenter.load_state_dict(part("segmenter."))
        state.average.load_state_dict(part("average."))
    except RuntimeError as error:
        raise RunError(f"the checkpoint belongs to another network than the plan's: {error}") from error
    groups = state.optimiser.state_dict()["param_groups"]
    moments = _moments(
        part("optimiser."), [weight for group in state.optimiser.param_groups for weight in group["params"]]
    )
    state.optimiser.load_state_dict({"state": moments, "param_groups": groups})


def _moments(tensors: Mapping[str, Tensor], weights: Sequence[Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimiser's state by number of the weight, each moment in the memory layout of its weight.

    The fused AdamW steps through weights and moments in the order of memory; safetensors keeps no layout.
    """
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, moment = name.partition(".")
        weight = weights[int(number)]
        placed = torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape else tensor
        moments.setdefault(int(number), {})[moment] = placed
    return moments
