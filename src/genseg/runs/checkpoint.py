"""Checkpoints: safetensors and a JSON manifest with hashes; written atomically, never pickled.

A checkpoint holds everything that the next update depends on. Random draws are functions of the update's number (see
`randomness`), so that no random state has to be kept.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from genseg.base.files import TEMPORARY, atomic_path, atomic_write_bytes, file_sha256, inner_folder
from genseg.base.records import Record, Sha256, fitted, read_json
from genseg.config import FORMAT
from genseg.errors import RunError
from genseg.runs.state import TrainingState

KEPT = 2
"""How many checkpoints stay: the newest, and the one before it in case the newest is damaged."""


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write named tensors as safetensors, atomically. Returns the file's sha256. Raises OSError where that fails."""
    placed = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            save_file(placed, temporary)
        except SafetensorError as error:
            raise _as_system_error(error) from error
        return file_sha256(temporary)


def _as_system_error(error: SafetensorError) -> OSError:
    """The system's error that safetensors tells of in words: a full disk, for one."""
    number = re.search(r"os error (\d+)", str(error))
    code = int(number.group(1)) if number else errno.EIO
    return OSError(code, os.strerror(code))


def read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read what `write_tensors` wrote. Raises RunError where the file is missing or is not the one hashed."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise RunError(f"{path}: its content is not what was written (its SHA-256 differs); the file is damaged")
    try:
        return load(content)
    except SafetensorError as error:
        raise RunError(f"{path}: not a safetensors file ({error})") from error


def save_checkpoint(folder: Path, state: TrainingState) -> None:
    """Write `state` into `folder`; the manifest names the file only once it is whole. Others are removed.

    A checkpoint of a later update was found damaged when training resumed from an earlier one: it goes too.
    """
    inner_folder(folder.parent, folder.name)
    name = f"update-{state.update:07d}.safetensors"
    sha256 = write_tensors(folder / name, _flatten(state))
    entry = Entry(file=name, update=state.update, counters=state.counters(), sha256=sha256)
    kept = [entry, *(old for old in read_manifest(folder) if old.update < state.update)][:KEPT]
    entries = [one.model_dump() for one in kept]
    manifest = {"format": FORMAT, "torch": torch.__version__, "checkpoints": entries}
    atomic_write_bytes(folder / "manifest.json", json.dumps(manifest, indent=1).encode())
    for stale in {*folder.glob("update-*.safetensors"), *folder.glob(f"{TEMPORARY}*")}:
        if stale.name not in {old.file for old in kept}:
            stale.unlink()


def load_checkpoint(folder: Path, state: TrainingState) -> list[str]:
    """Bring `state` to the newest checkpoint that is whole.

    Returns what was wrong with newer ones, empty where nothing was. Raises RunError when none can be used.
    """
    problems: list[str] = []
    for entry in read_manifest(folder):
        try:
            tensors = read_tensors(folder / entry.file, entry.sha256)
        except RunError as error:
            problems.append(str(error))
            continue
        try:
            state.restore_counters(entry.counters)
        except KeyError as error:
            raise RunError(f"{folder}: written by another version of genseg (no {error}); start a new run") from error
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise RunError(f"{folder / 'manifest.json'}: damaged: its counters do not fit; start a new run") from error
        _restore(state, tensors)
        return problems
    raise RunError(f"{folder}: no usable checkpoint to resume from; start a new run. " + "; ".join(problems))


class Entry(Record):
    """One checkpoint in the manifest."""

    file: Annotated[str, Field(pattern=r"^update-\d+\.safetensors$")]
    update: Annotated[int, Field(ge=0)]
    counters: dict[str, Any]
    sha256: Sha256


class Manifest(Record):
    """What lies in the folder of checkpoints, the newest first."""

    format: int
    checkpoints: list[Entry]


def read_manifest(folder: Path) -> list[Entry]:
    """The checkpoints of a folder, the newest first. Raises RunError where the manifest is damaged."""
    path = folder / "manifest.json"
    if not path.exists():
        return []
    cure = "there is nothing to resume from, so start a new run"
    manifest = fitted(Manifest, read_json(path), path, cure)
    if manifest.format != FORMAT:
        written = f"format {manifest.format} was written by another version of genseg"
        raise RunError(f"{path}: {written}; this one reads {FORMAT}")
    return manifest.checkpoints


def _flatten(state: TrainingState) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part, module in state.modules().items():
        tensors |= {f"{part}.{name}": tensor for name, tensor in module.state_dict().items()}
    for part, optimiser in state.optimisers().items():
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{part}.{number}.{name}": tensor for name, tensor in moments.items()}
    return tensors


def _restore(state: TrainingState, tensors: Mapping[str, Tensor]) -> None:
    def part(name: str) -> dict[str, Tensor]:
        prefix = f"{name}."
        return {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}

    try:
        for name, module in state.modules().items():
            module.load_state_dict(part(name))
    except RuntimeError as error:
        raise RunError(f"the checkpoint belongs to another network than the plan's: {error}") from error
    for name, optimiser in state.optimisers().items():
        groups = optimiser.state_dict()["param_groups"]
        moments = _moments(part(name), [weight for group in optimiser.param_groups for weight in group["params"]])
        optimiser.load_state_dict({"state": moments, "param_groups": groups})


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
