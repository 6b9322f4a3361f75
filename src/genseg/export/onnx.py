"""A segmenter as an ONNX file, which holds with the network all that is needed to use it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from genseg.config import Plan
from genseg.errors import MissingExtraError
from genseg.predict.runtimes import DESCRIPTION
from genseg.segmenters.registry import SEGMENTERS
from genseg.segmenters.torch_network import WithFeatures

LEAST, LARGEST = 8, 8192
"""Shortest and longest side of an image that an exported network takes."""


def write_onnx(segmenter: nn.Module, plan: Plan, description: str, path: Path) -> None:
    """Write a segmenter, with a description unless that is empty.

    Raises MissingExtraError where the packages for it are not installed.

    Input "image" `(batch, channel, *spatial)`, outputs "logits" and "features_0", "features_1" and so on, as in
    `genseg.segmenters.network`. The batch may have any size, and so may images where the segmenter allows it; else they
    have the plan's patch size.
    """
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise MissingExtraError("onnx, onnxscript", "export", "exporting a model") from None
    axes: dict[int, torch.export.Dim] = {0: torch.export.Dim("batch")}
    if SEGMENTERS[plan.segmenter].any_size:
        names = ("row", "column") if plan.rank == 2 else ("i", "j", "k")
        axes |= {axis: torch.export.Dim(name, min=LEAST, max=LARGEST) for axis, name in enumerate(names, 2)}
    device = next(segmenter.parameters()).device
    example = torch.zeros(2, plan.channels, *plan.patch_size, device=device)
    with _silence():
        program = torch.onnx.export(
            WithFeatures(segmenter).eval(),
            (example,),
            dynamo=True,
            input_names=["image"],
            output_names=["logits", *(f"features_{level}" for level in range(_levels(segmenter, example)))],
            dynamic_shapes=(axes,),
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    if description:
        onnx.helper.set_model_props(model, {DESCRIPTION: description})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _levels(segmenter: nn.Module, example: Tensor) -> int:
    """How many levels of features a segmenter tells."""
    with torch.inference_mode():
        return len(WithFeatures(segmenter).eval()(example)) - 1


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks about itself and about packages that nobody needs from the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
