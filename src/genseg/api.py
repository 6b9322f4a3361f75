"""The verbs of genseg as functions: `check`, `plan`, `fit`, `compare`, `curve`, `load`, `export_model`, `generate`.

Torch is imported inside the functions that need it, so that checking data is quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from genseg.base.callers import callers_state_kept
from genseg.base.free_memory import memory_budget
from genseg.base.progress import Progress, silent
from genseg.choices import Copies, Instances, MaskRepair, NanTo, Pages, Precision, Target, Tilt, Unlabelled
from genseg.config import Plan, Settings
from genseg.errors import SettingsError
from genseg.examine.cases import KEPT_FOR_A_LOOK, LoadOptions
from genseg.examine.check import Examination, examine
from genseg.index import index_dataset
from genseg.read import ReadOptions

if TYPE_CHECKING:
    from genseg.evidence.comparison import Comparison
    from genseg.evidence.learning_curve import LearningCurve
    from genseg.export.exporting import Exported
    from genseg.models.model import Model
    from genseg.synthetic.generate import Generated


def check(
    data: Path | str,
    *,
    mask_repair: MaskRepair = "stop",
    pages: Pages = "stop",
    nan_to: NanTo = "stop",
    unlabelled: Unlabelled = "stop",
    tilt: Tilt = "stop",
    instances: Instances = "stop",
    progress: Progress = silent,
) -> Examination:
    """Read every case of a data set as training would, and judge it.

    data: folder of scans and masks in any known lay-out, or a CSV list. The other settings are those of `Settings`.
    Returns statistics, label map and warnings. Raises DataError with every fault that stops.
    """
    index = index_dataset(Path(data), unlabelled=unlabelled)
    options = LoadOptions(ReadOptions(pages, nan_to, tilt=tilt), mask_repair, unlabelled, instances)
    budget = min(KEPT_FOR_A_LOOK, memory_budget())
    return examine(index, options, progress=lambda done, total: progress("Reading", done, total), budget=budget)


def plan(data: Path | str, settings: Settings | None = None, *, progress: Progress = silent) -> Plan:
    """Derive from data and machine how training would go.

    Returns a plan that can be written by `to_yaml`, edited, and given to `fit`. Raises DataError, SettingsError.
    """
    from genseg.compute.device import choose_machine
    from genseg.training.gather import gather

    settings = settings or Settings()
    machine = choose_machine(settings.device, settings.precision)
    return gather(Path(data), settings, None, machine, progress).plan


@callers_state_kept()
def fit(
    data: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    plan: Plan | None = None,
    resume: bool = False,
    accept_changes: bool = False,
    progress: Progress = silent,
) -> Model:
    """Train a segmenter on a data set and leave everything about it in the run folder `out`.

    data: folder of scans and masks in any known lay-out, or a CSV list. settings: see `Settings`. plan: made by
    `genseg.plan` where None. resume: go on with the run in `out`, by the settings and the plan that it began with; of
    those that are set here only `device` may be another. accept_changes: resume even though cases are not those that
    the run began with; which, is written into its record.

    Returns the model. Raises DataError for faults of the data, SettingsError for settings or a plan that do not fit the
    data, each other or the run that is resumed, DeviceError, RunError where `out` cannot be used or is not empty (or,
    resuming, is no run folder or the data have changed), TrainingError where the loss is not finite. After
    KeyboardInterrupt a run can be resumed.
    """
    from genseg.fitting import fit_run

    if plan is not None and settings is not None and settings.time is not None:
        raise SettingsError("time: the plan says how large images are and how many updates are made; leave one out")
    return fit_run(
        Path(data),
        Path(out),
        settings or Settings(),
        plan,
        resume=resume,
        accept_changes=accept_changes,
        progress=progress,
    )


@callers_state_kept()
def compare(data: Path | str, run: Path | str, *, progress: Progress = silent) -> Comparison:
    """Find out whether generated pairs help on this data set, and deliver the better model in the run folder.

    data: what the finished run in `run` was trained on. Strong augmentation alone and the run's own arm are trained on
    every fold, with the same updates and images per update, so that each labelled case is held out once; the run itself
    is one of these trainings. What an interrupted comparison has trained is not trained again.

    Returns the comparison: `verdict` in words, `difference` with its interval over patients (over images, if patients
    are not known), `cases`, and `delivered`, the arm of the model that the run folder holds now. All of it is in
    `run/comparison/`, with a picture. Raises SettingsError where the run has no generated pairs, RunError where it has
    not finished or the data have changed, and as `fit`.
    """
    from genseg.evidence.comparison import compare_with_baseline
    from genseg.runs.folder import RunFolder

    return compare_with_baseline(Path(data), RunFolder.open(Path(run)), progress)


@callers_state_kept()
def curve(
    data: Path | str,
    out: Path | str,
    *,
    settings: Settings | None = None,
    counts: Sequence[int] | None = None,
    gain: float = 0.02,
    progress: Progress = silent,
) -> LearningCurve:
    """Measure how Dice grows with the number of labels, and forecast how many more a gain would take.

    counts: numbers of training cases, three or more; None takes as many as a fold leaves, half, a quarter and an
    eighth. gain: in Dice. For each count one model is trained a fold, so that each labelled case is held out once. out:
    folder for `curve.json`, `curve.png` and the trainings; those that are finished there are not made again.

    Returns the curve: `points` with intervals, `needed` labels in all with theirs, `verdict` in words. Raises
    SettingsError for impossible counts, RunError where `out` holds trainings with other settings or data, and as `fit`.
    """
    from genseg.evidence.learning_curve import measure_curve

    return measure_curve(Path(data), Path(out), settings or Settings(), counts, gain, progress)


def load(run: Path | str, *, device: str = "auto", ensemble: bool = False, threads: int | None = None) -> Model:
    """Load the model of a finished run folder, or an exported one (`.onnx`, `.xml`).

    ensemble: of a run that was compared, the mean of the models of all folds: slower by their number, and steadier.
    threads: of the processor; None takes all its cores. For a run folder it sets PyTorch's number of threads, which the
    whole process shares.

    Raises RunError where there is none or it is damaged, DeviceError for an absent device, MissingExtraError where the
    runtime of an exported model is not installed.
    """
    from genseg.models.load import load_model

    return load_model(run, device, ensemble=ensemble, threads=threads)


@callers_state_kept()
def export_model(
    run: Path | str,
    data: Path | str,
    to: Target,
    out: Path | str | None = None,
    *,
    precision: Precision = "float32",
    progress: Progress = silent,
) -> Exported:
    """Write the model of a finished run for other programs, once it is seen to give the same masks.

    data: what the run was trained on; its held-out cases judge. to: "onnx" or "openvino", files that `genseg.load`
    reads where there is no PyTorch, or "bundle", a folder for MONAI. out: the file or folder; in the run folder where
    None. precision: OpenVINO computes in bfloat16 or int8 too, faster and less exactly.

    Returns the `path` and the `parity`: agreement of masks, difference of logits, Dice before and after. Raises
    RunError where the run has not finished, the data are others, or the masks are not the same (of coarser arithmetic:
    as good); SettingsError for a precision that `to` does not have; MissingExtraError without the packages.
    """
    from genseg.export.exporting import export_run

    return export_run(Path(run), Path(data), to, None if out is None else Path(out), precision, progress)


@callers_state_kept()
def generate(
    run: Path | str,
    out: Path | str,
    count: int = 200,
    seed: int = 0,
    *,
    copies: Copies = "leave-out",
    device: str = "auto",
    progress: Progress = silent,
) -> Generated:
    """Make synthetic pairs with the generator of a finished run and write them as a data set that can be trained on.

    out: a new or empty folder; it gets images, masks, `dataset.json`, `pairs.csv` (what each pair was made from and the
    nearest real image) and `overview.png`, all at once or not at all. copies: an image nearer to a training image than
    real images are to each other is left out and another made for it ("leave-out"), or kept and marked ("keep"); see
    `genseg.generators.copies` for what that shows.

    Returns how many were `written` and how many `copies` met: fewer than `count` were written where most images are
    copies. Raises RunError where the run has no generator or is damaged, where `out` is not empty or cannot be written,
    or where every image is a copy; SettingsError for an impossible count; DeviceError for an absent device.
    """
    from genseg.synthetic.generate import generate_pairs

    return generate_pairs(Path(run), Path(out), count, seed, copies, device, progress)
