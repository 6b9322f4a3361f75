"""A folder of images through a model: the masks, and beside them what a person or a program asks for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from genseg.base.files import file_sha256, printable
from genseg.base.progress import Progress
from genseg.config import FIRST_NAMES, Plan
from genseg.drawing.overlays import palette
from genseg.errors import DataError, Fault, FaultCode, listed
from genseg.index.names import match_key
from genseg.measure.contours import contour_rows, trace_contours
from genseg.measure.sizes import measure, measurement_cells
from genseg.predict.prediction import Prediction
from genseg.predict.predictor import Predictor
from genseg.read.case import Case, CaseFiles
from genseg.read.formats import Format
from genseg.read.guard import one_image
from genseg.read.source import is_folder, read_source
from genseg.results.content import Stamp, content_sha256, stamp
from genseg.results.manifest import Extra, Record, Written
from genseg.results.mask_folder import Maker, Results, open_results
from genseg.results.outputs import CONFIDENCE, write_overlay
from genseg.write.dicom_seg import write_dicom_seg
from genseg.write.masks import write_mask


@dataclass(frozen=True)
class PredictedCase:
    """A case with its mask in the output folder.

    state: "new" if the mask was made now; "kept" if it was there already, of the same image and model; "edited" if a
    person has changed it since, so that nothing is known about it. set_aside: where an earlier mask of this name was
    moved: one of another image, another model, or not from genseg. The other fields are those of `Prediction`.
    """

    name: str
    mask: Path
    expected_dice: float | None
    ood_score: float | None
    notes: tuple[str, ...]
    state: Literal["new", "kept", "edited"] = "new"
    set_aside: Path | None = None


def predict_entries(
    model: Predictor,
    entries: Sequence[CaseFiles],
    images: Path,
    out: Path,
    extras: Collection[Extra],
    progress: Progress,
) -> list[PredictedCase]:
    """Segment and write every entry; see `Model.predict_folder`. images: the folder that they were found in."""
    predicted: list[PredictedCase] = []
    faults: list[Fault] = []
    sources = [images, *(path for files in entries for path in files.images)]
    with open_results(out, sources, maker_of(model)) as results:
        results.refuse_strangers(entries)
        results.set_outdated_aside(entries)
        for number, files in enumerate(entries, 1):
            try:
                predicted.append(predict_entry(model, files, results, extras))
            except DataError as error:
                faults += error.faults
            progress("Predicting", number, len(entries))
        if faults:
            raise DataError([*faults, *moved_masks(entries, results)])
    return predicted


def predict_entry(model: Predictor, files: CaseFiles, results: Results, extras: Collection[Extra]) -> PredictedCase:
    """Segment one image and write its mask and the extras, unless they are there.

    An earlier mask that is not of this image and by this model is set aside. Raises DataError where the image cannot be
    segmented; of an earlier mask, `moved_masks` tells then.
    """
    results.set_outdated_aside([files])
    record = results.find(files)
    if record is not None and record.key in results.edited:
        return PredictedCase(files.name, results.folder / record.mask.path, None, None, (), "edited")
    if record is not None and not results.lacks(record, extras):
        return _predicted(record, results, "kept")
    with one_image(files.images[0]):
        return _predicted(_segment(model, files, results, extras), results, "new")


def moved_masks(entries: Sequence[CaseFiles], results: Results) -> list[Fault]:
    """A warning of the earlier masks of these cases that were set aside; empty where none was."""
    keys = [match_key(files.name) for files in entries]
    moved = [printable(results.moved[key].relative_to(results.folder)) for key in keys if key in results.moved]
    if not moved:
        return []
    found = "an earlier mask" if len(moved) == 1 else f"{len(moved)} earlier masks"
    found += " of another image or by another model"
    cure = f"Moved: {listed(moved)}."
    expected = "masks of these images, by this model"
    return [Fault(FaultCode.MASK_SET_ASIDE, printable(results.folder), found, expected, cure, stops=False)]


def maker_of(model: Predictor) -> Maker:
    """What decides the model's masks: its weights, and in one hash all else."""
    told = {
        "plan": _named_as_before(model.plan),
        "trust": model.trust.to_json(),
        "labels": model.labels.to_json(),
        "reading": asdict(model.options),
    }
    settings = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return Maker(model.sha256, settings, model.plan.rank)


