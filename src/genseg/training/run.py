"""One run from data to delivered weights, begun or resumed."""

from __future__ import annotations

from pathlib import Path

from genseg.config import Plan, Settings
from genseg.data.check import contact_sheet
from genseg.data.prepared import prepare_all
from genseg.progress import Progress
from genseg.training.data import TrainingData, gather
from genseg.training.device import choose_machine
from genseg.training.run_folder import RunFolder
from genseg.training.trainer import HeldOut, train


def run_training(
    data: Path, out: Path, settings: Settings, plan: Plan | None, *, resume: bool, progress: Progress
) -> RunFolder:
    """Train on `data` and leave the result in the run folder `out`.

    A resumed run takes the settings and the plan that it began with; a finished one is left as it is. Raises as
    `genseg.fit` says.
    """
    run = RunFolder.open(out) if resume else RunFolder.create(out)
    if resume:
        settings, plan = run.frozen()
        if run.is_finished:
            return run
    machine = choose_machine(settings.device, settings.precision)
    gathered = gather(data, settings, plan, machine, progress)
    if resume:
        run.check_cases(gathered.examination.cases)
    else:
        _freeze(run, settings, gathered)
    run.write_environment(machine)
    training = prepare_all(gathered.cases(gathered.split.train), gathered.plan, run.path / "cache" / "train")
    segmenter = train(gathered.plan, settings.seed, training, _held_out(gathered, run), run, machine, progress)
    run.deliver(segmenter, gathered.plan, gathered.examination.labels)
    return run


def _freeze(run: RunFolder, settings: Settings, gathered: TrainingData) -> None:
    contact_sheet(gathered.examination, run.path / "cases.png")
    run.freeze(settings, gathered.plan, gathered.split, gathered.examination.labels, gathered.examination.cases)


def _held_out(gathered: TrainingData, run: RunFolder) -> list[HeldOut]:
    cases = gathered.cases(gathered.split.validation)
    prepared = prepare_all(cases, gathered.plan, run.path / "cache" / "validation")
    pairs = zip(prepared, cases, strict=True)
    return [HeldOut(one, case.mask) for one, case in pairs if case.mask is not None]
