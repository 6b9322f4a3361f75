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
    """A segmenter with all that it needs to read an image and give its mask.

    plan: how images are prepared and which network it is. labels: the classes. run: the run folder, or exported file,
    that it came from. options, channel_files: how the training images were read, and whether each channel had a file of
    its own. training: its training method, and why its generator was switched off where it was. trust: what its
    held-out cases taught. sha256: of its weights, for telling models apart: as in `model.json` for a run folder, of
    the file for an exported one, over those of all members for an ensemble. tile_batch: tiles of a large volume that
    are computed at once. seen: hashes of the images that it was trained on, of each member of an ensemble; empty where
    they are not known.

    Several threads may use one model, or models made from one another, at once: `predict`, `examine` and the other
    methods that take one image keep nothing between calls and give each thread what it would get alone. Of
    `predict_folder`, `watch`, `segment_video` and `evaluate`, each call needs an output folder of its own. The number
    of threads that PyTorch computes with (`genseg.load(threads=...)`) is one for the whole process.
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
        """Segment one image; `examine` tells more. Returns class indices `(*spatial)` uint8."""
        return self.examine(image, spacing).mask

    def examine(self, image: Path | str | NDArray[np.generic], spacing: Sequence[float] | None = None) -> Prediction:
        """Segment one image, and say how far its mask can be trusted.

        image: a file or DICOM folder, or pixels `(channel, *spatial)` or `(*spatial)` with values as a file would
            store them (a picture's grey or RGB 0..255, CT in Hounsfield units). Volume arrays are taken to lie in RAS+
            voxel order.
        spacing: mm along each spatial axis of a volume given as an array; the plan's where None.

        Mask and confidence are in the image's own size and voxel order. Raises DataError for an unreadable file, a
        folder of several images, or an image of other dimensions or channels than the model's.
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
        """Segment every image of a folder (or one file) and write each mask in its image's geometry and format.

        extras: what else to write. "overlays": `overlays/NAME.png`, the image with the mask drawn over it.
        "confidence": `confidence/NAME`, the probability in percent of each pixel's class. "contours": `contours.csv`,
        the outline of every object. "dicom-seg": a DICOM segmentation beside the mask of each DICOM image.
        `predictions.csv` (for each case what there is to say about it), `measurements.csv` (area or volume, and number
        of objects) and `manifest.jsonl` (hashes of image, model and mask) are always written; see
        `genseg.results.mask_folder`.

        Masks that lie in `out` already, of the same image and by the same model, are kept; those of another image or by
        another model are moved into `out/replaced`; those that a person has edited since are left alone, without rows.

        Returns the cases, in the order of their names. Raises RunError where `out` cannot be used, holds the images or
        files of someone else's that would be replaced, or another process is at work in it; DataError where two images
        have one name, all before anything is written; and DataError naming every image that could not be segmented,
        after all others were written.
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
        """Segment the images that are in a folder and those that come into it, as `predict_folder`, until told to stop.

        Each is segmented once, when it is complete, and again when its content changes: the earlier mask is moved into
        `out/replaced`, also where the new image cannot be read. is_stopped: asked several times a second. tell: told of
        each mask that is made. report: told of each image that cannot be segmented, which stops no other, and of a
        folder that cannot be reached, which is waited for.

        Returns the number of masks made. Raises RunError as `predict_folder`.
        """
        from genseg.results.live import predict_as_they_come

        check_extras(extras)
        return predict_as_they_come(
            self, Path(images), Path(out), extras, is_stopped=is_stopped, tell=tell, report=report
        )

    def segment_video(self, video: Path | str, out: Path | str, *, progress: Progress = silent) -> VideoResult:
        """Outline what is found in each frame of a video; see `genseg.models.video.segment_video`.

        A model of grey pictures is given the frames in grey. Raises DataError for a file that is no whole video,
        SettingsError for a model of volumes, RunError where `out` cannot be written, MissingExtraError without
        imageio-ffmpeg.
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
        """Score predictions against experts' masks.

        data: a dataset in any layout that training reads. split: "test": the cases that the dataset declares as
        test, all of them where it declares none and none was trained on; "validation": those held out in training;
        "all": every labelled case. out: folder for report.html, scores.json and scores.csv; nothing is written where
        it is None.

        Raises DataError with all faults of the cases, RunError where there is no case to score or `out` cannot be used.
        """
        from genseg.models.evaluation import evaluate_model

        return evaluate_model(self, Path(data), None if out is None else Path(out), split, progress)

    def without_mirroring(self) -> Model:
        """The model that looks at each image once: several times as fast, and a little less exact."""
        return replace(self, plan=self.plan.model_copy(update={"mirroring": False}))

    def reading_tilted(self, tilt: Tilt) -> Model:
        """The model that stops at DICOM stacks that lean, or straightens them; it does as in its training by itself."""
        return replace(self, options=replace(self.options, read=replace(self.options.read, tilt=tilt)))

    def read(self, files: CaseFiles) -> Case:
        """Read an image as those of the training were read. Raises DataError for one that cannot be used."""
        return to_case(read_raw_case(files, self.options), None, None)

    def examine_case(self, case: Case) -> Prediction:
        """As `examine`, of an image that was read already."""
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
