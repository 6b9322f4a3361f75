"""A model at work while images come in: a folder that is watched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from genseg.errors import DataError
from genseg.index import find_images
from genseg.index.findings import Findings
from genseg.predict.predictor import Predictor
from genseg.read.case import CaseFiles
from genseg.results.folder import PredictedCase, maker_of, moved_masks, predict_entry
from genseg.results.manifest import Extra
from genseg.results.mask_folder import open_results
from genseg.results.watch import watch_folder


def predict_as_they_come(
    model: Predictor,
    images: Path,
    out: Path,
    extras: Collection[Extra],
    *,
    is_stopped: Callable[[], bool],
    tell: Callable[[PredictedCase], None],
    report: Callable[[DataError], None],
) -> int:
    """Segment every image that is in a folder or comes into it, until `is_stopped`; see `Model.watch`."""
    made = 0
    with open_results(out, [images], maker_of(model)) as results:
        results.refuse_strangers(find_images(images, Findings(), channel_files=model.channel_files))

        def handle(files: CaseFiles) -> None:
            nonlocal made
            try:
                predicted = predict_entry(model, files, results, extras)
            except DataError as error:
                raise DataError([*error.faults, *moved_masks([files], results)]) from error
            if predicted.state == "new":
                made += 1
                tell(predicted)

        watch_folder(images, handle, is_stopped=is_stopped, report=report, channel_files=model.channel_files)
    return made
