"""A MONAI bundle."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from genseg.predict.model import Model
from genseg.training.run_folder import RunFolder


def write_bundle(folder: RunFolder, segmenter: nn.Module, model: Model, path: Path) -> None:
    raise NotImplementedError
