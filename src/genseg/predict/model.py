"""A trained model: what `genseg.fit` and `genseg.load` return. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genseg.choices import Part, Tilt
from genseg.config import Plan
from genseg.data.case import Case, CaseFiles
from genseg.data.index import index_images
from genseg.data.labels import LabelMap
from genseg.data.load import LoadOptions, read_raw_case, to_case
from genseg.data.readers import ReadOptions
from genseg.errors import DataError, Fault, FaultCode, SettingsError
from genseg.files import printable
from genseg.predict.fitting import case_of_array
from genseg.predict.folder import Extra, PredictedCase, predict_entries
from genseg.predict.prediction import Prediction, predict_case
from genseg.predict.trust import Trust
from genseg.progress import Progress, silent
from genseg.segmenters.network import Network

if TYPE_CHECKING:
    from genseg.evaluate.summary import EvaluationSummary
    from genseg.predict.video import VideoResult


@dataclass(frozen=True)
class Model:
    """A segmenter with all that it needs to read an image and give its mask.

    plan: how images are prepared and which network it is. labels: the classes. run: the run folder, or exported file,
    that it came from. options, channel_files: how the training images were read, and whether each channel had a file of
    its own. training: the arm it followed, and why its generator was switched off where it was. trust: what its
    held-out cases taught. tile_batch: tiles of a large volume that are computed at once.
    """

    plan: Plan
    labels: LabelMap
    run: Path
    network: Network
    options: LoadOptions
    channel_files: bool
    training: str
    trust: Trust
    tile_batch: int = 1

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
        `predictions.csv` (for each case what there is to say about it) and `measurements.csv` (area or volume, and
        number of objects) are always written.

        Returns what was written. Raises RunError where `out` cannot be used or holds the images, DataError where two
        images have one name, both before anything is written; and DataError naming every image that could not be
        segmented, after all others were written.
        """
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

        Each is segmented once, when it is complete, and again when it changes; those whose masks are there already are
        passed over. is_stopped: asked several times a second. tell: told of each mask. report: told of each image that
        cannot be segmented, which stops no other, and of a folder that cannot be reached, which is waited for.

        The tables have the time of the beginning in their names. Returns the number of masks. Raises RunError where
        `out` cannot be used or is the folder itself.
        """
        from genseg.predict.live import predict_as_they_come

        return predict_as_they_come(
            self, Path(images), Path(out), extras, is_stopped=is_stopped, tell=tell, report=report
        )

    def segment_video(self, video: Path | str, out: Path | str, *, progress: Progress = silent) -> VideoResult:
        """Outline what is found in each frame of a video; see `genseg.predict.video.segment_video`.

        A model of grey pictures is given the frames in grey. Raises DataError for a file that is no whole video,
        SettingsError for a model of volumes, RunError where `out` cannot be written, MissingExtraError without
        imageio-ffmpeg.
        """
        from genseg.predict.outputs import palette
        from genseg.predict.video import segment_video

        if self.plan.rank != 2:
            raise SettingsError("this model segments volumes; a video needs one that was trained on pictures")
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

        data: a data set in any lay-out that training reads. split: "test": the cases that the data set declares as
        test, all of them where it declares none and none was trained on; "validation": those held out in training;
        "all": every labelled case. out: folder for report.html, scores.json and scores.csv; nothing is written where
        it is None.

        Raises DataError with all faults of the cases, RunError where there is no case to score or `out` cannot be used.
        """
        from genseg.predict.evaluation import evaluate_model

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


def described_model(described: dict[str, Any], trust: Trust, network: Network, run: Path, tile_batch: int = 1) -> Model:
    """The model that `model.json`, or the same text in an exported file, describes.

    Raises KeyError, TypeError or SettingsError where the description is damaged.
    """
    plan = Plan.from_mapping(described["plan"], "model.json")
    reading = described["reading"]
    return Model(
        plan=plan,
        labels=LabelMap.from_json(described["labels"]),
        run=run,
        network=network,
        options=LoadOptions(
            ReadOptions(**reading["read"]),
            reading["mask_repair"],
            reading.get("unlabelled", "stop"),
            reading.get("instances", "stop"),
        ),
        channel_files=described["channel_files"],
        training=_training(plan, described.get("generator")),
        trust=trust,
        tile_batch=tile_batch,
    )


def _training(plan: Plan, generator: dict[str, Any] | None) -> str:
    off = (generator or {}).get("off")
    return f"{plan.arm}; {off}, so that real pairs alone were trained on" if off else plan.arm
