"""One run from data to delivered weights, begun or resumed."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from genseg.config import Plan, Settings
from genseg.data.prepared import prepare_all
from genseg.device import Machine, choose_machine
from genseg.joint.source import PairSource
from genseg.progress import Progress
from genseg.training.advance import Course
from genseg.training.data import TrainingData, examine_for_training, gather
from genseg.training.run_folder import RunFolder, new_run_folder
from genseg.training.state import TrainingState
from genseg.training.trainer import HeldOut, train


def run_training(
    data: Path, out: Path, settings: Settings, plan: Plan | None, *, resume: bool, progress: Progress
) -> RunFolder:
    """Train on `data` and leave the result in the run folder `out`.

    A resumed run takes the settings and the plan that it began with; a finished one is left as it is. Raises as
    `genseg.fit` says.
    """
    if resume:
        return _resume(data, RunFolder.open(out), progress)
    machine = choose_machine(settings.device, settings.precision)
    with new_run_folder(out) as run:
        gathered = gather(data, settings, plan, machine, progress)
        run.freeze(settings, gathered)
    _train(run, gathered, settings.seed, machine, progress)
    return run


def _resume(data: Path, run: RunFolder, progress: Progress) -> RunFolder:
    if run.is_finished:
        return run
    settings = run.settings()
    machine = choose_machine(settings.device, settings.precision)
    examination = examine_for_training(data, settings, progress)
    run.check_cases(examination.cases)
    _train(run, TrainingData(examination, run.split(), run.plan()), settings.seed, machine, progress)
    return run


def _train(run: RunFolder, gathered: TrainingData, seed: int, machine: Machine, progress: Progress) -> None:
    with run.locked():
        _train_alone(run, gathered, seed, machine, progress)


def _train_alone(run: RunFolder, gathered: TrainingData, seed: int, machine: Machine, progress: Progress) -> None:
    run.write_environment(machine)
    try:
        training = prepare_all(gathered.cases(gathered.split.train), gathered.plan, run.cache / "train")
        course = Course(gathered.plan, seed, training, gathered.groups(), machine)
        held_out = _held_out(gathered, run)
        state = train(course, held_out, run, progress)
        source = _pair_source(course, state, held_out)
    finally:
        shutil.rmtree(run.cache, ignore_errors=True)
    run.deliver(state, gathered, source)


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
