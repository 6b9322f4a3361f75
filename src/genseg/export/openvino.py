"""A segmenter for OpenVINO, Intel's runtime: in float32, which the processor may round to bfloat16, or in int8."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from genseg.errors import MissingExtraError
from genseg.predict.runtimes import DESCRIPTION, silence_telemetry
from genseg.segmenters.network import Array


def write_openvino(onnx_file: Path, description: str, path: Path, calibration: Iterable[Array] | None = None) -> None:
    """Convert an ONNX file to `path` (`.xml`) with its weights beside it (`.bin`).

    calibration: images `(1, channel, *spatial)` as the network gets them; given, the network is quantised to int8 by
    the ranges that its values have on them. Source: NNCF's post-training quantisation, symmetric weights, with float
    left where it says. Raises MissingExtraError where the packages for it are not installed.
    """
    silence_telemetry()
    try:
        import openvino
    except ImportError:
        raise MissingExtraError("openvino", "export", "exporting to OpenVINO") from None
    model = openvino.convert_model(onnx_file)
    if calibration is not None:
        model = _quantised(model, calibration)
    model.set_rt_info(description, [DESCRIPTION])
    openvino.save_model(model, path, compress_to_fp16=False)


def _quantised(model: object, calibration: Iterable[Array]) -> object:
    try:
        import nncf
    except ImportError:
        raise MissingExtraError("nncf", "export", "quantising to int8") from None
    images = list(calibration)
    with redirect_stdout(StringIO()):  # it draws progress bars of its own
        return nncf.quantize(model, nncf.Dataset(images), subset_size=len(images))
