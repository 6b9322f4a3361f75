"""The pictures of the evidence."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genseg.files import atomic_path

if TYPE_CHECKING:
    from genseg.evidence.comparison import ComparedCase


def draw_comparison(cases: Sequence[ComparedCase], verdict: str, path: Path) -> None:
    """Draw every held-out case as a dot, Dice without generated pairs to the right and with them upwards, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.scatter([case.baseline for case in cases], [case.generated for case in cases], s=18, alpha=0.7)
    axes.set(xlabel="Dice without generated pairs", ylabel="Dice with generated pairs", xlim=(0, 1), ylim=(0, 1))
    axes.set_aspect("equal")
    axes.text(0.03, 0.95, "better with generated pairs", color="grey")
    axes.text(0.97, 0.03, "better without", color="grey", ha="right")
    axes.set_title("\n".join(textwrap.wrap(verdict, 68)), fontsize=10, loc="left")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
