"""One run from data to delivered weights, begun or resumed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from genseg.base.free_memory import freed_memory_kept
from genseg.base.progress import Progress
from genseg.compute.device import Machine, choose_machine
from genseg.config import Plan, Settings
from genseg.examine.training_data import TrainingData
from genseg.joint.source import PairSource
from genseg.prepare.storage import prepare_all
from genseg.read.case import Case
from genseg.read.identity import pixels_hash
from genseg.runs.folder import UNLABELLED, RunFolder, new_run_folder
from genseg.runs.state import TrainingState
from genseg.training.advance import Course
from genseg.training.gather import examine_for_training, gather
from genseg.training.memory_forecast import check_memory
from genseg.training.resuming import take_again
from genseg.training.trainer import HeldOut, train

Further = Callable[[], Iterable[Case]]
"""Gives unlabelled cases with predicted masks."""


def run_training(
    data: Path,
    out: Path,
    settings: Settings,
    plan: Plan | None,
    *,
    resume: bool,
    accept_changes: bool = False,
    may_halve: bool = True,
    further: Further | None = None,
    progress: Progress,
) -> RunFolder:
    """Train on `data` and leave the result in the run folder `out`.

    may_halve: whether to go on with half the images an update where memory runs out; else MemoryRanOutError is raised.
    further: what trains beside the labelled cases; see `Course`.

    A resumed run takes the settings and the plan that it began with, and refuses others that are asked for; a finished
    one is left as it is. Raises as `genseg.fit` says.
    """
    if resume:
        run = RunFolder.open(out)
        take_again(run, settings, plan)
        return _resume(data, run, progress, accept_changes=accept_changes, may_halve=may_halve, further=further)
    machine = choose_machine(settings.device, settings.precision)
    with new_run_folder(out) as run:
        gathered = gather(data, settings, plan, machine, progress)
        check_memory(gathered, machine)
        run.freeze(settings, gathered)
    _train(run, gathered, settings.seed, machine, progress, may_halve=may_halve, further=further)
    return run


def _resume(
    data: Path,
    run: RunFolder,
    progress: Progress,
    *,
    accept_changes: bool,
    may_halve: bool,
    further: Further | None,
) -> RunFolder:
    run.check_links()
    if run.is_finished:
        return run
    settings = run.settings()
    machine = choose_machine(settings.device, settings.precision)
    examination = examine_for_training(data, settings, progress)
    accepted = ""
    if accept_changes:
        accepted = run.accept_cases(examination)
    else:
        run.check_cases(examination.cases)
    gathered = TrainingData(examination, run.split(), run.plan())
    check_memory(gathered, machine)
    _train(run, gathered, settings.seed, machine, progress, accepted, may_halve=may_halve, further=further)
    return run


def _train(
    run: RunFolder,
    gathered: TrainingData,
    seed: int,
    machine: Machine,
    progress: Progress,
    accepted: str = "",
    *,
    may_halve: bool,
    further: Further | None,
) -> None:
    """Train and deliver. accepted: cases that are not what the run began with, in words."""
    with run.locked():
        moved = run.write_environment(machine, gathered.plan.rank)
        try:
            training = prepare_all(gathered.cases(gathered.split.train), gathered.plan, run.cache / "train")
            unlabelled = prepare_all(_noted(further() if further else (), run), gathered.plan, run.cache / "unlabelled")
            course = Course(gathered.plan, seed, training, gathered.groups(), machine, may_halve, unlabelled)
            held_out = _held_out(gathered, run)
            with freed_memory_kept():
                state = train(course, held_out, run, progress, accepted=accepted, moved=moved)
            source = _pair_source(course, state, held_out)
        finally:
            shutil.rmtree(run.cache, ignore_errors=True)
        # The run's plan may have fewer images an update by now.
        run.deliver(state, replace(gathered, plan=run.plan()), source)


def _noted(further: Iterable[Case], run: RunFolder) -> Iterator[Case]:
    """The same cases; what they show is written down once all have been read, where there are any."""
    shown = {}
    for case in further:
        shown[case.name] = pixels_hash(case)
        yield case
    if shown:
        run.write_json(UNLABELLED, shown)


def _pair_source(course: Course, state: TrainingState, held_out: Sequence[HeldOut]) -> PairSource | None:
    """What pairs can be made from; None where there is no generator, or none that is of use."""
    if course.joint is None or state.generation is None or state.generation.off:
        return None
    return course.joint.source(state.generation, [one.prepared for one in held_out])


def _held_out(gathered: TrainingData, run: RunFolder) -> list[HeldOut]:
    cases = gathered.cases(gathered.split.validation)
    prepared = prepare_all(cases, gathered.plan, run.cache / "validation")
    pairs = zip(prepared, cases, strict=True)
    return [HeldOut(one, case.mask) for one, case in pairs if case.mask is not None]
