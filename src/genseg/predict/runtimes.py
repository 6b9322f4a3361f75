"""Exported networks run without PyTorch: by ONNX Runtime or by OpenVINO."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from genseg.base.files import file_sha256, printable
from genseg.base.records import parse_json
from genseg.base.seals import has_seal, is_whole
from genseg.errors import DeviceError, MissingExtraError, RunError
from genseg.runs.delivered import check_format
from genseg.segmenters.network import Array, Network, Response

DESCRIPTION = "genseg"
"""Key under which an exported file holds, as JSON, what `model.json` and `trust.json` say."""


class OnnxNetwork:
    """An ONNX file in ONNX Runtime, on the processor. threads: None takes all cores.

    Several threads may call it at once, as ONNX Runtime lets them run one session.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingExtraError("onnxruntime", "runtime", "an ONNX model") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.description: str = self._session.get_modelmeta().custom_metadata_map.get(DESCRIPTION, "")
        self.is_fixed = all(isinstance(side, int) for side in self._session.get_inputs()[0].shape[2:])

    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`."""
        logits, *features = self._session.run(None, {"image": np.ascontiguousarray(image)})
        return Response(logits, tuple(features))


class OpenVinoNetwork:
    """An OpenVINO model (or an ONNX file) on the processor.

    threads: None takes all cores. precision: of what is not int8; None takes what the file was exported for.

    Several threads may call it at once. Inputs and outputs of an inference lie in its request, which the compiled model
    would keep for the next call, of whatever thread: so each call has a request of its own.
    """

    def __init__(self, path: Path, threads: int | None = None, precision: str | None = None) -> None:
        silence_telemetry()
        try:
            import openvino
        except ImportError:
            raise MissingExtraError("openvino", "openvino", "an OpenVINO model") from None
        core = openvino.Core()
        model = core.read_model(path)
        self.description = str(model.get_rt_info([DESCRIPTION]).value) if model.has_rt_info([DESCRIPTION]) else ""
        settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        settings["INFERENCE_PRECISION_HINT"] = HINTS.get(precision or _described_precision(self.description), "f32")
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._compiled = core.compile_model(model, "CPU", settings)
        self.is_fixed = not any(side.is_dynamic for side in list(model.input().partial_shape)[2:])

    def __call__(self, image: Array) -> Response:
        """As `genseg.segmenters.network.Network`."""
        said = self._compiled.create_infer_request().infer(np.ascontiguousarray(image))
        logits, *features = (said[place] for place in range(len(said)))
        return Response(logits, tuple(features))


def silence_telemetry() -> None:
    """Keep OpenVINO and NNCF, imported after this, from reporting to Google Analytics that they are used.

    They do so from the import on, unless somebody has opted out, and without the package for it do not. Where a program
    has imported it by itself, it stays.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None: as if it were not installed


HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's name of the arithmetic for what is not int8; without bf16 in the processor it takes f32."""

RUNTIMES: dict[str, Callable[[Path, int | None], OnnxNetwork | OpenVinoNetwork]] = {
    ".onnx": OnnxNetwork,
    ".xml": OpenVinoNetwork,
}
"""Which runtime reads a file, by its suffix."""


def open_exported(path: Path, device: str = "auto", threads: int | None = None) -> tuple[Network, dict[str, Any]]:
    """The network in an exported file, and what the file says of it: "model" and "trust".

    Raises RunError where the file is damaged or none of genseg's, DeviceError where another device than the processor
    is asked for, MissingExtraError where the runtime is not installed.
    """
    if device not in ("auto", "cpu"):
        raise DeviceError(f"device: {device!r} was asked for, but exported models run on the processor; use cpu")
    is_sealed = _check_seal(path)
    try:
        network = RUNTIMES[path.suffix](path, threads)
    except (RuntimeError, ValueError, OSError) as error:
        raise RunError(f"{path}: cannot be read as a model; export it again ({_first_line(error)})") from error
    except Exception as error:
        # ONNX Runtime's errors have no base but Exception.
        if type(error).__module__.partition(".")[0] != "onnxruntime":
            raise
        raise RunError(f"{path}: cannot be read as a model; export it again ({_first_line(error)})") from error
    if not network.description:
        raise RunError(f"{path}: not a model that genseg exported (it does not say how to prepare images)")
    described = parse_json(network.description, path)
    if not is_sealed:
        check_format(path, described.get("model"))
        raise RunError(f"{path}: damaged; it has lost the hash that it is checked by; export it again")
    return network, described


def _check_seal(path: Path) -> bool:
    """Whether an exported file has a hash of itself. Raises RunError where it is not what was exported.

    Before a runtime reads it: a damaged model may end the whole process there.
    """
    try:
        content = path.read_bytes()
        if not has_seal(content):
            return False
        parts = [file_sha256(one) for one in parts_of(path)]
    except OSError as error:
        found = printable(error.filename or path)
        raise RunError(f"{path}: {found} cannot be read ({error.strerror}); export it again") from error
    if not is_whole(content, parts):
        which = f" or {path.with_suffix('.bin').name}" if parts else ""
        problem = f"the file{which} is damaged, of another export, or was edited after it (its SHA-256 differs)"
        raise RunError(f"{path}: {problem}; copy it again or export it again")
    return True


def parts_of(path: Path) -> list[Path]:
    """The files that belong to an exported one: of an OpenVINO model its weights."""
    return [path.with_suffix(".bin")] if path.suffix == ".xml" else []


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _described_precision(description: str) -> str:
    try:
        return str(json.loads(description)["precision"])
    except (ValueError, KeyError, TypeError):
        return "float32"
