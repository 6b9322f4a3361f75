"""What a suite is: which runs, and which of them are compared. Suites are the YAML files in `suites/`.

A run is known by its task, way of training, segmenter, number of labels, draw, seed and effort, and is kept once,
whichever suites it belongs to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

from benchmarks.locations import RESULTS
from genseg.config import TrainingMethod
from genseg.segmenters.registry import segmenters

SUITES = Path(__file__).parent / "suites"

USUAL_SIZE = 128
"""Of pictures; runs of another size have it in their names."""

RECIPE = "nnunet-recipe"
"""In the place of a segmenter: nnU-Net's recipe, which trains in its own way; see `recipe`."""


class _Checked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(_Checked):
    """A data set. also: data sets that are scored as well.

    labels, draws: where not the suite's own, for the data set has too few labelled cases for these.
    """

    rank: int
    labels: tuple[int, ...] | None = None
    draws: tuple[int, ...] | None = None
    also: tuple[str, ...] = ()


class Suite(_Checked):
    """Tasks times numbers of labels times segmenters times ways of training times seeds times draws.

    draws: of the cases whose labels may be used; see `draws.drawn`. 0 are those that the data set names first.
    segmenters: by name, or `RECIPE`, which has one way of training, strong augmentation. size: of pictures. updates:
    None for as many as the plan has by itself. compared: pairs of ways of training, the second the baseline of the
    first.
    """

    name: str
    tasks: dict[str, Task]
    labels: tuple[int, ...]
    seeds: tuple[int, ...]
    draws: tuple[int, ...] = (0,)
    size: int = USUAL_SIZE
    updates: int | None = None
    segmenters: tuple[str, ...]
    ways: tuple[TrainingMethod, ...]
    compared: tuple[tuple[TrainingMethod, TrainingMethod], ...] = Field(default=())

    @classmethod
    def read(cls, name: str) -> Suite:
        """The suite in `suites/NAME.yaml`. Raises ValueError where it holds what a suite cannot."""
        values = yaml.safe_load((SUITES / f"{name}.yaml").read_text(encoding="utf-8"))
        return cls.model_validate({"name": name, **values})

    def runs(self) -> Iterator[Run]:
        """Every run, seed by seed, so that all training methods have one seed before any has two."""
        repeats = product(self.seeds, self.draws)
        for (seed, draw), (name, task) in product(repeats, self.tasks.items()):
            if draw in (task.draws or self.draws):
                for labels, segmenter in product(task.labels or self.labels, self.segmenters):
                    for way in self._ways(segmenter, task.rank):
                        yield Run(name, way, segmenter, labels, seed, draw, self.size, self.updates)

    def _ways(self, segmenter: str, rank: int) -> Sequence[TrainingMethod]:
        if segmenter == RECIPE:
            return ("strong-augmentation",)
        return self.ways if rank in segmenters()[segmenter].ranks else ()


@dataclass(frozen=True)
class Run:
    """One training with its scores. labels: how many labelled cases may be used, or as many as there are."""

    task: str
    way: TrainingMethod
    segmenter: str
    labels: int
    seed: int
    draw: int = 0
    size: int = USUAL_SIZE
    updates: int | None = None

    @property
    def name(self) -> str:
        """What its record is called; what is usual is left out."""
        draw = f"-draw{self.draw}" if self.draw else ""
        size = f"-{self.size}px" if self.size != USUAL_SIZE else ""
        updates = f"-{self.updates}-updates" if self.updates else ""
        return f"{self.task}-{self.way}-{self.segmenter}-{self.labels}-labels{size}{updates}{draw}-seed{self.seed}"

    def record(self, development: bool = False) -> Path:
        """Where its record is kept."""
        return RESULTS / ("development" if development else "runs") / f"{self.name}.json"


def suite_names() -> list[str]:
    """Every suite there is."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))
