"""A trained model: what `genseg.fit` and `genseg.load` return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from genseg.config import Plan
from genseg.data.case import Case
from genseg.data.index import index_dataset, index_images
from genseg.data.labels import LabelMap
from genseg.data.load import read_raw_case, to_case
from genseg.data.preprocess import prepare
from genseg.data.split import Split
from genseg.data.writers import write_mask
from genseg.errors import DataError, Fault, FaultCode, RunError
from genseg.evaluate.metrics import score_case
from genseg.evaluate.summary import EvaluationSummary, summarise
from genseg.predict.outputs import output_folder, palette, write_evaluation, write_overlay
from genseg.progress import Progress, silent
from genseg.segmenters.inference import predict_mask
from genseg.segmenters.registry import build_segmenter
from genseg.training.checkpoint import read_tensors
from genseg.training.data import load_options
from genseg.training.device import Machine, choose_machine
from genseg.training.run_folder import RunFolder

Part = Literal["test", "validation", "all"]


@dataclass(frozen=True)
class Model:
    """A segmenter with all that it needs to read an image and give its mask.

    plan: how images are prepared and which network it is. labels: the classes. run: the folder it came from.
    """

    plan: Plan
    labels: LabelMap
    run: Path
    segmenter: nn.Module
    machine: Machine

    def predict(
        self, image: Path | str | NDArray[np.generic], spacing: Sequence[float] | None = None
    ) -> NDArray[np.uint8]:
        """Segment one image.

        image: a file or DICOM folder, or pixels `(channel, *spatial)` or `(*spatial)` with values as a file would
            store them (a picture's grey or RGB 0..255, CT in Hounsfield units). Volume arrays are taken to lie in RAS+
            voxel order.
        spacing: mm along each spatial axis of a volume given as an array; the plan's where None.

        Returns class indices `(*spatial)` uint8 in the image's own size and voxel order. Raises DataError for an
        unreadable file or an image of other dimensions or channels than the model's.
        """
        if isinstance(image, Path | str):
            files = index_images(Path(image))[0]
            return self._segment(to_case(read_raw_case(files), None, None))
        return self._segment(self._case_of(np.asarray(image), spacing))

    def predict_folder(
        self, images: Path | str, out: Path | str, *, overlays: bool = False, progress: Progress = silent
    ) -> list[Path]:
        """Segment every image of a folder (or one file) and write each mask in its image's geometry and format.

        overlays: also write `out/overlays/NAME.png`, the image with the mask drawn over it.
        Returns the masks' paths. Raises RunError where `out` cannot be used, and DataError naming every image that
        could not be segmented, after all others were written.
        """
        entries = index_images(Path(images))
        folder = output_folder(Path(out), Path(images))
        written, faults = [], []
        for number, files in enumerate(entries, 1):
            try:
                case = to_case(read_raw_case(files), None, None)
                mask = self._segment(case)
                written.append(write_mask(mask, files.images[0], folder, palette(self.plan.classes), name=files.name))
            except DataError as error:
                faults += error.faults
            else:
                if overlays:
                    write_overlay(case, mask, folder / "overlays")
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

        Raises DataError with all faults of the cases, RunError where there is no case to score.
        """
        cases = self._labelled_cases(Path(data), split, progress)
        predictions = {}
        for number, case in enumerate(cases, 1):
            predictions[case.name] = self._segment(case)
            progress("Predicting", number, len(cases))
        scores = [
            score_case(case.name, case.mask, predictions[case.name], self.plan.classes, case.spacing)
            for case in cases
            if case.mask is not None
        ]
        provenance = {"model": str(self.run), "data": Path(data).name, "cases": split, "segmenter": self.plan.segmenter}
        summary = summarise(scores, self.labels.names, provenance)
        if out is not None:
            write_evaluation(summary, {case.name: case for case in cases}, predictions, Path(out))
        return summary

    def _segment(self, case: Case) -> NDArray[np.uint8]:
        case = self._fitting(case)
        return predict_mask(self.segmenter, prepare(case, self.plan), self.plan, self.machine.device)

    def _fitting(self, case: Case) -> Case:
        """The case itself, a grey picture as RGB where the model wants it; DataError where it cannot fit."""
        if len(case.spatial) != self.plan.rank:
            found, expected = f"an image of {len(case.spatial)} dimensions", f"{self.plan.rank}, as in training"
            cure = "Give the kind of image that the model was trained on."
            raise DataError([Fault(FaultCode.MIXED_DIMENSIONS, case.name, found, expected, cure)])
        channels = case.image.shape[0]
        if channels == self.plan.channels:
            return case
        if channels == 1 and self.plan.channels == 3 and self.plan.rank == 2:
            return replace(case, image=np.repeat(case.image, 3, axis=0))
        found, expected = f"{channels} channels", f"{self.plan.channels}, as in training"
        cure = "Give images with the same channels, in the same order, as in training."
        raise DataError([Fault(FaultCode.CHANNEL_MISMATCH, case.name, found, expected, cure)])

    def _case_of(self, pixels: NDArray[np.generic], spacing: Sequence[float] | None) -> Case:
        if pixels.ndim == self.plan.rank:
            pixels = pixels[None]
        if pixels.ndim != self.plan.rank + 1:
            found, expected = f"shape {pixels.shape}", f"(channel, *spatial) with {self.plan.rank} spatial axes"
            raise DataError([Fault(FaultCode.MIXED_DIMENSIONS, "array", found, expected, "Reshape the array.")])
        steps = tuple(spacing or self.plan.spacing or (1.0,) * self.plan.rank)
        affine = np.diag([*steps, 1.0]) if self.plan.rank == 3 else None
        return Case("array", pixels, None, steps, affine, "", "", "")

    def _labelled_cases(self, data: Path, split: Part, progress: Progress) -> list[Case]:
        index = index_dataset(data)
        options = load_options(RunFolder.open(self.run).frozen()[0], index)
        entries = [files for files in index.entries if files.mask is not None]
        wanted = self._wanted({files.name: files.split for files in entries}, split)
        chosen = [files for files in entries if files.name in wanted]
        cases, faults = [], []
        for number, files in enumerate(chosen, 1):
            try:
                cases.append(to_case(read_raw_case(files, options), self.labels, None, options.mask_repair))
            except DataError as error:
                faults += error.faults
            progress("Reading", number, len(chosen))
        if faults:
            raise DataError(faults)
        return cases

    def _wanted(self, splits: Mapping[str, str | None], split: Part) -> set[str]:
        """Names of the cases that a part of a data set holds; `splits` gives each case's declared part."""
        own = Split.from_json(RunFolder.open(self.run).read_json("split.json"))
        declared = {name for name, part in splits.items() if part == "test"}
        was_trained_on = not {*own.train, *own.validation}.isdisjoint(splits)
        parts = {
            "all": set(splits),
            "validation": set(splits).intersection(own.validation),
            "test": declared if declared or was_trained_on else set(splits),
        }
        if not parts[split]:
            raise RunError(
                f"no {split} case among the {len(splits)} labelled cases. Use --split validation or --split all, "
                "or give cases that were not trained on"
            )
        return parts[split]


def load_model(run: Path | str, device: str = "auto") -> Model:
    """Load the model that a finished run delivered.

    Raises RunError where `run` is no finished run folder or its weights are damaged, DeviceError for an absent device.
    """
    folder = RunFolder.open(Path(run))
    if not folder.is_finished:
        raise RunError(f"{run}: this run has not finished; go on with `genseg train DATA -o {run} --resume`")
    described = folder.read_json("model/model.json")
    plan = Plan.from_mapping(described["plan"], "model.json")
    machine = choose_machine(device, "float32")
    with torch.random.fork_rng():
        segmenter = build_segmenter(plan.segmenter, plan.rank, plan.channels, plan.classes)
    segmenter.load_state_dict(read_tensors(folder.weights, described["sha256"]))
    labels = LabelMap.from_json(described["labels"])
    return Model(plan, labels, folder.path, machine.place(segmenter, plan.rank).eval(), machine)

