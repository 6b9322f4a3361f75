"""What every label is worth: trainings on fewer and more of the user's cases, and what still more would bring.

Every labelled case is held out once at each number of labels. The interval comes from drawing folds again, and patients
within them, the same for all numbers: what differs from training to training and from patient to patient is in it.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genseg.base.files import atomic_write_bytes
from genseg.base.progress import Progress
from genseg.compute.device import choose_machine
from genseg.config import Plan, Settings
from genseg.drawing.evidence import draw_learning_curve
from genseg.errors import SettingsError
from genseg.evidence.power_law import PowerLaw, fit_power_law
from genseg.evidence.trainings import Training, carry_out, held_out_dice
from genseg.examine.training_data import TrainingData, groups_of
from genseg.training.gather import choose_split, gather

DRAWS = 500
"""Curves that the interval is taken from; each is a fit."""

BEYOND = 4.0
"""How many times as many labels as there are the curve may be followed and still be called a forecast."""

STEPS = 4
"""Numbers of labels that are tried unless others are asked for: each twice the one before."""

LEAST_RISE = 0.005
"""How much Dice must rise over the numbers of labels that were tried for a forecast to mean anything."""

LEAST = 2
"""Fewest labels that are tried unless fewer are asked for."""

BOUNDS = [2.5, 97.5]
"""Percentiles of a 95 % interval."""

FoldDice = Mapping[int, Sequence[Mapping[str, float]]]
"""Dice of each held-out case, by number of labels and then by fold."""


@dataclass(frozen=True)
class CurvePoint:
    """Mean Dice over the patients of all held-out cases after training on `labels` cases, with its 95 % interval."""

    labels: int
    dice: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """Measured points, the fitted curve, and the labels that a gain needs.

    labels: number of labelled cases. gain: in Dice. needed: total number of labels at which Dice is `gain` higher than
    with `labels`; infinite if the curve never gets there. needed_low, needed_high: its 95 % interval; also possibly
    infinite. band: `(3, number)`: numbers of labels, and the curve's lower and upper bounds there. images: per update
    of every training, if one ran out of memory and all were restarted.
    """

    points: tuple[CurvePoint, ...]
    fitted: PowerLaw
    labels: int
    gain: float
    needed: float
    needed_low: float
    needed_high: float
    band: NDArray[np.float64]
    images: int | None = None

    @property
    def verdict(self) -> str:
        """How many more labels the gain needs, in words."""
        fewer = f" Memory ran out, so all were trained with {self.images} images per update."
        return self._forecast + (fewer if self.images is not None else "")

    @property
    def _forecast(self) -> str:
        now, before = float(self.fitted(self.labels)), float(self.fitted(self.points[0].labels))
        if now - before < LEAST_RISE:
            tried = f"from {self.points[0].labels} to {self.points[-1].labels} cases"
            cure = "train longer (--updates) and try again"
            return f"Dice does not rise {tried}, so no estimate for more labels is possible; {cure}."
        begin = f"With the {self.labels} labels there are, Dice is about {100 * now:.1f} %"
        aim = f"{100 * self.gain:g} more points"
        if math.isinf(self.needed):
            limit = f"the curve levels off at {100 * self.fitted.limit:.1f} %"
            return f"{begin}; {limit}, and more labels alone will hardly bring {aim}{self._at_least()}."
        more = max(1, math.ceil(self.needed - self.labels))
        low, high = (self._more(bound) for bound in (self.needed_low, self.needed_high))
        far = " That is far beyond what was measured." if self.needed > BEYOND * self.labels else ""
        return f"{begin}; {aim} would take about {more} more labels (95 %: {low} to {high}).{far}"

    def _at_least(self) -> str:
        return "" if math.isinf(self.needed_low) else f" (95 %: {self._more(self.needed_low)} more labels, or never)"

    def _more(self, bound: float) -> str:
        return "never" if math.isinf(bound) else str(max(1, math.ceil(bound - self.labels)))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain dictionaries, lists, numbers and text; infinity becomes None."""
        needed = {name: _finite(getattr(self, name)) for name in ("needed", "needed_low", "needed_high")}
        return {**asdict(self), **needed, "band": self.band.tolist(), "verdict": self.verdict}


def measure_curve(
    data: Path, out: Path, settings: Settings, counts: Sequence[int] | None, gain: float, progress: Progress
) -> LearningCurve:
    """Train at several numbers of labels, fit the curve, and leave figures and picture in `out`.

    counts: numbers of training cases; None takes all there are outside a fold, half, a quarter and an eighth. What was
    trained in `out` before is not trained again. Raises SettingsError where the counts are impossible, and as
    `genseg.fit`.
    """
    if not 0 < gain < 1:
        raise SettingsError(f"gain: {gain} found; expected Dice between 0 and 1, say 0.02 for two points")
    machine = choose_machine(settings.device, settings.precision)
    gathered = gather(data, settings, _timed_before(out, settings), machine, progress)
    numbers = _numbers(gathered, settings, counts)
    every = [one for number in numbers for one in _trainings(out, settings, gathered, number)]
    made = carry_out(data, gathered.examination.cases, every, "Measuring", progress)
    scores, folds = [held_out_dice(one.folder) for one in made], gathered.split.folds
    dice = {number: scores[place * folds :][:folds] for place, number in enumerate(numbers)}
    names = [name for fold in dice[numbers[0]] for name in fold]
    groups = dict(zip(names, groups_of(gathered.examination, names), strict=True))
    curve = curve_of(dice, groups, len(gathered.split.train) + len(gathered.split.validation), gain)
    images = made[0].plan.batch_size
    curve = replace(curve, images=None if images == gathered.plan.batch_size else images)
    atomic_write_bytes(out / "curve.json", json.dumps(curve.to_json(), indent=1).encode())
    draw_learning_curve(curve, out / "curve.png")
    return curve


