"""A trained model: what `genseg.fit` and `genseg.load` return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genseg.config import Plan
from genseg.data.case import Case, CaseFiles
from genseg.data.index import index_images
from genseg.data.labels import LabelMap
from genseg.data.load import LoadOptions, read_raw_case, to_case
from genseg.data.preprocess import prepare
from genseg.data.readers import ReadOptions
from genseg.data.writers import write_mask
from genseg.device import Machine, choose_machine
from genseg.errors import DataError, Fault, FaultCode, RunError, SettingsError
from genseg.evaluate.metrics import CaseScores, score_case
from genseg.evaluate.summary import EvaluationSummary, summarise
from genseg.files import printable
from genseg.predict.fitting import case_of_array, fit_case
from genseg.predict.outputs import output_folder, palette, side_by_side, write_evaluation, write_overlay
from genseg.predict.scored import Part, scored_cases
from genseg.progress import Progress, silent
from genseg.segmenters.inference import predict_mask
from genseg.segmenters.registry import build_segmenter
from genseg.training.checkpoint import FORMAT, read_tensors
from genseg.training.run_folder import RunFolder


@dataclass(frozen=True)
class Model:
    """A segmenter with all that it needs to read an image and give its mask.

    plan: how images are prepared and which network it is. labels: the classes. run: the folder it came from.
    options, channel_files: how the training images were read, and whether each channel had a file of its own. training:
    the arm it followed, and why its generator was switched off where it was.
    """

    plan: Plan
    labels: LabelMap
    run: Path
    segmenter: nn.Module
    machine: Machine
    options: LoadOptions
    channel_files: bool
    training: str

    def predict(
        self, image: Path | str | NDArray[np.generic], spacing: Sequence[float] | None = None
    ) -> NDArray[np.uint8]:
        """Segment one image.

        image: a file or DICOM folder, or pixels `(channel, *spatial)` or `(*spatial)` with values as a file would
            store them (a picture's grey or RGB 0..255, CT in Hounsfield units). Volume arrays are taken to lie in RAS+
            voxel order.
        spacing: mm along each spatial axis of a volume given as an array; the plan's where None.

        Returns class indices `(*spatial)` uint8 in the image's own size and voxel order. Raises DataError for an
        unreadable file, a folder of several images, or an image of other dimensions or channels than the model's.
        """
        if isinstance(image, Path | str):
            return self._segment(self._read(self._only_image(Path(image))))
        return self._segment(case_of_array(np.asarray(image), spacing, self.plan))

    def predict_folder(
        self, images: Path | str, out: Path | str, *, overlays: bool = False, progress: Progress = silent
    ) -> list[Path]:
        """Segment every image of a folder (or one file) and write each mask in its image's geometry and format.

        overlays: also write `out/overlays/NAME.png`, the image with the mask drawn over it.
        Returns the masks' paths. Raises RunError where `out` cannot be used or holds the images, DataError where two
        images have one name, both before anything is written; and DataError naming every image that could not be
        segmented, after all others were written.
        """
        entries = index_images(Path(images), channel_files=self.channel_files)
        sources = [path for files in entries for path in files.images]
        folder = output_folder(Path(out), [Path(images), *sources])
        written: list[Path] = []
        faults: list[Fault] = []
        for number, files in enumerate(entries, 1):
            try:
                written.append(self._write(files, folder, overlays))
            except DataError as error:
                faults += error.faults
            progress("Predicting", number, len(entries))
        if faults:
            raise DataError(faults)
        return written

    def evaluate(
        self,
        data: Path | str,
        out: Path | str | None = None,
        *,
        split: Part = "test",
        progress: Progress = silent,
    ) -> EvaluationSummary:
        """Score predictions against experts' masks.

        data: a data set in any lay-out that training reads. split: "test": the cases that the data set declares as
        test, all of them where it declares none and none was trained on; "validation": those held out in training;
        "all": every labelled case. out: folder for report.html, scores.json and scores.csv; nothing is written where
        it is None.

        Raises DataError with all faults of the cases, RunError where there is no case to score or `out` cannot be used.
        """
        own = RunFolder.open(self.run).split()
        cases = scored_cases(Path(data), split, own, self.labels, self.options, progress)
        folder = None if out is None else output_folder(Path(out))
        summary = summarise(
            self._scores(cases, progress),
            self.labels.names,
            {
                "model": str(self.run),
                "data": Path(data).name,
                "cases": split,
                "segmenter": self.plan.segmenter,
                "training": self.training,
            },
        )
        if folder is not None:
            by_name = {files.name: place for place, files in enumerate(cases.entries)}
            write_evaluation(summary, lambda name: self._picture(cases[by_name[name]]), folder)
        return summary

    def _only_image(self, path: Path) -> CaseFiles:
        entries = index_images(path, channel_files=self.channel_files)
        if len(entries) > 1:
            cure = "Name one of them, or segment them all with predict_folder."
            found = f"{len(entries)} images"
            raise DataError([Fault(FaultCode.LAYOUT_UNKNOWN, printable(path), found, "one image", cure)])
        return entries[0]

    def _read(self, files: CaseFiles) -> Case:
        return to_case(read_raw_case(files, self.options), None, None)

    def _segment(self, case: Case) -> NDArray[np.uint8]:
        prepared = prepare(fit_case(case, self.plan), self.plan)
        return predict_mask(self.segmenter, prepared, self.plan, self.machine.device)

    def _write(self, files: CaseFiles, folder: Path, overlays: bool) -> Path:
        case = self._read(files)
        mask = self._segment(case)
        if overlays:
            write_overlay(case, mask, folder)
        return write_mask(mask, files.images[0], folder, palette(self.plan.classes), files.name)

    def _scores(self, cases: Sequence[Case], progress: Progress) -> list[CaseScores]:
        scores: list[CaseScores] = []
        faults: list[Fault] = []
        for number, case in enumerate(cases, 1):
            try:
                if case.mask is not None:
                    mask = self._segment(case)
                    scores.append(score_case(case.name, case.mask, mask, self.plan.classes, case.spacing))
            except DataError as error:
                faults += error.faults
            progress("Predicting", number, len(cases))
        if faults:
            raise DataError(faults)
        return scores

    def _picture(self, case: Case) -> NDArray[np.uint8]:
        return side_by_side(case, self._segment(case))


def load_model(run: Path | str, device: str = "auto") -> Model:
    """Load the model that a finished run delivered.

    Raises RunError where `run` is no finished run folder, its model was made by another version or is damaged;
    DeviceError for an absent device.
    """
    folder = RunFolder.open(Path(run))
    described = read_delivery(folder)
    machine = choose_machine(device, "float32")
    try:
        return _build(folder, described, machine)
    except (KeyError, TypeError, RuntimeError, SettingsError) as error:
        raise RunError(f"{run}: the model is damaged; train it again or restore the folder ({error})") from error


def read_delivery(folder: RunFolder) -> dict[str, Any]:
    """What a finished run says of the model that it delivered. Raises RunError as `load_model` does."""
    run = folder.path
    if not folder.is_finished:
        raise RunError(f"{run}: this run has not finished; go on with `genseg train DATA -o {run} --resume`")
    described = folder.read_json("model/model.json")
    if described.get("format") != FORMAT:
        writer = f"format {described.get('format')}, by genseg {described.get('genseg')}"
        raise RunError(f"{run}: the model is of another version ({writer}); this genseg reads format {FORMAT}")
    return described


def _build(folder: RunFolder, described: dict[str, Any], machine: Machine) -> Model:
    plan = Plan.from_mapping(described["plan"], "model.json")
    reading = described["reading"]
    with torch.random.fork_rng():
        segmenter = build_segmenter(plan.segmenter, plan.rank, plan.channels, plan.classes)
    segmenter.load_state_dict(read_tensors(folder.path / "model" / described["weights"], described["sha256"]))
    return Model(
        plan=plan,
        labels=LabelMap.from_json(described["labels"]),
        run=folder.path,
        segmenter=machine.place(segmenter, plan.rank).eval(),
        machine=machine,
        options=LoadOptions(ReadOptions(**reading["read"]), reading["mask_repair"]),
        channel_files=described["channel_files"],
        training=_training(plan, described.get("generator")),
    )


def _training(plan: Plan, generator: dict[str, Any] | None) -> str:
    off = (generator or {}).get("off")
    return f"{plan.arm}; {off}, so that real pairs alone were trained on" if off else plan.arm
