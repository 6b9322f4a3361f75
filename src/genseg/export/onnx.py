"""A segmenter as an ONNX file, which holds with the network all that is needed to use it."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from genseg.config import Plan
from genseg.errors import MissingExtraError
from genseg.predict.runtimes import DESCRIPTION
from genseg.segmenters.registry import segmenters
from genseg.segmenters.torch_network import WithFeatures

LEAST, LARGEST = 8, 8192
"""Shortest and longest side of an image that an exported network takes."""

EXAMPLE = {2: 64, 3: 32}
"""Side of the image that a network of any size is traced with, by spatial rank: large enough that no two levels of a
segmenter have one size there, for a trace holds for other images too only where it enlarges between all levels."""

OPSET = 18
"""ONNX's operators of December 2022."""


def write_onnx(segmenter: nn.Module, plan: Plan, description: str, path: Path) -> None:
    """Write a segmenter, with a description unless that is empty.

    Raises MissingExtraError where the package for it is not installed.

    Input "image" `(batch, channel, *spatial)`, outputs "logits" and "features_0", "features_1" and so on, as in
    `genseg.segmenters.network`. The batch may have any size, and so may images where the segmenter allows it; else they
    have the plan's patch size.
    """
    try:
        import onnx
    except ImportError:
        raise MissingExtraError("onnx", "export", "exporting a model") from None
    any_size = segmenters()[plan.segmenter].any_size
    device = next(segmenter.parameters()).device
    example = torch.zeros(2, plan.channels, *(EXAMPLE[plan.rank] if any_size else side for side in plan.patch_size))
    model = onnx.load_from_string(_traced(WithFeatures(segmenter).eval(), example.to(device), any_size=any_size))
    if description:
        onnx.helper.set_model_props(model, {DESCRIPTION: description})
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _traced(network: WithFeatures, example: Tensor, *, any_size: bool) -> bytes:
    """A network as ONNX.

    By PyTorch's older exporter, which records one forward pass. The newer one reasons about every size that an image
    may have: on the pretrained encoder that takes a minute, and what it writes is right for multiples of 32 alone.
    """
    with torch.inference_mode():
        levels = len(network(example)) - 1
    axes = {0: "batch"}
    features = {f"features_{level}": axes for level in range(levels)}
    if any_size:
        names = ("row", "column") if example.ndim == 4 else ("i", "j", "k")
        axes = axes | dict(enumerate(names, 2))
    buffer = BytesIO()
    with _silence():
        torch.onnx.export(
            network,
            (example,),
            buffer,  # type: ignore[arg-type]  # the older exporter writes to files that are open, too
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits", *features],
            dynamic_axes={"image": axes, "logits": axes, **features},
        )
    return buffer.getvalue()


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
