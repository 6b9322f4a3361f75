"""A trained model: what `genseg.fit` and `genseg.load` return. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import printable
from genseg.base.progress import Progress, silent
from genseg.choices import Part, Tilt
from genseg.config import Plan
from genseg.errors import DataError, Fault, FaultCode, RunError, SettingsError
from genseg.examine.cases import LoadOptions, read_raw_case, to_case
from genseg.index import index_images
from genseg.labels import LabelMap
from genseg.predict.prediction import Prediction, predict_case
from genseg.read.case import Case, CaseFiles
from genseg.read.identity import SeenImages
from genseg.results.folder import PredictedCase, predict_entries
from genseg.results.manifest import Extra, check_extras
from genseg.runs.delivered import RESTORE, Description
from genseg.segmenters.network import Network
from genseg.trust.suitability import case_of_array
from genseg.trust.trust import Trust, check_together

if TYPE_CHECKING:
    from genseg.evaluate.summary import EvaluationSummary
    from genseg.models.video import VideoResult


@dataclass(frozen=True)
class Model:
    """A trained segmenter with everything needed to read an image and predict its mask.

    plan: network and preprocessing. labels: the classes. run: the run folder or exported file it was loaded from.
    options, channel_files: how the training images were read, and whether each channel had its own file. training: the
    training method, and why its generator was switched off, if it was. trust: calibration, OOD detection and
    post-processing, learned on held-out cases. sha256: identifies the model: the hash in `model.json` of a run folder,
    of an exported file, or over all members of an ensemble. tile_batch: tiles of a large volume computed at once. seen:
    hashes of the training images, per member of an ensemble; empty if unknown.

    Several threads may use one model, or models derived from one another. `predict`, `examine` and the other methods
    for a single image keep no state between calls and give every thread the result it would get alone. Each call of
    `predict_folder`, `watch`, `segment_video` and `evaluate` needs its own output folder. PyTorch's number of threads
    (`genseg.load(threads=...)`) is shared by the whole process.
    """

    plan: Plan
    labels: LabelMap
    run: Path
    network: Network
    options: LoadOptions
    channel_files: bool
    training: str
    trust: Trust
    sha256: str
    tile_batch: int = 1
    seen: tuple[SeenImages, ...] = ()

    def predict(
        self, image: Path | str | NDArray[np.generic], spacing: Sequence[float] | None = None
    ) -> NDArray[np.uint8]:
        """Segment one image. Returns class indices, `(*spatial)` uint8; `examine` returns more."""
        return self.examine(image, spacing).mask

    def examine(self, image: Path | str | NDArray[np.generic], spacing: Sequence[float] | None = None) -> Prediction:
        """Segment one image, and report how far its mask can be trusted.

        image: a file or DICOM folder, or an array `(channel, *spatial)` or `(*spatial)` with values as stored in files
            (grey or RGB 0..255, CT in Hounsfield units). Volumes given as arrays are taken to be in RAS+ voxel order.
        spacing: mm along each spatial axis of a volume given as an array; None for the spacing of the plan.

        Mask and confidence have the image's own size and voxel order. Raises DataError if the file is unreadable, a
        folder holds several images, or the image has other dimensions or channels than the model's.
        """
        if isinstance(image, Path | str):
            return self.examine_case(self.read(self._only_image(Path(image))))
        return self.examine_case(case_of_array(np.asarray(image), spacing, self.plan))

    def predict_folder(
        self,
        images: Path | str,
        out: Path | str,
        *,
        extras: Sequence[Extra] = (),
        progress: Progress = silent,
    ) -> list[PredictedCase]:
        """Segment every image of a folder, or one file. Each mask has the geometry and format of its image.

        extras: further outputs. "overlays": `overlays/NAME.png`, the image with its mask. "confidence":
            `confidence/NAME`, the probability of each pixel's class in percent. "contours": `contours.csv`, the
            outline of every object. "dicom-seg": a DICOM segmentation beside the mask of each DICOM image.

        `predictions.csv` (notes on each case), `measurements.csv` (area or volume, and number of objects) and
        `manifest.jsonl` (hashes of image, model and mask) are always written; see `genseg.results.mask_folder`.

        Masks in `out` of the same image and model are kept. Masks of another image or model are moved into
        `out/replaced`. Masks that a person has edited are left alone and get no rows.

        Returns the cases in the order of their names. Before anything is written, raises RunError if `out` cannot be
        used, would lose files that are not genseg's, or is in use by another process; and DataError if two images have
        the same name. After all other images, raises DataError naming every image that could not be segmented.
        """
        check_extras(extras)
        entries = index_images(Path(images), channel_files=self.channel_files)
        return predict_entries(self, entries, Path(images), Path(out), extras, progress)

    def watch(
        self,
        images: Path | str,
        out: Path | str,
        *,
        is_stopped: Callable[[], bool],
        tell: Callable[[PredictedCase], None],
        report: Callable[[DataError], None],
        extras: Sequence[Extra] = (),
    ) -> int:
        """Segment the images in a folder and those that arrive, as `predict_folder`, until told to stop.

        Each image is segmented once it is complete, and again when its content changes. The earlier mask is then moved
        into `out/replaced`, even if the new image cannot be read. is_stopped: called several times a second. tell:
        called with each new mask. report: called with each image that cannot be segmented, and with a folder that
        cannot be reached; neither ends the watch.

        Returns the number of masks written. Raises RunError as `predict_folder`.
        """
        from genseg.results.live import predict_as_they_come

        check_extras(extras)
        return predict_as_they_come(
            self, Path(images), Path(out), extras, is_stopped=is_stopped, tell=tell, report=report
        )

    def segment_video(self, video: Path | str, out: Path | str, *, progress: Progress = silent) -> VideoResult:
        """Outline the objects in every frame of a video; see `genseg.models.video.segment_video`.

        A model of grey images gets grey frames. Raises DataError if the file is not a complete video, SettingsError
        for a model of volumes, RunError if `out` cannot be written, MissingExtraError without imageio-ffmpeg.
        """
        from genseg.drawing.overlays import palette
        from genseg.models.video import segment_video

        if self.plan.rank != 2:
            raise SettingsError("this model segments volumes; a video needs one that was trained on 2D images")
        return segment_video(Path(video), Path(out), self.predict, palette(self.plan.classes), progress)

    def evaluate(
        self,
        data: Path | str,
        out: Path | str | None = None,
        *,
        split: Part = "test",
        progress: Progress = silent,
    ) -> EvaluationSummary:
        """Score predictions against expert masks.

        data: a dataset in any layout that training reads. split: "test": the cases declared as test, or all cases if
            none is declared and none was trained on; "validation": the cases held out in training; "all": every
            labelled case. out: folder for report.html, scores.json and scores.csv; None writes nothing.

        Raises DataError with every problem in the cases, RunError if no case can be scored or `out` cannot be used.
        """
        from genseg.models.evaluation import evaluate_model

        return evaluate_model(self, Path(data), None if out is None else Path(out), split, progress)

    def without_mirroring(self) -> Model:
        """The same model without test-time mirroring: several times faster, slightly less accurate."""
        return replace(self, plan=self.plan.model_copy(update={"mirroring": False}))

    def reading_tilted(self, tilt: Tilt) -> Model:
        """The same model with another rule for gantry-tilted DICOM series; by default it follows its training."""
        return replace(self, options=replace(self.options, read=replace(self.options.read, tilt=tilt)))

    def read(self, files: CaseFiles) -> Case:
        """Read an image the way the training images were read. Raises DataError if it cannot be used."""
        return to_case(read_raw_case(files, self.options), None, None)

    def examine_case(self, case: Case) -> Prediction:
        """As `examine`, for an image that has been read."""
        return predict_case(case, self.network, self.plan, self.trust, self.tile_batch)

    def _only_image(self, path: Path) -> CaseFiles:
        entries = index_images(path, channel_files=self.channel_files)
        if len(entries) > 1:
            cure = "Name one of them, or segment them all with predict_folder."
            found = f"{len(entries)} images"
            raise DataError([Fault(FaultCode.LAYOUT_UNKNOWN, printable(path), found, "one image", cure)])
        return entries[0]


def described_model(
    members: Sequence[Description], trust: Trust, network: Network, run: Path, sha256: str, tile_batch: int = 1
) -> Model:
    """The model that a description, or of an ensemble each member's, tells of. sha256: as in `Model`.

    Network and description are tried on each other. Raises RunError where they do not go together.
    """
    own = members[0]
    seen = [one.seen for one in members if one.seen is not None]
    model = Model(
        plan=own.plan,
        labels=own.labels,
        run=run,
        network=network,
        options=own.reading,
        channel_files=own.channel_files,
        training=_training(own),
        trust=trust,
        sha256=sha256,
        tile_batch=tile_batch,
        seen=tuple(seen) if len(seen) == len(members) else (),
    )
    try_out(model)
    return model


def try_out(model: Model) -> None:
    """Raise RunError where network and description do not go together: before any image is read, not at the first."""
    try:
        check_together(model.network, model.plan, model.trust)
    except MemoryError:
        raise
    except FloatingPointError as error:
        raise RunError(f"{model.run}: damaged: {error}, even for a plain image; {RESTORE}") from error
    except Exception as error:  # runtimes raise errors without a common base
        problem = str(error).strip().partition("\n")[0]
        raise RunError(
            f"{model.run}: damaged: the network does not fit its description ({problem}); {RESTORE}"
        ) from error


def _training(described: Description) -> str:
    method, off = described.plan.method, described.why_no_generator
    return f"{method}; {off}, so training used real pairs only" if off else method
