"""The process in which `fuzz.py` has its inputs read: a line of JSON in, a line of JSON out, for each.

    python -m benchmarks.robustness.fuzz_worker MEMORY SECONDS FOLDER

FOLDER is for what it writes. What libraries print goes to a file there, so that it is noticed.
"""

from __future__ import annotations

import faulthandler
import json
import math
import os
import resource
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.robustness.dicom_files import PATIENT
from benchmarks.robustness.fuzz_models import MODELS
from genseg.errors import DataError, FaultCode, GensegError
from genseg.examine.cases import LoadOptions, RawCase, to_case
from genseg.examine.one_pass import read_all
from genseg.index import index_dataset
from genseg.labels import count_labels, fit_label_map
from genseg.read import ReadOptions
from genseg.read.case import CaseFiles, Scan
from genseg.write.masks import write_mask

DATA_SETS = frozenset({"dataset.json", "CSV list"})
BUDGET = 2**30
GROWTH = 2**20
"""KiB by which an input may raise the most memory that was ever in use."""

STRICT = LoadOptions()
LENIENT = LoadOptions(ReadOptions(pages="volume", nan_to="min", channels_last_axis=True), mask_repair="nearest")


def main() -> None:
    """Answer until the input ends."""
    memory, seconds, folder = float(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])
    answers = os.fdopen(os.dup(1), "w")
    printed = (folder / "printed").open("wb")
    os.dup2(printed.fileno(), 1)
    os.dup2(printed.fileno(), 2)
    trace = (folder / "trace").open("w")
    faulthandler.enable(trace, all_threads=True)
    faulthandler.register(signal.SIGXCPU, trace, all_threads=True, chain=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (int(memory * 2**30),) * 2)
    answers.write("ready\n")
    answers.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        answer = _answer(Path(asked["path"]), asked["kind"], asked["lenient"], seconds, folder)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(path: Path, kind: str, lenient: bool, seconds: float, folder: Path) -> dict[str, Any]:
    used, peak, size = _seconds(), _peak(), (folder / "printed").stat().st_size
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(used + seconds), resource.RLIM_INFINITY))
    answer = _outcome(path, kind, LENIENT if lenient else STRICT, folder)
    if answer["outcome"] in {"read", "refused"} and _peak() - peak > GROWTH:
        answer |= {"outcome": "memory", "where": "growth", "detail": f"{(_peak() - peak) // 1024} MiB"}
    if _seconds() - used > seconds:
        answer |= {"outcome": "time", "where": "slow", "detail": answer["outcome"]}
    text = (folder / "printed").read_bytes()[size:].decode(errors="replace")
    if PATIENT in text:
        answer |= {"outcome": "crash", "where": "printed the name of a patient", "detail": ""}
    return {**answer, "seconds": _seconds() - used, "printed": len(text)}


def _outcome(path: Path, kind: str, options: LoadOptions, folder: Path) -> dict[str, Any]:
    try:
        use(path, kind, options, folder)
    except GensegError as error:
        return _refused(error)
    except MemoryError as error:
        return {"outcome": "memory", "detail": "MemoryError", "where": _where(error)}
    except BaseException as error:
        return {"outcome": "crash", "detail": f"{type(error).__name__}: {error}"[:200], "where": _where(error)}
    return {"outcome": "read", "detail": "", "where": ""}


def _refused(error: GensegError) -> dict[str, Any]:
    if PATIENT in str(error):
        return {"outcome": "crash", "where": "a refusal with the name of a patient", "detail": ""}
    faults = error.faults if isinstance(error, DataError) else ()
    if any(fault.code is FaultCode.TOO_LARGE and "this machine's memory" in fault.found for fault in faults):
        return {"outcome": "memory", "where": "met the limit", "detail": faults[0].found}
    codes = " ".join(sorted({fault.code.value for fault in faults})) or type(error).__name__
    return {"outcome": "refused", "detail": codes, "where": ""}


def _where(error: BaseException) -> str:
    """The way to an exception, from the innermost function outwards."""
    frames = [f"{Path(frame.filename).name}:{frame.name}" for frame in traceback.extract_tb(error.__traceback__)]
    return " < ".join([type(error).__name__, *frames[::-1][:4]])


def _seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def use(path: Path, kind: str, options: LoadOptions, folder: Path) -> None:
    """All that is done with a user's file: read as image and as mask, measured, labels mapped, a mask written for it.

    Raises the refusal where it can be used for nothing.
    """
    if kind in MODELS:
        MODELS[kind](path)
        return
    if kind in DATA_SETS:
        for entry in index_dataset(path).entries:
            _read(entry, options)
        return
    raw = _read(CaseFiles("case", (path,), None, "case"), options)
    sound(raw.image)
    write_mask(np.zeros(raw.image.spatial, np.uint8), path, folder, name="mask")
    try:
        _use_as_mask(_read(CaseFiles("case", (path,), path, "case"), options), options)
    except GensegError as error:
        if PATIENT in str(error):
            raise


def _read(entry: CaseFiles, options: LoadOptions) -> RawCase:
    readings, faults = read_all([entry], options, BUDGET)
    if not readings:
        raise DataError(faults)
    raw = readings[0].raw
    assert raw is not None, "a case beyond the budget"
    return raw


def _use_as_mask(raw: RawCase, options: LoadOptions) -> None:
    assert raw.mask is not None
    sound(raw.mask)
    labels = fit_label_map({"mask": count_labels(raw.mask)}, None, None, options.mask_repair)
    case = to_case(raw, labels, None, options.mask_repair)
    assert case.mask is not None
    assert case.mask.shape == case.spatial, "a mask of another size"
    assert case.mask.max() < len(labels.names), "a class without a name"


def sound(scan: Scan) -> None:
    """Raise AssertionError where a scan is not what its type promises."""
    assert scan.pixels.size > 0, "no pixels"
    assert scan.pixels.dtype.kind in "iuf", f"pixels of {scan.pixels.dtype}"
    assert scan.pixels.dtype.isnative, "pixels of the other byte order"
    assert np.isfinite(scan.pixels).all(), "pixels that are not finite"
    assert len(scan.spacing) == len(scan.spatial), "a spacing of another rank"
    assert all(np.isfinite(step) and step > 0 for step in scan.spacing), f"spacing {scan.spacing}"
    assert (scan.affine is None) == (len(scan.spatial) == 2), "an affine of a picture, or none of a volume"
    if scan.affine is not None:
        assert np.isfinite(scan.affine).all(), "an affine that is not finite"
        assert abs(np.linalg.det(scan.affine[:3, :3])) > 0, "a singular affine"


if __name__ == "__main__":
    main()
