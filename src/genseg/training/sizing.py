"""How many pixels a network is shown: as many as objects need, as images have, and as there is time for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from genseg.base.durations import UNITS, in_words
from genseg.compute.device import Machine
from genseg.config import GROWTH, MULTIPLE, TrainingMethod
from genseg.examine.statistics import Statistics

WANTED = 256
"""Side of a square with as many pixels as pictures of large objects are trained on: what ImageNet's encoders know."""

OBJECT_PIXELS = 16
"""What the smaller objects are to measure at least, where images have it and time allows."""

LARGEST = {"cpu": 512, "cuda": 1024}
"""Side of a square with as many pixels as are chosen at most; more can be asked for."""

SIDES = (1024, 768, 640, 512, 448, 384, 320, 256, 224, 192, 160, 128, 96)
"""What is gone through when there is no time for the largest; under the last, updates are given up."""

LEAST_UPDATES = 100

USUAL_TIME = 30 * UNITS["m"]
"""What training may take where no time is asked for."""

GROWING = 0.75
"""Share of the updates in which pictures are smaller than in the end; see `GROWTH`. It halves the cost of training."""

LEAST_GROWN = 160
"""Shortest side of pictures that grow: half of less would show too little."""

METHOD_COST: dict[TrainingMethod, float] = {"separate": 1.6, "joint-cut": 1.7, "joint": 2.0}
"""What a training takes with its generator, of the time of one without, on images that grow;
`benchmarks/speed/training.py --only growing` measures it."""

NOMINAL = {"cuda": 3e7, "bfloat16": 1.2e6, "float32": 3e5}
"""Pixels of images that an update takes in a second: of a GPU, or of a processor's thread in its arithmetic. Rounded
from machines that were measured: the same machine always plans the same, as no stopwatch would."""

THREADS_PAY = 0.7
"""Power of the number of threads that speed grows by."""


@dataclass(frozen=True)
class Effort:
    """What decides how long training takes. least: updates that are made in any case. images: in an update."""

    updates: int
    least: int
    images: int
    method: TrainingMethod

    @property
    def cost(self) -> float:
        """What its method takes, as a multiple of the time of real images alone."""
        return METHOD_COST.get(self.method, 1.0)


@dataclass(frozen=True)
class Sized:
    """side: of a square with as many pixels as an image has. note: why, and what was given up; for people."""

    side: int
    updates: int
    note: str


def growing(size: Sequence[int]) -> float:
    """For which share of the updates pictures that end at this size grow."""
    return GROWING if len(size) == 2 and min(size) >= LEAST_GROWN else 0.0


def nominal_rate(machine: Machine) -> float:
    """About how many pixels of images a machine trains the default network on in a second."""
    if machine.device.type == "cuda":
        return NOMINAL["cuda"]
    arithmetic = str(machine.dtype_for(2)).removeprefix("torch.")
    return NOMINAL[arithmetic] * math.pow(machine.threads, THREADS_PAY)


def fit_size(figures: Statistics, effort: Effort, kind: str, rate: float, time: float) -> Sized:
    """The size that pictures are trained on.

    kind: of device, "cpu" or "cuda". rate: pixels of images a second. time: seconds that there are.
    """
    own = math.isqrt(math.prod(figures.size_median))
    needed = WANTED if not figures.object_width else OBJECT_PIXELS / figures.object_width
    wanted = min(max(WANTED, needed), LARGEST[kind], own)
    sides = _sides(wanted)
    for side in sides:
        if _seconds(side, effort, rate) <= time:
            return Sized(side, effort.updates, _note(side, sides[0], needed, own, effort, rate, time))
    least = sides[-1]
    updates, note = fit_updates(effort, _seconds(least, effort, rate), time)
    return Sized(least, updates, "; ".join(filter(None, (_told(least), note))))


def fit_updates(effort: Effort, takes: float, time: float) -> tuple[int, str]:
    """How many updates there is time for, and what was given up, in words. takes: seconds of all of them."""
    updates = max(effort.least, min(effort.updates, int(effort.updates * time / takes)))
    fewer = f"{updates} updates, not {effort.updates}" if updates < effort.updates else ""
    needed = takes * updates / effort.updates
    if needed > time:
        return updates, ", ".join(filter(None, (fewer, f"takes about {in_words(needed)}, and no less can be done")))
    return updates, f"{fewer}: {_allowed(time)}" if fewer else ""


def _sides(wanted: float) -> list[int]:
    """What may be chosen, largest first."""
    smaller = [side for side in SIDES if side < wanted]
    return [max(MULTIPLE, int(wanted)), *smaller]


def seconds_at(size: Sequence[int], effort: Effort, rate: float) -> float:
    """How long training on images that end at this size takes. rate: pixels of images a second."""
    pixels = effort.updates * effort.images * math.prod(size) * _mean_share(growing(size))
    return pixels * effort.cost / rate


def _seconds(side: int, effort: Effort, rate: float) -> float:
    return seconds_at((side, side), effort, rate)


def _mean_share(grown: float) -> float:
    """Mean share of the whole size's pixels that images have, where they grow in that share of the updates."""
    bounds = [0.0, *(until for until, _ in GROWTH)]
    parts = [(after - before) * share**2 for (before, after), (_, share) in zip(pairwise(bounds), GROWTH, strict=True)]
    return 1 - grown + grown * sum(parts)


def _note(side: int, wanted: int, needed: float, own: int, effort: Effort, rate: float, time: float) -> str:
    if side < wanted:
        takes = in_words(_seconds(wanted, effort, rate))
        return f"{_told(side)}, not {wanted} x {wanted}, which would take about {takes}: {_allowed(time)}"
    if needed > side + MULTIPLE and own > side + MULTIPLE:
        seen, takes = OBJECT_PIXELS * side / needed, in_words(_seconds(2 * side, effort, rate))
        larger = f"--size {2 * side} shows them twice as large and takes about {takes}"
        return f"{_told(side)}; small objects measure {seen:.0f} pixels there; {larger}"
    return f"{_told(side)}, " + ("all that the images have" if side >= own - MULTIPLE else "enough for these objects")


def _told(side: int) -> str:
    return f"as many pixels as {side} x {side}"


def _allowed(seconds: float) -> str:
    return f"{in_words(seconds)} of training allow no more on this machine; --time gives it more"
