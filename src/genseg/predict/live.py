"""A model at work while images come in: a folder that is watched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from genseg.data.case import CaseFiles
from genseg.errors import DataError
from genseg.predict.folder import Extra, PredictedCase, Tables, predict_entry
from genseg.predict.outputs import output_folder
from genseg.predict.watch import has_mask, watch_folder

if TYPE_CHECKING:
    from genseg.predict.model import Model


def predict_as_they_come(
    model: Model,
    images: Path,
    out: Path,
    extras: Collection[Extra],
    *,
    is_stopped: Callable[[], bool],
    tell: Callable[[PredictedCase], None],
    report: Callable[[DataError], None],
) -> int:
    """Segment every image that is in a folder or comes into it, until `is_stopped`; see `Model.watch`."""
    folder = output_folder(out, [images])
    tables = Tables()

    def handle(files: CaseFiles) -> None:
        tell(predict_entry(model, files, folder, extras, tables))

    began = datetime.now()
    try:
        watch_folder(
            images,
            handle,
            is_stopped=is_stopped,
            report=report,
            is_done=lambda files: has_mask(files, folder),
            channel_files=model.channel_files,
        )
    finally:
        if tables.cases:
            # Of each watch its own, for one that is begun again passes over what has its mask already.
            tables.write(folder, model.plan.rank, extras, f"-{began:%Y%m%d-%H%M%S}")
    return len(tables.cases)
