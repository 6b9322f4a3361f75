"""What prediction and evaluation leave on disk: folders, overlays, reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genseg.base.files import FULL_DISK, atomic_path, file_name
from genseg.drawing.overlays import overlay
from genseg.errors import RunError
from genseg.evaluate.report import write_report
from genseg.evaluate.summary import EvaluationSummary
from genseg.read.case import Case

OVERLAYS, CONFIDENCE = "overlays", "confidence"
"""Folders of pictures and of maps within a folder of masks."""


def output_folder(out: Path, images: Iterable[Path] = ()) -> Path:
    """Make the folder for results.

    images: files and folders beside or in which nothing may be written, so that no image is replaced by its mask.
    Raises RunError where an image lies there, or the folder cannot be made or written to.
    """
    taken = {place.resolve() for image in images for place in (image, image.parent)}
    if not taken.isdisjoint(place.resolve() for place in (out, out / OVERLAYS, out / CONFIDENCE)):
        raise RunError(f"{out}: results would be written among the images; choose another folder with -o")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        if error.errno in FULL_DISK:
            raise
        raise RunError(f"{out}: not usable for results ({error.strerror}); choose another folder with -o") from error
    return out


def write_overlay(case: Case, mask: NDArray[np.uint8], folder: Path) -> None:
    """Write `folder/overlays/NAME.png`: the image (of a volume one slice) with the mask drawn over it."""
    (folder / OVERLAYS).mkdir(exist_ok=True)
    with atomic_path(folder / OVERLAYS / file_name(case.name, ".png")) as unfinished:
        # At the usual level, compressing a photograph takes three times as long as segmenting it.
        Image.fromarray(overlay(case.image, mask, 512, case.spacing)).save(unfinished, format="PNG", compress_level=1)


def write_evaluation(summary: EvaluationSummary, picture_of: Callable[[str], NDArray[np.uint8]], folder: Path) -> None:
    """Write report.html, scores.json and scores.csv into `folder`. picture_of: as in `write_report`."""
    write_report(summary, picture_of, folder / "report.html")
    summary.write_json(folder / "scores.json")
    summary.write_csv(folder / "scores.csv")