def curve_of(dice: FoldDice, groups: Mapping[str, str], labels: int, gain: float, seed: int = 0) -> LearningCurve:
    """The learning curve through what was measured. groups: the patient of each case. labels: how many are labelled."""
    numbers, tables = sorted(dice), _tables(dice, groups)
    means = np.concatenate(tables).mean(axis=0)
    drawn = [_drawn_means(tables, np.random.default_rng([seed, draw])) for draw in range(DRAWS)]
    fitted, curves = fit_power_law(numbers, means), [fit_power_law(numbers, one) for one in drawn]
    # Not interpolated: between a number and infinity there is nothing.
    needed = np.percentile([_needed(one, labels, gain) for one in curves], BOUNDS, method="closest_observation")
    places = np.geomspace(numbers[0], BEYOND * labels, 60)
    band = np.percentile([one(places) for one in curves], BOUNDS, axis=0)
    low, high = np.percentile(drawn, BOUNDS, axis=0).tolist()
    return LearningCurve(
        points=tuple(CurvePoint(*point) for point in zip(numbers, means.tolist(), low, high, strict=True)),
        fitted=fitted,
        labels=labels,
        gain=gain,
        needed=_needed(fitted, labels, gain),
        needed_low=float(needed[0]),
        needed_high=float(needed[1]),
        band=np.vstack([places, band]),
    )


def _needed(curve: PowerLaw, labels: int, gain: float) -> float:
    return curve.labels_for(float(curve(labels)) + gain)


def _tables(dice: FoldDice, groups: Mapping[str, str]) -> list[NDArray[np.float64]]:
    """For each fold `(patient, number)`: the mean Dice of each patient held out in it, by number of labels."""
    tables = []
    for fold in zip(*(dice[number] for number in sorted(dice)), strict=True):
        cases: dict[str, list[list[float]]] = defaultdict(list)
        for name in sorted(fold[0]):
            cases[groups[name]].append([scores[name] for scores in fold])
        tables.append(np.array([np.mean(cases[group], axis=0) for group in sorted(cases)]))
    return tables


def _drawn_means(tables: Sequence[NDArray[np.float64]], draws: np.random.Generator) -> NDArray[np.float64]:
    """`(number,)`: mean Dice over patients drawn again, within folds drawn again."""
    chosen = [tables[fold] for fold in draws.integers(len(tables), size=len(tables))]
    means: NDArray[np.float64] = np.concatenate(
        [table[draws.integers(len(table), size=len(table))] for table in chosen]
    ).mean(axis=0)
    return means


def _numbers(gathered: TrainingData, settings: Settings, asked: Sequence[int] | None) -> list[int]:
    """Numbers of training cases, rising, that can be had in every fold.

    Raises SettingsError for fewer than three different ones, and for those that cannot be had.
    """
    examination, folds = gathered.examination, range(gathered.split.folds)
    splits = [choose_split(examination, settings.model_copy(update={"fold": fold})) for fold in folds]
    most = min(len(split.train) for split in splits)
    tried = {round(most / 2**step) for step in range(STEPS)}
    numbers = sorted(set(asked) if asked else {number for number in tried if number >= LEAST})
    if len(numbers) < 3 or numbers[0] < 1 or numbers[-1] > most:
        found = ", ".join(map(str, numbers)) or "none"
        raise SettingsError(
            f"counts: {found} found; expected three or more different numbers of training cases, from 1 to {most}; "
            "the others are held out"
        )
    for fold in folds:  # raises now, not after hours, where so few lack a class
        choose_split(examination, settings.model_copy(update={"fold": fold, "training_cases": numbers[0]}))
    return numbers


def _timed_before(out: Path, settings: Settings) -> Plan | None:
    """The plan of trainings that are in `out` already, where a time decided it: a stopwatch never says the same twice.

    None where there is none.
    """
    begun = None if settings.time is None else min(out.glob("*-labels-fold-*/plan.yaml"), default=None)
    return None if begun is None else Plan.from_yaml(begun)


def _trainings(out: Path, settings: Settings, gathered: TrainingData, number: int) -> list[Training]:
    """One for each fold."""
    return [
        Training(
            f"{number} labels",
            out / f"{number}-labels-fold-{fold}",
            settings.model_copy(update={"fold": fold, "training_cases": number}),
            gathered.plan,
        )
        for fold in range(gathered.split.folds)
    ]


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None
