"""A finished run as files that other programs run: written only once they give the same masks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from genseg.base.files import atomic_folder, copy_together, file_sha256, sweep, temporary_folder
from genseg.base.progress import Progress
from genseg.base.seals import BLANK, KEY, sealed
from genseg.choices import Precision, Target
from genseg.compute.device import choose_machine
from genseg.errors import SettingsError, unknown
from genseg.examine.cases import CaseStore
from genseg.export.bundle import open_bundle, write_bundle
from genseg.export.onnx import write_onnx
from genseg.export.openvino import write_openvino
from genseg.export.parity import Parity, measure_parity, require_parity
from genseg.export.place import FILES, free_target, require_packages
from genseg.models.load import delivered_segmenter, describe_model, load_exported, load_run
from genseg.models.model import Model
from genseg.models.scored_cases import own_cases
from genseg.predict.runtimes import parts_of
from genseg.prepare.preprocess import prepare
from genseg.read.case import Case
from genseg.runs.delivered import Delivery
from genseg.runs.folder import RunFolder
from genseg.segmenters.network import Array
from genseg.trust.suitability import fit_case

PRECISIONS: dict[Target, tuple[Precision, ...]] = {
    "onnx": ("float32",),
    "openvino": ("float32", "bfloat16", "int8"),
    "bundle": ("float32",),
}
CALIBRATED_ON = 40
"""Most training cases that int8 is calibrated on."""


@dataclass(frozen=True)
class Exported:
    """The exported file or folder, and how closely it reproduces the original."""

    path: Path
    parity: Parity


def export_run(
    run: Path, data: Path, to: Target, out: Path | None, precision: Precision, progress: Progress
) -> Exported:
    """Write the delivered model of a run for other programs; see `genseg.export_model`."""
    if to not in PRECISIONS:
        raise SettingsError(unknown("export format", to, PRECISIONS))
    if precision not in PRECISIONS[to]:
        raise SettingsError(unknown(f"precision for {to}", precision, PRECISIONS[to]))
    folder = RunFolder.open(run)
    target = free_target(run / "export" / FILES[to] if out is None else out, to, data, run)
    require_packages(to, precision)
    original = load_run(run, "cpu")
    cases = own_cases(data, folder.split(), original.labels, original.options, progress)
    folder.check_cases(cases)
    scratch = Path(gettempdir())
    sweep(scratch)
    with temporary_folder(scratch) as place:
        made = place / FILES[to]
        progress("Exporting", 0, 2)
        _write(folder, original, cases, to, precision, made)
        progress("Comparing masks", 1, 2)
        exported = open_bundle(made) if to == "bundle" else load_exported(made, "cpu")
        parity = measure_parity(original, exported, cases.select(_judges(folder)))
        require_parity(parity, exact=precision == "float32")
        _move(made, target)
    progress("Exporting", 2, 2)
    return Exported(target, parity)


def _write(
    folder: RunFolder, original: Model, cases: CaseStore, to: Target, precision: Precision, target: Path
) -> None:
    delivery = folder.delivery()
    segmenter = delivered_segmenter(folder, delivery, choose_machine("cpu", "float32"))
    if to == "bundle":
        write_bundle(folder, segmenter, original, target)
        return
    description = describe(delivery, original, precision)
    onnx_file = target.with_suffix(".onnx")
    # OpenVINO would take the ONNX file's description over beside its own.
    write_onnx(segmenter, original.plan, description if to == "onnx" else "", onnx_file)
    if to == "openvino":
        images = _calibration(original, cases.select(folder.split().train)) if precision == "int8" else None
        write_openvino(onnx_file, description, target, images)
        onnx_file.unlink()
    # Of what the runtime will read, not of what was put in: each writes the description in its own way.
    target.write_bytes(sealed(target.read_bytes(), [file_sha256(part) for part in parts_of(target)]))


def describe(delivery: Delivery, model: Model, precision: Precision) -> str:
    """What an exported file says of itself, as JSON: enough to prepare images and to tell when not to trust masks."""
    told = {"model": describe_model(delivery), "trust": model.trust.to_json(), "precision": precision, KEY: BLANK}
    return json.dumps(told, separators=(",", ":"))


def _judges(folder: RunFolder) -> Sequence[str]:
    """The held-out cases; where there are none, those of the training."""
    split = folder.split()
    return split.validation or split.train


def _calibration(model: Model, cases: Sequence[Case]) -> Iterator[Array]:
    """The network's input for some training cases; of volumes the patch in the middle."""
    for case in cases[:CALIBRATED_ON]:
        image = prepare(fit_case(case, model.plan), model.plan).image
        starts = [(own - side) // 2 for own, side in zip(image.shape[1:], model.plan.patch_size, strict=True)]
        box = (slice(start, start + side) for start, side in zip(starts, model.plan.patch_size, strict=True))
        yield image[(slice(None), *box)][None]


def _move(made: Path, target: Path) -> None:
    """Put what was made in its place; nobody meets a part of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if made.is_dir():
        with atomic_folder(target) as temporary:
            shutil.copytree(made, temporary, dirs_exist_ok=True)
    else:
        copy_together({part: target.with_suffix(part.suffix) for part in (*parts_of(made), made)})
