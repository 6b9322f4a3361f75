"""The report of an evaluation: one HTML file that opens anywhere, without a network, and prints well."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from genseg.base.files import UNENCODABLE, atomic_path
from genseg.base.templates import load_template
from genseg.evaluate.intervals import DRAWS, Estimate
from genseg.evaluate.strip_plot import strip_plot
from genseg.evaluate.summary import EvaluationSummary

Picture = NDArray[np.uint8]

WORST_CASES = 3


def write_report(
    summary: EvaluationSummary,
    pictures: Callable[[str], Picture] | Mapping[str, Picture],
    path: Path,
    title: str = "Segmentation report",
) -> None:
    """Write the report to `path`, atomically.

    pictures: gives for the name of a case its picture `(row, column, 3)`, RGB, uint8: image, the expert's mask and
        prediction side by side. Asked for the cases of `pictured_cases` alone.
    Raises KeyError where the mapping lacks one of them, ValueError for a picture of another shape or type.
    """
    picture_of = pictures.__getitem__ if isinstance(pictures, Mapping) else pictures
    scores = {case.name: case for case in summary.cases}
    shown = [
        {"role": role, "case": scores[name], "source": _inline_png(picture_of(name))}
        for name, role in pictured_cases(summary).items()
    ]
    html = load_template("genseg.evaluate", "report.html.j2", FILTERS).render(
        title=title,
        summary=summary,
        ranked=sorted(summary.cases, key=lambda case: (case.mean_dice, case.name)),
        shown=shown,
        draws=DRAWS,
        marks=summary.marks,
        plot=strip_plot(summary),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8", errors=UNENCODABLE)


def pictured_cases(summary: EvaluationSummary) -> dict[str, str]:
    """Names of the cases that the report shows, each with its role: the best, the median, then the worst ones.

    Ranked by mean Dice over the classes, ties by name. A case is shown once: with few cases the worst come first.
    """
    ranked = [case.name for case in sorted(summary.cases, key=lambda case: (case.mean_dice, case.name))]
    if len(ranked) == 1:
        return {ranked[0]: "The only case"}
    best, middle = ranked[-1], ranked[(len(ranked) - 1) // 2]
    roles = {best: "Best case"}
    if middle not in (best, ranked[0]):
        roles[middle] = "Median case"
    left = [name for name in ranked[:WORST_CASES] if name not in roles]
    return roles | {name: "Worst case" if place == 0 else "Among the worst" for place, name in enumerate(left)}


def _score(value: float) -> str:
    return f"{value:.3f}"


def _distance(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def _interval(estimate: Estimate, digits: int = 3) -> str:
    if estimate.low is None or estimate.high is None:
        return "interval not estimable"
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


FILTERS: dict[str, Callable[..., str]] = {
    "score": _score,
    "distance": _distance,
    "interval": _interval,
    "setting": _setting,
}
"""How the template writes values."""


def _inline_png(picture: Picture) -> str:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"expected a 2D image (row, column, 3) of uint8, got {picture.shape} of {picture.dtype}")
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