def _named_as_before(plan: Plan) -> dict[str, Any]:
    """A plan with the names that it had first: masks stay those of their model when a value is renamed."""
    told = plan.model_dump(mode="json", exclude={"unlabelled_share"})  # came later, and tells of training alone
    if told["generation"] is not None:
        told["generation"] = {FIRST_NAMES.get(name, name): value for name, value in told["generation"].items()}
    return told


def _predicted(record: Record, results: Results, state: Literal["new", "kept"]) -> PredictedCase:
    return PredictedCase(
        record.case,
        results.folder / record.mask.path,
        record.expected_dice,
        record.ood_score,
        record.notes,
        state,
        results.moved.get(record.key) if state == "new" else None,
    )


def _segment(model: Predictor, files: CaseFiles, results: Results, extras: Collection[Extra]) -> Record:
    """Segment an image and put what is written in its place."""
    before = stamp(files)
    case = model.read(files)
    found = model.examine_case(case)
    names = model.labels.names
    with results.staging() as staged:
        mask = write_mask(found.mask, files.images[0], staged, palette(model.plan.classes), files.name)
        _write_extras(case, found, files, staged, extras, names)
        rank = model.plan.rank
        record = Record(
            case=files.name,
            mask=_written(mask, staged),
            others=tuple(_written(path, staged) for path in _files(staged) if path != mask),
            extras=tuple(sorted(extras)),
            image_sha256=_unchanged_sha256(files, before),
            image_files=before or (),
            model_sha256=results.maker.model_sha256,
            settings_sha256=results.maker.settings_sha256,
            genseg=version("genseg"),
            written=datetime.now(UTC).isoformat(timespec="seconds"),
            rank=rank,
            expected_dice=found.expected_dice,
            ood_score=found.ood_score,
            notes=found.notes,
            measurements=tuple(measurement_cells(row, rank) for row in measure(case, found.mask, names)),
        )
        contours = contour_rows(trace_contours(case, found.mask, names)) if "contours" in extras else ()
        results.keep(record, staged, contours)
    return record


def _unchanged_sha256(files: CaseFiles, before: Stamp | None) -> str:
    """Hash of an image's files. Raises DataError where they are not what they were before the image was read."""
    try:
        sha256 = content_sha256(files)
    except OSError:
        sha256 = ""
    if not sha256 or before is None or stamp(files) != before:
        found, cure = "a file that changed while it was read", "Predict again when it is complete."
        fault = Fault(FaultCode.UNREADABLE, printable(files.images[0]), found, "a file that stays as it is", cure)
        raise DataError([fault])
    return sha256


def _written(path: Path, staged: Path) -> Written:
    return Written(path=path.relative_to(staged).as_posix(), sha256=file_sha256(path))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _write_extras(
    case: Case, found: Prediction, files: CaseFiles, folder: Path, extras: Collection[Extra], names: Sequence[str]
) -> None:
    like = files.images[0]
    if "overlays" in extras:
        write_overlay(case, found.mask, folder)
    if "confidence" in extras:
        (folder / CONFIDENCE).mkdir()
        write_mask(found.confidence, like, folder / CONFIDENCE, name=files.name)
    if "dicom-seg" in extras and _is_dicom(like):
        write_dicom_seg(found.mask, like, folder, names, files.name)


def _is_dicom(path: Path) -> bool:
    """Of folders only those of a DICOM series are images."""
    return is_folder(path) or read_source(path).format is Format.DICOM
